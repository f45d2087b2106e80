//! What all services share: submitting commands, with the time and the ids that only the shell may make.

use crate::attendance::Attendance;
use crate::backup::Kept;
use crate::config::Config;
use crate::home::Home;
use crate::hub::Update;
use crate::leading::Leading;
use crate::lease::Renewals;
use crate::machine::Machine;
use crate::peers::Peers;
use crate::reports::Waiting;
use crate::room::Rooms;
use crate::seal;
use crate::sessions::Sessions;
use crate::status;
use crate::trust::Trust;
use orlop_consensus::{Applied, Consensus, SubmitError};
use orlop_identity::Caller;
use orlop_model::trust::{Digest, OperatorName, Role};
use orlop_model::{ClusterId, DeploymentName, NodeId, OperatorTokenId, ReplicaId, Revision, SessionId, Timestamp};
use orlop_proto::metadata::{REQUEST_ID, STALE};
use orlop_state::{Answer, Command, Kind, RequestId, stored};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Status};

/// A handle of the control plane; cheap to clone.
#[derive(Clone)]
pub(crate) struct Control {
    pub(crate) machine: Arc<Machine>,
    pub(crate) attendance: Arc<Attendance>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) renewals: Arc<Renewals>,
    /// Of the watches a tenth may be any one operator's.
    pub(crate) watchers: Rooms<OperatorName>,
    pub(crate) backups: Arc<Kept>,
    /// One backup at a time for those who ask.
    pub(crate) saving: Arc<Semaphore>,
    /// One examination at a time: it measures the disk.
    pub(crate) examining: Arc<Semaphore>,
    pub(crate) reports: mpsc::Sender<Waiting>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) config: Arc<Config>,
    pub(crate) leading: Arc<Leading>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) home: Arc<Home>,
    pub(crate) consensus: Consensus,
}

/// What a handler knows of the call that it answers, beside the request.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Who asks.
    pub(crate) caller: Caller,
    /// Names what is asked for, so that asking again does not make it again: a digest of the id that the caller gave and of
    /// the request, because under the same id something else is another request.
    pub(crate) request: Option<RequestId>,
}

impl Call {
    /// Of a request that the front has let in; what came another way is nobody's.
    pub(crate) fn of<T: prost::Message>(request: &Request<T>) -> Result<Self, Status> {
        let id = match request.metadata().get(REQUEST_ID) {
            None => None,
            Some(text) => {
                let id = text.to_str().ok().and_then(|text| uuid::Uuid::parse_str(text).ok());
                let id = id.ok_or_else(|| Status::invalid_argument(format!("the metadata {REQUEST_ID} is no UUID")))?;
                Some(digest(&[id.as_bytes(), &request.get_ref().encode_to_vec()]))
            }
        };
        Ok(Self { request: id, ..Self::of_stream(request) })
    }

    /// Of a request that comes in pieces, which nobody repeats.
    pub(crate) fn of_stream<T>(request: &Request<T>) -> Self {
        let caller = request.extensions().get::<Caller>().cloned().unwrap_or(Caller::Anonymous);
        Self { caller, request: None }
    }

    /// Refuses a node that speaks for another. Whoever may open this machine's socket speaks for any.
    pub(crate) fn for_node(&self, node: NodeId) -> Result<(), Status> {
        if self.caller == Caller::LocalAdmin || self.caller.is_node(node) {
            return Ok(());
        }
        Err(Status::permission_denied(format!("{} may not speak for {node}", self.caller.text())))
    }

    /// Refuses an operator who is not responsible for a deployment.
    pub(crate) fn for_deployment(&self, needed: Role, deployment: Option<&DeploymentName>) -> Result<(), Status> {
        if self.caller.may(needed, deployment) {
            return Ok(());
        }
        let caller = self.caller.text();
        let about = deployment.map_or_else(|| "all deployments".to_owned(), ToString::to_string);
        Err(Status::permission_denied(format!("{caller} may not do that to {about}; ask an admin")))
    }
}

/// What a control plane is put together from.
pub(crate) struct Parts {
    pub(crate) consensus: Consensus,
    pub(crate) machine: Arc<Machine>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) home: Home,
    pub(crate) reports: mpsc::Sender<Waiting>,
}

/// How long a command that another member has applied may take to come here.
const CATCH_UP: Duration = Duration::from_secs(5);

impl Control {
    pub(crate) fn new(parts: Parts, config: Config, tasks: TaskTracker, stop: CancellationToken) -> Self {
        let Parts { consensus, machine, trust, peers, home, reports } = parts;
        Self {
            reports,
            machine,
            attendance: Arc::default(),
            sessions: Arc::new(Sessions::new(config.sessions_max)),
            renewals: Arc::default(),
            watchers: Rooms::new(config.watchers_max, config.watchers_max / 10),
            backups: Arc::default(),
            saving: Arc::new(Semaphore::new(1)),
            examining: Arc::new(Semaphore::new(1)),
            tasks,
            leading: Arc::new(Leading::new(stop.clone())),
            stop,
            config: Arc::new(config),
            trust,
            peers,
            home: Arc::new(home),
            consensus,
        }
    }

    /// Submits a command of the control plane's own and waits until it is durable and applied. A refusal becomes a status.
    pub(crate) async fn submit(&self, kind: Kind) -> Result<(Revision, Answer), Status> {
        self.submit_command(Command::new(now(), kind)).await
    }

    /// Submits a command that somebody asked for, whom the audit log names.
    pub(crate) async fn submit_as(&self, call: &Call, kind: Kind) -> Result<(Revision, Answer), Status> {
        // Requests to different ends may look alike.
        let request = call.request.map(|id| digest(&[&id.0, kind.action().unwrap_or_default().as_bytes()]));
        self.submit_command(Command { caller: Some(call.caller.text()), request, ..Command::new(now(), kind) }).await
    }

    /// Submits what only the leader may say, and only as long as it leads.
    pub(crate) async fn submit_as_leader(&self, kind: Kind) -> Result<(Revision, Answer), Status> {
        let command = stored::encode_command(&Command::new(now(), kind));
        answer_of(self.consensus.submit_here(command).await)
    }

    async fn submit_command(&self, command: Command) -> Result<(Revision, Answer), Status> {
        let answered = answer_of(self.consensus.submit(stored::encode_command(&command)).await)?;
        self.until_here(answered.0).await?;
        Ok(answered)
    }

    /// Waits until this member knows what was applied at a revision: who led when the command was made may be another by
    /// now, and who asked looks at the state here next.
    async fn until_here(&self, revision: Revision) -> Result<(), Status> {
        let mut bell = self.machine.bell();
        let here = async {
            while self.machine.revision() < revision.0 {
                bell.changed().await.map_err(|_| status::stopping())?;
            }
            Ok(())
        };
        let late =
            || Status::deadline_exceeded(format!("it was done at revision {revision}, which has not come here yet"));
        tokio::time::timeout(CATCH_UP, here).await.unwrap_or_else(|_| Err(late()))
    }

    /// Opens the secrets that the assignments of an update name.
    pub(crate) fn reveal(&self, update: &mut Update) {
        update.reveal(|name| {
            let secret = self.machine.read(|state| state.secret(name).cloned())?;
            let opened = match self.trust.key() {
                Ok(key) => seal::open_secret(key, name, &secret).map_err(|status| status.message().to_owned()),
                Err(problem) => Err(problem.to_string()),
            };
            // Who needs it says that it did not come.
            opened.inspect_err(|problem| tracing::error!(secret = %name, %problem, "a secret cannot be opened")).ok()
        });
    }

    /// Waits until this member has everything that was answered before, by any member, unless the caller takes what is here.
    pub(crate) async fn catch_up<T>(&self, request: &Request<T>) -> Result<(), Status> {
        if request.metadata().get(STALE).is_some_and(|value| value == "true") {
            return Ok(());
        }
        match self.consensus.read_index().await {
            Ok(_) => Ok(()),
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }

    /// Why no command is taken now, if none is.
    pub(crate) fn writes_refused(&self) -> Option<String> {
        self.consensus.trouble().map(|trouble| trouble.to_string())
    }
}

fn answer_of(submitted: Result<Applied, SubmitError>) -> Result<(Revision, Answer), Status> {
    let applied = submitted.map_err(status::of_submit)?;
    match stored::decode_answer(&applied.answer) {
        Ok(Answer::Refused(refusal)) => Err(status::of_refusal(refusal)),
        Ok(answer) => Ok((Revision(applied.index), answer)),
        Err(invalid) => Err(Status::internal(format!("the answer cannot be read: {invalid}"))),
    }
}

pub(crate) fn new_cluster_id() -> ClusterId {
    ClusterId::from_u128(new_id())
}

/// The first 128 bits of the SHA-256 of an id and what belongs to it.
fn digest(parts: &[&[u8]; 2]) -> RequestId {
    let Digest(digest) = Digest::of(&parts.concat());
    let mut id = RequestId([0; 16]);
    id.0.iter_mut().zip(digest).for_each(|(byte, digested)| *byte = digested);
    id
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

/// A call that is repeated gets a token of the same id.
pub(crate) fn new_operator_token_id(call: &Call) -> OperatorTokenId {
    OperatorTokenId::from_u128(call.request.map_or_else(new_id, |id| u128::from_be_bytes(id.0)))
}

fn new_id() -> u128 {
    uuid::Uuid::now_v7().as_u128()
}
