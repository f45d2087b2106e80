//! The log on disk, as the consensus protocol uses it.
//!
//! Appending returns at once: entries are readable from memory, and a [writer](writer) thread makes them durable and only
//! then says so. The entries that wait when it comes around share one sync. Votes go the same way and are waited for.

mod condition;
mod open;
mod writer;

#[cfg(test)]
mod tests;

use crate::disk::Store;
use crate::record;
use crate::types::{Entry, LogId, Payload, Types, Vote};
pub(crate) use condition::Condition;

use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{LogIdOptionExt, OptionalSend};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use writer::Job;

/// Entries that are durable and applied stay in memory, up to so many and so many bytes. Those that are to be applied stay
/// in any case: whoever submitted them holds them too, and reading the store may write to it.
const RECENT_ENTRIES: usize = 1024;
const RECENT_BYTES: usize = 256 << 10;
/// So many bytes of entries are read at once for another member, and at most one entry more: a message must hold them.
const READ_BYTES: usize = 1 << 20;

/// A handle of the log; all clones are of the same one.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
    jobs: UnboundedSender<Job>,
    give_up: mpsc::Sender<()>,
}

/// A handle that only reads.
#[derive(Clone)]
pub(crate) struct LogReader {
    shared: Arc<Shared>,
}

struct Shared {
    store: Box<dyn Store>,
    /// Where the store lies.
    path: PathBuf,
    /// Entries from this index on stay on disk even when the protocol gives them up, because the older of the two kept
    /// snapshots needs them.
    keep_from: Arc<AtomicU64>,
    /// Entries from this index on are still to be applied; the end of all indexes when nobody applies.
    applied: Arc<AtomicU64>,
    memory: Mutex<Memory>,
    condition: Condition,
}

/// What is known of the log without reading it.
#[derive(Default)]
struct Memory {
    vote: Option<Vote>,
    committed: Option<LogId>,
    /// `committed` is newer than what the disk has.
    committed_unsaved: bool,
    /// Entries up to here are given up; some may still be on disk.
    purged: Option<LogId>,
    last: Option<LogId>,
    /// Where the log began when it was empty: 0, but for logs that were begun in the middle.
    first: u64,
    /// The newest entries, without a gap up to the last.
    recent: BTreeMap<u64, Entry>,
    recent_bytes: usize,
    /// Entries before this index are on disk.
    written: u64,
}

impl Memory {
    fn push(&mut self, entry: Entry) {
        if self.last.is_none() {
            self.first = entry.index();
        }
        self.last = Some(entry.log_id());
        self.recent_bytes += weight(&entry);
        self.recent.insert(entry.index(), entry);
    }

    /// Forgets entries that are on disk and before `applied`, oldest first, down to what is worth keeping.
    fn trim(&mut self, applied: u64) {
        let end = self.written.min(applied);
        while self.recent.len() > RECENT_ENTRIES || self.recent_bytes > RECENT_BYTES {
            match self.recent.first_entry() {
                Some(oldest) if *oldest.key() < end => {
                    self.recent_bytes -= weight(&oldest.remove());
                }
                _ => return,
            }
        }
    }

    fn forget_recent(&mut self, keep: impl Fn(u64) -> bool) {
        self.recent.retain(|index, _| keep(*index));
        self.recent_bytes = self.recent.values().map(weight).sum();
    }
}

fn weight(entry: &Entry) -> usize {
    64 + if let Payload::Normal(command) = &entry.payload { command.0.len() } else { 0 }
}

impl LogStore {
    /// Whether the log can be written.
    pub(crate) fn condition(&self) -> &Condition {
        &self.shared.condition
    }

    /// Nothing was ever written: no entry, and no vote.
    pub(crate) fn is_blank(&self) -> bool {
        let memory = self.shared.memory.lock();
        memory.vote.is_none() && memory.last.is_none()
    }

    /// Where whoever applies the log keeps the first index that it has not applied.
    pub(crate) fn applied(&self) -> Arc<AtomicU64> {
        self.shared.applied.clone()
    }

    /// A write that waits for room on the disk fails from now on: the member stops.
    pub(crate) fn give_up_waiting(&self) {
        self.shared.condition.be_patient(false);
        self.give_up.send(()).ok();
    }

    /// Writes down how far the log is known to be committed, then closes it. Nothing can be read or written afterwards.
    pub(crate) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.jobs.send(Job::Close { done }).is_ok() {
            closed.await.ok();
        }
    }

    async fn wait(&self, job: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Job) -> io::Result<()> {
        let (done, result) = oneshot::channel();
        self.jobs.send(job(done)).map_err(|_| closed())?;
        result.await.map_err(|_| closed())?
    }
}

fn closed() -> io::Error {
    io::Error::other("the log is closed")
}

impl Shared {
    /// Entries from `first` up to but without `end`, at least one if there are any, at most some `bytes`.
    fn read(&self, first: u64, end: u64, bytes: usize) -> io::Result<Vec<Entry>> {
        let (first, end, recent) = {
            let memory = self.memory.lock();
            let first = first.max(memory.first).max(memory.purged.next_index());
            let end = end.min(memory.last.next_index());
            if first >= end {
                return Ok(Vec::new());
            }
            let recent: Vec<Entry> = memory.recent.range(first..end).map(|(_, entry)| entry.clone()).collect();
            (first, end, recent)
        };
        let disk_end = recent.first().map_or(end, RaftEntry::index);
        let mut entries = Vec::new();
        let mut size = 0;
        let mut index = first;
        while index < disk_end && size < bytes {
            for entry in self.read_record(index)?.entries {
                if (index..disk_end).contains(&entry.index()) && size < bytes {
                    size += weight(&entry);
                    index = entry.index() + 1;
                    entries.push(entry);
                }
            }
        }
        if index == disk_end {
            entries.extend(recent.into_iter().take_while(|entry| {
                let more = size < bytes;
                size += weight(entry);
                more
            }));
        }
        Ok(entries)
    }

    /// Entries from `first` on that were given up, as far as they are still on disk without a gap.
    fn read_given_up(&self, first: u64, end: u64, bytes: usize) -> Vec<Entry> {
        let (mut entries, mut size, mut index) = (Vec::new(), 0, first);
        let end = end.min(self.memory.lock().purged.next_index());
        while index < end && size < bytes {
            let Ok(record) = self.read_record(index) else { break };
            let before = index;
            for entry in record.entries {
                if entry.index() == index && index < end && size < bytes {
                    size += weight(&entry);
                    index += 1;
                    entries.push(entry);
                }
            }
            if index == before {
                break;
            }
        }
        entries
    }

    /// The stored record that an entry is in.
    fn read_record(&self, index: u64) -> io::Result<Stored> {
        let invalid = |problem: String| io::Error::new(io::ErrorKind::InvalidData, problem);
        let missing = || invalid(format!("entry {index} is missing in the log"));
        let (key, _) = self.store.floor(&record::entry_key(index, u16::MAX))?.ok_or_else(missing)?;
        let (first, _) = record::parse_entry_key(&key).ok_or_else(missing)?;
        let records = self.store.range(record::entry_key(first, 0)..record::entry_key(first + 1, 0))?;
        let parts: Vec<(u16, Vec<u8>)> = records
            .into_iter()
            .filter_map(|(key, value)| record::parse_entry_key(&key).map(|(_, part)| (part, value)))
            .collect();
        let entries = record::decode_entries(first, &parts).map_err(|e| invalid(e.to_string()))?;
        if first + entries.len() as u64 <= index {
            return Err(missing());
        }
        Ok(Stored { first, entries })
    }
}

/// Entries that share a record.
struct Stored {
    /// The index of the first.
    first: u64,
    entries: Vec<Entry>,
}

fn bounds(range: impl RangeBounds<u64>) -> (u64, u64) {
    let first = match range.start_bound() {
        Bound::Included(first) => *first,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (first, end)
}

impl RaftLogReader<Types> for LogReader {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, io::Error> {
        let (first, end) = bounds(range);
        self.shared.read(first, end, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        // The protocol may go on to send what it gave up meanwhile. Entries from a later one on would be taken for those that
        // follow the one before `start`: what is still on disk is sent, and else none.
        if start < self.shared.memory.lock().purged.next_index() {
            return Ok(self.shared.read_given_up(start, end, READ_BYTES));
        }
        self.shared.read(start, end, READ_BYTES)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.shared.memory.lock().vote)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let memory = self.shared.memory.lock();
        Ok(LogState { last_purged_log_id: memory.purged, last_log_id: memory.last })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader { shared: self.shared.clone() }
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let vote = *vote;
        self.wait(|done| Job::Vote { vote, done }).await?;
        self.shared.memory.lock().vote = Some(vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        // Not worth a sync of its own: it goes along with the next one. What it is behind by is committed again when
        // the member has found the leader, or leads.
        let mut memory = self.shared.memory.lock();
        memory.committed = committed;
        memory.committed_unsaved = true;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.shared.memory.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let records = record::encode_entries(&entries);
        let end = entries.last().map_or(0, |last| last.index() + 1);
        {
            let mut memory = self.shared.memory.lock();
            entries.into_iter().for_each(|entry| memory.push(entry));
        }
        self.jobs.send(Job::Append { records, end, done: callback }).map_err(|_| closed())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let first = last_log_id.next_index();
        {
            let mut memory = self.shared.memory.lock();
            if memory.last <= last_log_id {
                return Ok(());
            }
            memory.forget_recent(|index| index < first);
            memory.last = last_log_id;
            memory.written = memory.written.min(first);
        }
        self.wait(|done| Job::Truncate { first, done }).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let beyond = {
            let mut memory = self.shared.memory.lock();
            let beyond = memory.last.next_index() <= log_id.index();
            memory.purged = memory.purged.max(Some(log_id));
            memory.last = memory.last.max(Some(log_id));
            memory.forget_recent(|index| index > log_id.index());
            beyond
        };
        if beyond {
            return self.wait(|done| Job::Purge { through: log_id, beyond, done }).await;
        }
        // Not waited for: it takes several syncs, and the leader's signs of life would wait along. Entries that come back
        // after a crash are purged again; a failure is found by the next write.
        let (done, _) = oneshot::channel();
        self.jobs.send(Job::Purge { through: log_id, beyond, done }).map_err(|_| closed())
    }
}
