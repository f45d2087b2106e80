//! Opening the log: every record is checked, a torn tail is cut, any other damage is told and nothing is touched.

use super::writer::Writer;
use super::{Condition, LogStore, Memory, Shared};
use crate::StartError;
use crate::disk::{Batch, Disk, Store};
use crate::reached::Reached;
use crate::record::{self, Unreadable};
use crate::types::{Entry, LogId};
use openraft::LogIdOptionExt;
use openraft::entry::RaftEntry;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc;

impl LogStore {
    /// Opens or makes the log in a directory, and starts its writer. `keep_from` is the first index that the older kept
    /// snapshot needs.
    pub(crate) fn open(disk: &Arc<dyn Disk>, directory: &Path, keep_from: Arc<AtomicU64>) -> Result<Self, StartError> {
        let damage = Damage { directory: directory.to_owned() };
        let path = directory.join("store");
        disk.make_directory(directory).map_err(|source| StartError::io(directory.to_owned(), source))?;
        let store = disk.store(&path).map_err(|source| match source.kind() {
            io::ErrorKind::InvalidData => damage.told(format!("the log's store cannot be opened: {source}")),
            _ => StartError::io(path.clone(), source),
        })?;
        let mark = directory.join("reached");
        let (reached, durable) = Reached::open(&**disk, &mark).map_err(|source| StartError::io(mark, source))?;
        let memory = read(&*store, &path, durable, &damage)?;
        if memory.written != durable {
            let path = directory.join("reached");
            reached.note(memory.written).map_err(|source| StartError::io(path, source))?;
        }
        let shared = Arc::new(Shared {
            store,
            path,
            keep_from,
            memory: parking_lot::Mutex::new(memory),
            applied: Arc::new(AtomicU64::new(u64::MAX)),
            condition: Condition::default(),
        });
        let (jobs, queue) = tokio::sync::mpsc::unbounded_channel();
        let (give_up, given_up) = mpsc::channel();
        let writer = Writer::new(shared.clone(), reached, given_up);
        match disk.inline() {
            Some(latency) => drop(tokio::spawn(writer.run_inline(queue, latency))),
            None => {
                std::thread::Builder::new()
                    .name("orlop-log".into())
                    .spawn(move || writer.run(queue))
                    .map_err(|source| StartError::io(directory.to_owned(), source))?;
            }
        }
        Ok(Self { shared, jobs, give_up })
    }

    /// After the log was lost or put aside and a snapshot is gone on from: votes begin where the snapshot ended.
    pub(crate) async fn vote_no_earlier_than(&mut self, last: LogId) -> io::Result<()> {
        use openraft::storage::RaftLogStorage;
        let floor = crate::types::Vote { leader_id: *last.committed_leader_id(), committed: false };
        let behind = self.shared.memory.lock().vote.is_none_or(|vote| vote.leader_id < floor.leader_id);
        if behind { self.save_vote(&floor).await } else { Ok(()) }
    }

    /// The last entry that was given up and is no longer on disk.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.shared.memory.lock().purged
    }
}

struct Damage {
    directory: PathBuf,
}

impl Damage {
    fn told(&self, problem: String) -> StartError {
        StartError::Damaged {
            path: self.directory.clone(),
            problem,
            remedy: "acknowledged commands may be lost, so nothing was changed. If the cluster has other members, remove this \
                     one and add it again under a new number with an empty directory. If it has none, restore a backup; or, \
                     to go on from the newest snapshot beside it and lose what came after, move this directory away"
                .into(),
        }
    }

    fn unreadable(&self, what: &str, unreadable: &Unreadable) -> StartError {
        match unreadable {
            Unreadable::Newer(_) => StartError::Damaged {
                path: self.directory.clone(),
                problem: format!("{what} is {unreadable}"),
                remedy: "start the version of Orlop that wrote it, or a later one".into(),
            },
            Unreadable::Damaged(problem) => self.told(format!("{what} is damaged: {problem}")),
        }
    }
}

/// The parts of one record of entries while they are collected.
struct Collected {
    index: u64,
    parts: Vec<(u16, Vec<u8>)>,
}

impl Collected {
    fn keys(&self) -> impl Iterator<Item = Vec<u8>> {
        self.parts.iter().map(|(part, _)| record::entry_key(self.index, *part))
    }
}

/// The entries as they pass by: where the first bad one was, and the last good one.
struct Check {
    next: u64,
    last: Option<LogId>,
    bad: Option<(u64, String)>,
    /// A bad entry with a good one after it, or one of a newer version: no torn tail.
    hopeless: Option<Unreadable>,
}

impl Check {
    /// Looks at a record; says whether all of it is from before the log's beginning.
    fn record(&mut self, begin: u64, collected: &Collected) -> bool {
        let index = collected.index;
        match record::decode_entries(index, &collected.parts) {
            Ok(entries) if index + (entries.len() as u64) <= begin => return true,
            Ok(entries) => entries.iter().filter(|entry| entry.index() >= begin).for_each(|entry| self.entry(entry)),
            Err(_) if index < begin => return true,
            Err(newer @ Unreadable::Newer(_)) => {
                self.hopeless.get_or_insert(newer);
            }
            Err(Unreadable::Damaged(problem)) => {
                self.note_gap(index);
                self.bad.get_or_insert((index, format!("entry {index}: {problem}")));
            }
        }
        false
    }

    fn entry(&mut self, entry: &Entry) {
        if self.hopeless.is_some() {
            return;
        }
        let index = entry.index();
        self.note_gap(index);
        match &self.bad {
            None => {
                self.last = Some(Entry::log_id(entry));
                self.next = index + 1;
            }
            Some((first, problem)) => {
                let problem = format!("{problem}, and the log goes on after it at {index} (from {first})");
                self.hopeless = Some(Unreadable::Damaged(problem));
            }
        }
    }

    fn note_gap(&mut self, index: u64) {
        if index != self.next && self.bad.is_none() {
            self.bad = Some((self.next, format!("entry {} is missing", self.next)));
        }
    }
}

fn read(disk: &dyn Store, path: &Path, durable: u64, damage: &Damage) -> Result<Memory, StartError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::InvalidData => damage.told(format!("the log's store cannot be read: {source}")),
        _ => StartError::io(path.to_owned(), source),
    };
    let get = |key| disk.get(key).map_err(failed);
    let place = |what, key| {
        let record = get(key)?;
        record.map(|r| record::decode_log_id(key, &r).map_err(|e| damage.unreadable(what, &e))).transpose()
    };
    let vote = get(record::VOTE)?
        .map(|record| record::decode_vote(&record).map_err(|e| damage.unreadable("the vote", &e)))
        .transpose()?;
    let committed = place("the mark of what is committed", record::COMMITTED)?;
    let purged = place("the mark of what is purged", record::PURGED)?;

    let begin = purged.next_index();
    let mut check = Check { next: begin, last: purged, bad: None, hopeless: None };
    let mut leftovers: Vec<Vec<u8>> = Vec::new();
    let mut unknown = None;
    let mut current: Option<Collected> = None;
    disk.scan(vec![b'e']..vec![b'e' + 1], &mut |key, value| {
        let Some((index, part)) = record::parse_entry_key(key) else {
            unknown = Some(format!("a key of {} bytes is none of ours", key.len()));
            return;
        };
        match &mut current {
            Some(collected) if collected.index == index => collected.parts.push((part, value.to_vec())),
            _ => {
                if let Some(collected) = current.replace(Collected { index, parts: vec![(part, value.to_vec())] })
                    && check.record(begin, &collected)
                {
                    leftovers.extend(collected.keys());
                }
            }
        }
    })
    .map_err(failed)?;
    if let Some(collected) = current
        && check.record(begin, &collected)
    {
        leftovers.extend(collected.keys());
    }
    if let Some(problem) = unknown {
        return Err(damage.told(problem));
    }
    if let Some(unreadable) = check.hopeless {
        return Err(damage.unreadable("the log", &unreadable));
    }
    if check.next < durable {
        let problem = check.bad.map_or_else(|| format!("it ends before entry {}", check.next), |(_, problem)| problem);
        return Err(damage.told(format!("the log was durable up to entry {}, but {problem}", durable - 1)));
    }
    if let Some((first, problem)) = check.bad {
        let keys = disk.keys(record::entry_key(first, 0)..vec![b'e' + 1]).map_err(failed)?;
        tracing::warn!(
            from = first,
            records = keys.len(),
            problem,
            "cut the end of the log, which was being written when the process or the machine stopped; \
             nothing of it was acknowledged"
        );
        leftovers.extend(keys);
    }
    if !leftovers.is_empty() {
        let mut batch = Batch::default();
        leftovers.iter().for_each(|key| batch.remove(key));
        disk.write(batch).map_err(failed)?;
    }
    let committed = committed.filter(|committed| Some(*committed) <= check.last);
    Ok(Memory { vote, committed, purged, last: check.last, written: check.next, ..Memory::default() })
}
