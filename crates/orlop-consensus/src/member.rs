//! A running member.

use crate::log::LogStore;
use crate::machine::{Ending, Machine};
use crate::network::NoPeers;
use crate::room::{self, Room};
use crate::snapshot::Snapshots;
use crate::types::{Command, Raft, Types};
use crate::{Applied, Broken, Options, StartError, StateMachine, Status, SubmitError, Trouble};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, LinearizableReadError, RaftError};
use openraft::impls::BasicNode;
use openraft::raft::ReadPolicy;
use openraft::{Config, SnapshotPolicy};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A member without peers leads, and has applied its log, well within this.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Member {
    raft: Raft,
    log: LogStore,
    id: u64,
    command_bytes_max: usize,
    directory: PathBuf,
    room: Room,
    /// Commands were refused when last looked, so that each change is logged once.
    refusing: AtomicBool,
    stopping: AtomicBool,
    stop: CancellationToken,
    /// Snapshots that are being written, and whoever asks for them.
    work: TaskTracker,
    /// The lock on the directory, until the log is closed.
    lock: Mutex<Option<Lock>>,
}

impl Member {
    pub(crate) async fn start(options: Options, machine: Arc<dyn StateMachine>) -> Result<Self, StartError> {
        let config = options.protocol()?;
        let (stop, work, due) = (CancellationToken::new(), TaskTracker::new(), Arc::new(Notify::new()));
        let opened = {
            let (options, machine) = (options.clone(), machine.clone());
            tokio::task::spawn_blocking(move || open(&options, &*machine))
                .await
                .map_err(|e| StartError::Protocol(e.to_string()))??
        };
        let Opened { lock, mut log, snapshots, restored } = opened;
        if let Some(last) = restored.as_ref().and_then(|meta| meta.last_log_id) {
            log.vote_no_earlier_than(last).await.map_err(io_error(&options.directory))?;
        }
        let machine = Machine::new(
            machine,
            snapshots,
            restored,
            log.applied(),
            options.snapshot_after_bytes,
            due.clone(),
            Ending { stop: stop.clone(), work: work.clone() },
        );
        let raft =
            Raft::new(options.member, Arc::new(config), NoPeers, log.clone(), machine).await.map_err(protocol)?;
        let member = Self {
            raft,
            log,
            id: options.member,
            command_bytes_max: options.command_bytes_max,
            room: Room::of(&options.directory),
            directory: options.directory,
            refusing: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            stop,
            work,
            lock: Mutex::new(Some(lock)),
        };
        if let Err(error) = member.lead_if_alone().await {
            let full = member.log.condition().is_full();
            member.shutdown().await;
            return Err(if full { StartError::Full { directory: member.directory.clone() } } else { error });
        }
        member.log.condition().be_patient(true);
        member.work.spawn(take_snapshots(member.raft.clone(), due, member.stop.clone()));
        Ok(member)
    }

    async fn lead_if_alone(&self) -> Result<(), StartError> {
        let raft = &self.raft;
        if !raft.is_initialized().await.map_err(protocol)? {
            let members = BTreeMap::from([(self.id, BasicNode::default())]);
            raft.initialize(members).await.map_err(protocol)?;
        }
        if raft.voter_ids().any(|voter| voter != self.id) {
            // With others there is something to keep time for: heartbeats and elections.
            raft.runtime_config().tick(true);
            return Ok(());
        }
        if !raft.is_leader() {
            raft.trigger().elect(false).await.map_err(protocol)?;
        }
        raft.wait(Some(RECOVERY_MAX))
            .metrics(|m| m.current_leader == Some(self.id), "to lead alone")
            .await
            .map_err(protocol)?;
        raft.wait_for_recovery(Some(RECOVERY_MAX)).await.map_err(protocol)?;
        Ok(())
    }

    pub(crate) async fn submit(&self, command: Vec<u8>) -> Result<Applied, SubmitError> {
        if command.len() > self.command_bytes_max {
            return Err(SubmitError::TooLarge { bytes: command.len(), max: self.command_bytes_max });
        }
        if self.stopping.load(Ordering::Acquire) {
            return Err(SubmitError::ShuttingDown);
        }
        match self.trouble(command.len() as u64) {
            None => {}
            Some(Trouble::Full(full)) => return Err(SubmitError::Full { full, unsure: false }),
            Some(Trouble::Broken(broken)) => return Err(broken.into()),
        }
        let mut held = self.log.condition().held();
        let written = tokio::select! {
            biased;
            written = self.raft.client_write(Command(command.into())) => written,
            // The disk filled up meanwhile. The log goes on by itself when there is room; who asked is told now.
            Ok(_) = held.wait_for(|held| *held) => {
                return Err(SubmitError::Full { full: self.room.lacks(), unsure: true });
            }
        };
        match written {
            Ok(written) => Ok(Applied { index: written.log_id.index(), answer: written.data }),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
                Err(SubmitError::NotLeader { leader: to.leader_id })
            }
            Err(RaftError::APIError(other)) => Err(self.broken(other.to_string()).into()),
            Err(RaftError::Fatal(fatal)) => Err(self.fatal(&fatal)),
        }
    }

    /// Why a command of so many bytes is not taken now, if it is not.
    pub(crate) fn trouble(&self, bytes: u64) -> Option<Trouble> {
        let trouble = self.look_for_trouble(bytes);
        self.log_change(trouble.as_ref());
        trouble
    }

    fn look_for_trouble(&self, bytes: u64) -> Option<Trouble> {
        if let Some(reason) = self.log.condition().broken() {
            return Some(self.broken(reason).into());
        }
        if self.log.condition().is_held() {
            return Some(Trouble::Full(self.room.lacks()));
        }
        self.room.lacks_for(bytes).map(Trouble::Full)
    }

    fn log_change(&self, trouble: Option<&Trouble>) {
        if self.refusing.swap(trouble.is_some(), Ordering::AcqRel) != trouble.is_some() {
            match trouble {
                Some(trouble) => tracing::warn!("{trouble}"),
                None => tracing::info!("writes are taken again"),
            }
        }
    }

    fn broken(&self, reason: String) -> Broken {
        Broken { directory: self.directory.clone(), reason }
    }

    pub(crate) async fn read_index(&self) -> Result<u64, SubmitError> {
        match self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
            Ok(reached) => Ok(reached.index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => {
                Err(SubmitError::NotLeader { leader: to.leader_id })
            }
            Err(RaftError::APIError(_)) => Err(SubmitError::NotLeader { leader: None }),
            Err(RaftError::Fatal(fatal)) => Err(self.fatal(&fatal)),
        }
    }

    pub(crate) fn status(&self) -> Status {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let index = |log_id: &Option<crate::types::LogId>| log_id.map_or(0, |log_id| log_id.index());
        Status {
            member: self.id,
            leader: metrics.current_leader,
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

struct Opened {
    lock: Lock,
    log: LogStore,
    snapshots: Arc<Snapshots>,
    restored: Option<crate::types::SnapshotMeta>,
}

/// Opens what lies on disk and restores the machine. Blocks.
fn open(options: &Options, machine: &dyn StateMachine) -> Result<Opened, StartError> {
    let directory = &options.directory;
    std::fs::create_dir_all(directory).map_err(io_error(directory))?;
    let lock = Lock::take(directory)?;
    let keep_from = Arc::new(AtomicU64::new(0));
    let log = LogStore::open(&directory.join("log"), keep_from.clone())?;
    let path = directory.join("snapshots");
    let snapshots = Snapshots::open(&path, keep_from).map_err(io_error(&path))?;
    let restored = snapshots.restore(machine, log.purged())?;
    Ok(Opened { lock, log, snapshots: Arc::new(snapshots), restored })
}

impl StartError {
    /// What a path could not be used for, in its own words where the disk is full.
    pub(crate) fn io(path: PathBuf, source: io::Error) -> Self {
        if room::is_full(&source) { Self::Full { directory: path } } else { Self::Io { path, source } }
    }
}

/// The directory is this member's alone. Unlocked in so many words, because a process that is just being forked holds a
/// copy of the file for a moment, and closing ours would not be enough.
struct Lock(File);

impl Lock {
    fn take(directory: &Path) -> Result<Self, StartError> {
        let path = directory.join("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(io_error(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(StartError::InUse { directory: directory.to_owned() }),
            Err(TryLockError::Error(source)) => Err(StartError::io(path, source)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the lock on the directory could not be given back; it goes with the process");
        }
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_owned();
    move |source| StartError::io(path, source)
}

fn protocol(error: impl std::fmt::Display) -> StartError {
    StartError::Protocol(error.to_string())
}

/// Asks for a snapshot when the machine says that many bytes were applied. Ends when told to, or with the member.
async fn take_snapshots(raft: Raft, due: Arc<Notify>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = due.notified() => {}
            () = stop.cancelled() => return,
        }
        if raft.trigger().snapshot().await.is_err() {
            return;
        }
    }
}

impl Options {
    /// The options in the protocol's own words.
    fn protocol(&self) -> Result<Config, StartError> {
        const COMMAND_BYTES_MAX: usize = 4 << 20;
        let wrong = |what: &str| Err(StartError::Options(what.to_owned()));
        if self.member == 0 {
            return wrong("members are numbered from 1");
        }
        if self.election_timeout < Duration::from_millis(200) || self.election_timeout > Duration::from_secs(3600) {
            return wrong("election_timeout is between 200 ms and 1 h");
        }
        if self.snapshot_after_entries == 0 || self.snapshot_after_bytes == 0 {
            return wrong("a snapshot after 0 entries or bytes would never end");
        }
        if self.command_bytes_max == 0 || self.command_bytes_max > COMMAND_BYTES_MAX {
            return wrong("command_bytes_max is between 1 and 4 MiB");
        }
        let election = u64::try_from(self.election_timeout.as_millis()).unwrap_or(u64::MAX);
        Config {
            cluster_name: "orlop".into(),
            election_timeout_min: election,
            election_timeout_max: election * 2,
            heartbeat_interval: election / 4,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_after_entries),
            replication_lag_threshold: self.snapshot_after_entries.saturating_add(self.keep_entries),
            max_in_snapshot_log_to_keep: self.keep_entries,
            // Purging costs a write: not after every entry.
            purge_batch_size: (self.snapshot_after_entries / 2).max(1),
            // Queues and their memory are sized for what one API server submits at once.
            api_batch_capacity: 1024,
            // Nothing to keep time for until there are other members.
            enable_tick: false,
            enable_pre_vote: Some(true),
            ..Config::default()
        }
        .validate()
        .map_err(|e| StartError::Options(e.to_string()))
    }
}

impl Drop for Member {
    /// A member that was not shut down stops nevertheless; what was acknowledged is on disk.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
