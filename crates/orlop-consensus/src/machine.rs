//! The state machine, as the consensus protocol uses it.

use crate::disk::{Disk, off_the_runtime};
use crate::snapshot::{SnapshotFile, Snapshots};
use crate::types::{LogId, Payload, Snapshot, SnapshotMeta, StoredMembership, Types};
use crate::{Encode, StateMachine};
use futures::{Stream, TryStreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{LogIdOptionExt, OptionalSend};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How long to wait before a snapshot that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// Adapts a [`StateMachine`].
pub(crate) struct Machine {
    machine: Arc<dyn StateMachine>,
    snapshots: Arc<Snapshots>,
    disk: Arc<dyn Disk>,
    applied: Option<LogId>,
    /// The first index that is not applied, for the log.
    next: Arc<AtomicU64>,
    membership: StoredMembership,
    /// Bytes of commands applied since the last snapshot began.
    bytes: u64,
    bytes_max: u64,
    /// Told when so many bytes were applied that a snapshot is due.
    due: Arc<Notify>,
    ending: Ending,
}

/// How the member ends: it asks, and waits for the work that is still going on.
#[derive(Clone, Default)]
pub(crate) struct Ending {
    pub(crate) stop: CancellationToken,
    pub(crate) work: TaskTracker,
}

impl Machine {
    /// `restored` is the snapshot that the machine was restored from; the machine is empty without. `next` is kept at the
    /// first index that is not applied.
    pub(crate) fn new(
        machine: Arc<dyn StateMachine>,
        snapshots: Arc<Snapshots>,
        restored: Option<SnapshotMeta>,
        next: Arc<AtomicU64>,
        bytes_max: u64,
        due: Arc<Notify>,
        ending: Ending,
    ) -> Self {
        let SnapshotMeta { last_log_id: applied, last_membership: membership } = restored.unwrap_or_default();
        next.store(applied.next_index(), Ordering::Release);
        let disk = snapshots.disk();
        Self { machine, snapshots, disk, applied, next, membership, bytes: 0, bytes_max, due, ending }
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let log_id = entry.log_id();
            let answer = match entry.payload {
                Payload::Blank => Vec::new(),
                Payload::Normal(command) => {
                    self.bytes += command.0.len() as u64;
                    self.machine.apply(log_id.index(), &command.0)
                }
                Payload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(log_id), membership);
                    Vec::new()
                }
            };
            self.applied = Some(log_id);
            self.next.store(log_id.index() + 1, Ordering::Release);
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        if self.bytes >= self.bytes_max {
            self.due.notify_one();
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Builder> {
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.bytes = 0;
        Builder {
            encode: Mutex::new(Some(self.machine.snapshot())),
            meta: SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() },
            snapshots: self.snapshots.clone(),
            disk: self.disk.clone(),
            stop: self.ending.stop.clone(),
            _working: self.ending.work.token(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotFile) -> Result<(), io::Error> {
        let (machine, snapshots, taken) = (self.machine.clone(), self.snapshots.clone(), meta.clone());
        off_the_runtime(&self.disk, move || {
            let payload = snapshot.payload()?;
            let index = taken.last_log_id.map_or(0, |last| last.index());
            machine.restore(index, &payload).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            snapshots.adopt_received(&taken, &snapshot)
        })
        .await??;
        self.applied = meta.last_log_id;
        self.next.store(meta.last_log_id.next_index(), Ordering::Release);
        self.membership = meta.last_membership.clone();
        self.bytes = 0;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.snapshots.newest())
    }
}

/// A captured state on its way to disk.
pub(crate) struct Builder {
    /// In a mutex only because a builder must be shareable.
    encode: Mutex<Option<Encode>>,
    meta: SnapshotMeta,
    snapshots: Arc<Snapshots>,
    disk: Arc<dyn Disk>,
    stop: CancellationToken,
    _working: TaskTrackerToken,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotFile;

    /// A snapshot that cannot be written is no reason to stop: the log still is. It is tried until it succeeds, and until
    /// then the log only grows.
    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let encode = self.encode.get_mut().take().ok_or_else(|| io::Error::other("a snapshot is built once"))?;
        let payload = Arc::new(off_the_runtime(&self.disk, encode).await?);
        loop {
            let (snapshots, meta, bytes) = (self.snapshots.clone(), self.meta.clone(), payload.clone());
            match off_the_runtime(&self.disk, move || snapshots.write(&meta, &bytes)).await.flatten() {
                Ok(snapshot) => return Ok(snapshot),
                Err(error) => {
                    tracing::warn!(%error, retry_seconds = RETRY.as_secs(), "a snapshot could not be written; the log grows until one is");
                }
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(RETRY) => {}
                () = self.stop.cancelled() => return Err(io::Error::other("the member is shutting down")),
            }
        }
    }
}
