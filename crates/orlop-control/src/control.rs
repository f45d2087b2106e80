//! What all services share: submitting commands, with the time and the ids that only the shell may make.

use crate::attendance::Attendance;
use crate::config::Config;
use crate::lease::Renewals;
use crate::machine::Machine;
use crate::sessions::Sessions;
use crate::status;
use orlop_consensus::Consensus;
use orlop_model::{ClusterId, ReplicaId, Revision, SessionId, Timestamp};
use orlop_state::{Answer, Command, Kind, stored};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;

/// A handle of the control plane; cheap to clone.
#[derive(Clone)]
pub(crate) struct Control {
    pub(crate) machine: Arc<Machine>,
    pub(crate) attendance: Arc<Attendance>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) renewals: Arc<Renewals>,
    pub(crate) watchers: Arc<Semaphore>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) config: Arc<Config>,
    consensus: Consensus,
}

impl Control {
    pub(crate) fn new(
        consensus: Consensus,
        machine: Arc<Machine>,
        config: Config,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self {
            machine,
            attendance: Arc::default(),
            sessions: Arc::new(Sessions::new(config.sessions_max)),
            renewals: Arc::default(),
            watchers: Arc::new(Semaphore::new(config.watchers_max)),
            tasks,
            stop,
            config: Arc::new(config),
            consensus,
        }
    }

    /// Submits a command and waits until it is durable and applied. A refusal becomes a status.
    pub(crate) async fn submit(&self, kind: Kind) -> Result<(Revision, Answer), Status> {
        let command = stored::encode_command(&Command { now: now(), kind });
        let applied = self.consensus.submit(command).await.map_err(status::of_submit)?;
        match stored::decode_answer(&applied.answer) {
            Ok(Answer::Refused(refusal)) => Err(status::of_refusal(refusal)),
            Ok(answer) => Ok((Revision(applied.index), answer)),
            Err(invalid) => Err(Status::internal(format!("the answer cannot be read: {invalid}"))),
        }
    }

    /// Why no command is taken now, if none is.
    pub(crate) fn writes_refused(&self) -> Option<String> {
        self.consensus.trouble().map(|trouble| trouble.to_string())
    }

    pub(crate) fn new_cluster_id(&self) -> ClusterId {
        ClusterId::from_u128(new_id())
    }
}

/// The time.
pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

pub(crate) fn new_replica_id() -> ReplicaId {
    ReplicaId::from_u128(new_id())
}

pub(crate) fn new_session_id() -> SessionId {
    SessionId::from_u128(new_id())
}

fn new_id() -> u128 {
    uuid::Uuid::now_v7().as_u128()
}
