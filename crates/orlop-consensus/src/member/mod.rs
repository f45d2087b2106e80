//! A running member.

mod leadership;
pub(crate) mod members;
mod open;
mod read;
mod submit;

use crate::disk::{Disk, Guard};
use crate::log::LogStore;
use crate::machine::{Ending, Machine};
use crate::peer::Peers;
use crate::peer::outgoing::{Known, Outgoing};
use crate::peer::receive::Receiver;
use crate::room::Room;
use crate::snapshot::Snapshots;
use crate::types::{LogId, Raft, SnapshotMeta, Types};
use crate::{Leadership, Options, StartError, StateMachine, Status, SubmitError, watch};
use open::{Opened, open};
pub(crate) use open::{io_error, lock};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use openraft::impls::BasicNode;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A member without peers leads, and has applied its log, well within this.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

/// What a member answers that has lost what it promised.
pub(crate) const LOST_DISK: &str = "its disk is empty, but it has had a vote: what it promised is forgotten. Remove the \
     member and add it again under a new number";

pub(crate) struct Member {
    raft: Raft,
    log: LogStore,
    options: Options,
    peers: Arc<dyn Peers>,
    receiver: Receiver,
    room: Room,
    leadership: watch::Sender<Leadership>,
    /// Commands were refused when last looked, so that each change is logged once.
    refusing: AtomicBool,
    /// It was said that the disk was lost.
    told_of_lost_disk: AtomicBool,
    stopping: AtomicBool,
    stop: CancellationToken,
    /// Snapshots that are being written, and whoever asks for them.
    work: TaskTracker,
    /// The lock on the directory, until the log is closed.
    lock: Mutex<Option<Guard>>,
}

impl Member {
    pub(crate) async fn start(
        options: Options,
        machine: Arc<dyn StateMachine>,
        peers: Arc<dyn Peers>,
        disk: Arc<dyn Disk>,
    ) -> Result<Arc<Self>, StartError> {
        let config = options.protocol()?;
        let (stop, work, due) = (CancellationToken::new(), TaskTracker::new(), Arc::new(Notify::new()));
        let opened = {
            let (options, machine, on) = (options.clone(), machine.clone(), disk.clone());
            crate::disk::off_the_runtime(&disk, move || open(&options, &*machine, &on))
                .await
                .map_err(|e| StartError::Protocol(e.to_string()))??
        };
        let Opened { lock, mut log, snapshots, restored } = opened;
        if log.is_blank() && restored.as_ref().is_some_and(|meta| has_others(meta, options.member)) {
            return Err(forgotten(&options));
        }
        if let Some(last) = restored.as_ref().and_then(|meta| meta.last_log_id) {
            log.vote_no_earlier_than(last).await.map_err(io_error(&options.directory))?;
        }
        let machine = Machine::new(
            machine,
            snapshots.clone(),
            restored,
            log.applied(),
            options.snapshot_after_bytes,
            due.clone(),
            Ending { stop: stop.clone(), work: work.clone() },
        );
        let known = Arc::new(RwLock::new(Known::default()));
        let outgoing = Outgoing { peers: peers.clone(), known: known.clone(), disk: disk.clone() };
        let raft =
            Raft::new(options.member, Arc::new(config), outgoing, log.clone(), machine).await.map_err(protocol)?;
        let receiver = Receiver {
            member: options.member,
            raft: raft.clone(),
            snapshots,
            disk: disk.clone(),
            arriving: Mutex::default(),
        };
        let member = Arc::new(Self {
            raft,
            log,
            peers,
            receiver,
            room: Room::of(&options.directory, disk),
            options,
            leadership: watch::channel(Leadership::default()).0,
            refusing: AtomicBool::new(false),
            told_of_lost_disk: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            stop,
            work,
            lock: Mutex::new(Some(lock)),
        });
        member.work.spawn(leadership::follow(
            member.raft.clone(),
            member.options.clone(),
            known,
            member.leadership.clone(),
            member.stop.clone(),
        ));
        if let Err(error) = member.lead_if_alone().await {
            let full = member.log.condition().is_full();
            member.shutdown().await;
            return Err(if full { StartError::Full { directory: member.options.directory.clone() } } else { error });
        }
        member.log.condition().be_patient(true);
        member.work.spawn(take_snapshots(member.raft.clone(), due, member.stop.clone()));
        Ok(member)
    }

    pub(crate) async fn init(&self, address: &str) -> Result<(), StartError> {
        if self.is_initialized() {
            return Err(StartError::Initialized);
        }
        let members = BTreeMap::from([(self.options.member, BasicNode { addr: address.to_owned() })]);
        self.raft.initialize(members).await.map_err(protocol)?;
        self.lead_if_alone().await
    }

    async fn lead_if_alone(&self) -> Result<(), StartError> {
        let (raft, id) = (&self.raft, self.options.member);
        // An answer of the protocol also means that its metrics are there.
        if !raft.is_initialized().await.map_err(protocol)? || !raft.voter_ids().eq([id]) {
            return Ok(());
        }
        if !raft.is_leader() {
            raft.trigger().elect(false).await.map_err(protocol)?;
        }
        raft.wait(Some(RECOVERY_MAX))
            .metrics(|m| m.current_leader == Some(id), "to lead alone")
            .await
            .map_err(protocol)?;
        raft.wait_for_recovery(Some(RECOVERY_MAX)).await.map_err(protocol)?;
        Ok(())
    }

    pub(crate) fn id(&self) -> u64 {
        self.options.member
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.raft
    }

    pub(crate) fn snapshots(&self) -> &Snapshots {
        &self.receiver.snapshots
    }

    pub(crate) fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// Nothing was ever written: no entry, no vote, no snapshot.
    pub(crate) fn is_blank(&self) -> bool {
        self.log.is_blank()
    }

    pub(crate) fn is_initialized(&self) -> bool {
        self.raft.metrics().borrow_watched().membership_config.membership().nodes().next().is_some()
    }

    /// Others know this member as a voter, and it knows nothing.
    pub(crate) fn note_lost_disk(&self) {
        if !self.told_of_lost_disk.swap(true, Ordering::AcqRel) {
            tracing::error!(member = self.options.member, "refusing to take part: {LOST_DISK}");
        }
    }

    pub(crate) fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.subscribe()
    }

    pub(crate) fn status(&self) -> Status {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let index = |log_id: &Option<LogId>| log_id.map_or(0, |log_id| log_id.index());
        Status {
            member: self.options.member,
            leader: leadership::leader(&metrics),
            term: metrics.current_term,
            applied: index(&metrics.last_applied),
            snapshot: index(&metrics.snapshot),
        }
    }

    pub(crate) async fn shutdown(&self) {
        self.stopping.store(true, Ordering::Release);
        let mut lock = self.lock.lock().await;
        let Some(directory_lock) = lock.take() else { return };
        self.stop.cancel();
        self.log.give_up_waiting();
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the consensus protocol did not end well");
        }
        self.work.close();
        self.work.wait().await;
        self.log.close().await;
        drop(directory_lock);
    }

    fn fatal(&self, fatal: &Fatal<Types>) -> SubmitError {
        match fatal {
            Fatal::Stopped if self.stopping.load(Ordering::Acquire) => SubmitError::ShuttingDown,
            other => {
                tracing::error!(error = %other, "the consensus protocol has stopped");
                let stopped = || "the consensus protocol has stopped; the program's log says why".into();
                let reason = self.log.condition().break_with(stopped);
                self.broken(reason).into()
            }
        }
    }
}

fn has_others(meta: &SnapshotMeta, member: u64) -> bool {
    meta.last_membership.membership().voter_ids().any(|voter| voter != member)
}

/// The log was put aside, and with it the votes: among others this member would break what it promised them.
fn forgotten(options: &Options) -> StartError {
    StartError::Damaged {
        path: options.directory.join("log"),
        problem: "it is empty, and the snapshots beside it are of a cluster with several members".into(),
        remedy:
            "remove this member from the cluster and add it again under a new number with an empty directory; when no \
                 majority of the members is left, recover the one that has most"
                .into(),
    }
}

fn protocol(error: impl std::fmt::Display) -> StartError {
    StartError::Protocol(error.to_string())
}

/// Asks for a snapshot when the machine says that many bytes were applied. Ends when told to, or with the member.
async fn take_snapshots(raft: Raft, due: Arc<Notify>, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = due.notified() => {}
            () = stop.cancelled() => return,
        }
        if raft.trigger().snapshot().await.is_err() {
            return;
        }
    }
}

impl Drop for Member {
    /// A member that was not shut down stops nevertheless; what was acknowledged is on disk.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
