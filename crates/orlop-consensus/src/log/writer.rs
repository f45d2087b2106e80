//! The thread that writes the log, one job after the other, those that wait together with one sync.
//!
//! A full disk holds a write up: nothing of it is on disk, nobody is told, and it is tried until there is room or the member
//! stops. Whoever submitted the command hears of it through [`Condition`](super::Condition). Any other failure is final.

use super::{Shared, Stored};
use crate::disk::{Batch, Pair};
use crate::reached::Reached;
use crate::record;
use crate::room;
use crate::types::{LogId, Types, Vote};
use openraft::entry::RaftEntry;
use openraft::storage::IOFlushed;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

/// Jobs that wait are taken together up to so many bytes.
const GROUP_BYTES: usize = 4 << 20;
/// So many keys are removed at a time.
const REMOVE_KEYS: usize = 4096;

/// How often a write is tried that lacks room.
const RETRY: Duration = Duration::from_millis(250);

/// Something to write. Every job is answered, also when the writer cannot write any more.
pub(crate) enum Job {
    Append {
        records: Vec<Pair>,
        end: u64,
        done: IOFlushed<Types>,
    },
    Vote {
        vote: Vote,
        done: oneshot::Sender<io::Result<()>>,
    },
    /// Remove the entries from `first` on.
    Truncate {
        first: u64,
        done: oneshot::Sender<io::Result<()>>,
    },
    /// Remove the entries up to `through`; those that a kept snapshot needs may stay, unless the log ends before
    /// (`beyond`) and a gap would be left.
    Purge {
        through: LogId,
        beyond: bool,
        done: oneshot::Sender<io::Result<()>>,
    },
    Close {
        done: oneshot::Sender<()>,
    },
}

/// Whom to tell when a group is durable.
enum Waiter {
    Append(IOFlushed<Types>),
    Other(oneshot::Sender<io::Result<()>>),
}

impl Waiter {
    fn tell(self, result: io::Result<()>) {
        match self {
            Waiter::Append(done) => done.io_completed(result),
            Waiter::Other(done) => {
                done.send(result).ok();
            }
        }
    }
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    reached: Reached,
    /// Says something, or is closed, when a write that lacks room is to be given up.
    give_up: mpsc::Receiver<()>,
    group: Batch,
    group_bytes: usize,
    /// The end of the log once the group is durable.
    end: Option<u64>,
    waiters: Vec<Waiter>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, reached: Reached, give_up: mpsc::Receiver<()>) -> Self {
        Self { shared, reached, give_up, group: Batch::default(), group_bytes: 0, end: None, waiters: Vec::new() }
    }

    /// Works until told to close, or until every handle of the log is gone.
    pub(super) fn run(mut self, mut jobs: UnboundedReceiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            if self.turn(job, &mut jobs).is_break() {
                return;
            }
        }
        self.shared.store.close();
    }

    /// The same as a task, for a disk that never blocks and takes so long for a write.
    pub(super) async fn run_inline(mut self, mut jobs: UnboundedReceiver<Job>, latency: Duration) {
        while let Some(job) = jobs.recv().await {
            tokio::time::sleep(latency).await;
            if self.turn(job, &mut jobs).is_break() {
                return;
            }
        }
        self.shared.store.close();
    }

    /// Does a job and those that wait behind it.
    fn turn(&mut self, job: Job, jobs: &mut UnboundedReceiver<Job>) -> ControlFlow<()> {
        let mut next = Some(job);
        while let Some(job) = next {
            if let Some(closed) = self.take(job) {
                self.commit();
                self.shared.store.close();
                closed.send(()).ok();
                return ControlFlow::Break(());
            }
            next = if self.group_bytes < GROUP_BYTES { jobs.try_recv().ok() } else { None };
        }
        self.commit();
        ControlFlow::Continue(())
    }

    fn take(&mut self, job: Job) -> Option<oneshot::Sender<()>> {
        match job {
            Job::Append { records, end, done } => {
                for (key, value) in records {
                    self.group_bytes += key.len() + value.len();
                    self.group.put(key, value);
                }
                self.end = Some(end);
                self.waiters.push(Waiter::Append(done));
            }
            Job::Vote { vote, done } => {
                self.group.put(record::VOTE.to_vec(), record::encode_vote(&vote));
                self.waiters.push(Waiter::Other(done));
            }
            Job::Truncate { first, done } => {
                self.commit();
                let result = self.unless_broken(|writer| writer.truncate(first));
                done.send(result).ok();
            }
            Job::Purge { through, beyond, done } => {
                self.commit();
                let result = self.unless_broken(|writer| writer.purge(through, beyond));
                done.send(result).ok();
            }
            Job::Close { done } => {
                self.save_committed();
                return Some(done);
            }
        }
        None
    }

    fn save_committed(&mut self) {
        let mut memory = self.shared.memory.lock();
        if let (true, Some(committed)) = (memory.committed_unsaved, memory.committed) {
            memory.committed_unsaved = false;
            self.group.put(record::COMMITTED.to_vec(), record::encode_log_id(record::COMMITTED, &committed));
        }
    }

    /// Makes the group durable, then tells everybody who waits for it.
    fn commit(&mut self) {
        if self.group.is_empty() {
            for waiter in self.waiters.drain(..) {
                waiter.tell(Ok(()));
            }
            return;
        }
        self.save_committed();
        let group = std::mem::take(&mut self.group);
        let end = self.end.take();
        let bytes = std::mem::take(&mut self.group_bytes) as u64;
        let result = self.unless_broken(|writer| {
            writer.wait_for_room(bytes)?;
            writer.shared.store.write(group)?;
            if let Some(end) = end {
                writer.reached.note(end)?;
                let mut memory = writer.shared.memory.lock();
                memory.written = end;
                memory.trim(writer.shared.applied.load(Ordering::Acquire));
            }
            Ok(())
        });
        for waiter in self.waiters.drain(..) {
            waiter.tell(result.as_ref().copied().map_err(copy));
        }
        // What fails here is told to those who come next.
        let _ = self.unless_broken(|writer| writer.shared.store.settle());
    }

    /// What a failed write left on disk is unknown, so nothing is written after it.
    fn unless_broken(&mut self, work: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        if let Some(broken) = self.shared.condition.broken() {
            return Err(io::Error::other(format!("an earlier write failed: {broken}")));
        }
        let result = work(self);
        if let Err(error) = &result {
            tracing::error!(%error, path = %self.shared.path.display(), "the log cannot be written");
            self.shared.condition.fail(error);
        }
        result
    }

    fn wait_for_room(&self, bytes: u64) -> io::Result<()> {
        let condition = &self.shared.condition;
        loop {
            match self.shared.store.make_room(bytes) {
                Err(full) if room::is_full(&full) && condition.is_patient() => {
                    if condition.hold(true) {
                        tracing::warn!(path = %self.shared.path.display(), bytes, "a write of the log waits for room on the disk");
                    }
                    if self.give_up.recv_timeout(RETRY) != Err(RecvTimeoutError::Timeout) {
                        return Err(full);
                    }
                }
                result => {
                    if condition.hold(false) {
                        tracing::info!("the log goes on");
                    }
                    return result;
                }
            }
        }
    }

    fn truncate(&mut self, first: u64) -> io::Result<()> {
        // Lowered before: were the entries gone and the mark still high, the next start would miss them.
        self.reached.lower(first)?;
        let keys = self.shared.store.keys(record::entry_key(first, 0)..record::entry_key(u64::MAX, u16::MAX))?;
        // From the end backwards, so that an interruption leaves no gap.
        for some in keys.rchunks(REMOVE_KEYS) {
            let mut batch = Batch::default();
            some.iter().for_each(|key| batch.remove(key));
            self.wait_for_room(0)?;
            self.shared.store.write(batch)?;
        }
        // The record that the last entry is in may go on beyond it.
        let Some(before) = first.checked_sub(1) else { return Ok(()) };
        let Ok(Stored { first: at, mut entries }) = self.shared.read_record(before) else { return Ok(()) };
        if at + entries.len() as u64 > first {
            entries.retain(|entry| entry.index() < first);
            let mut batch = Batch::default();
            record::encode_entries(&entries).into_iter().for_each(|(key, value)| batch.put(key, value));
            self.wait_for_room(0)?;
            self.shared.store.write(batch)?;
        }
        Ok(())
    }

    fn purge(&mut self, through: LogId, beyond: bool) -> io::Result<()> {
        let keep_from = self.shared.keep_from.load(Ordering::Acquire);
        let boundary = if beyond || through.index() < keep_from {
            through
        } else if let Some(boundary) = keep_from.checked_sub(1) {
            match self.shared.read_stored(boundary)? {
                Some(log_id) => log_id,
                // Given up earlier.
                None => return Ok(()),
            }
        } else {
            return Ok(());
        };
        // The record that the boundary is in may go on beyond it; then it stays whole.
        let end = match self.shared.read_record(boundary.index()) {
            Ok(Stored { first, entries }) if first + entries.len() as u64 > boundary.index() + 1 => first,
            _ => boundary.index() + 1,
        };
        let keys = self.shared.store.keys(record::entry_key(0, 0)..record::entry_key(end, 0))?;
        // The mark goes first: entries before it are leftovers that the next start removes.
        let mut batch = Batch::default();
        batch.put(record::PURGED.to_vec(), record::encode_log_id(record::PURGED, &boundary));
        for some in keys.chunks(REMOVE_KEYS) {
            some.iter().for_each(|key| batch.remove(key));
            // Entries may stay longer: the protocol is not to wait for it, and the next purge removes them too.
            match self.shared.store.make_room(0) {
                Err(full) if room::is_full(&full) && !beyond => return Ok(()),
                Err(full) if room::is_full(&full) => self.wait_for_room(0)?,
                other => other?,
            }
            self.shared.store.write(std::mem::take(&mut batch))?;
        }
        if !batch.is_empty() {
            self.wait_for_room(0)?;
            self.shared.store.write(batch)?;
        }
        if beyond {
            self.reached.note(boundary.index() + 1)?;
            let mut memory = self.shared.memory.lock();
            memory.written = memory.written.max(boundary.index() + 1);
        }
        Ok(())
    }
}

impl Shared {
    /// The place of a stored entry, if there is one at the index.
    fn read_stored(&self, index: u64) -> io::Result<Option<LogId>> {
        match self.read_record(index) {
            Ok(stored) => Ok(stored.entries.iter().find(|entry| entry.index() == index).map(|entry| entry.log_id)),
            // Given up earlier; what is damaged was found at the start.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn copy(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}
