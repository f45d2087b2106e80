//! Snapshots are files: written aside, synced, renamed, the directory synced. The last two are kept, and the log back to
//! the older of them, so that either is enough.

pub(crate) mod file;
pub(crate) mod receive;

use crate::disk::{Blob, Disk};
use crate::record::Unreadable;
use crate::types::{LogId, Snapshot, SnapshotMeta};
use crate::{InvalidSnapshot, StartError, StateMachine};
use file::Broken;
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const KEPT: usize = 2;

/// An open snapshot; it can be read also after the file was replaced by newer ones.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotFile {
    path: PathBuf,
    file: Arc<dyn Blob>,
    payload_at: u64,
    payload_bytes: u64,
    payload_crc: u32,
}

impl SnapshotFile {
    /// The state in it, checked.
    pub(crate) fn payload(&self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.payload_bytes).map_err(|_| io::Error::other("too large for this machine"))?;
        let mut payload = vec![0; length];
        self.file.read_exact_at(&mut payload, self.payload_at)?;
        if crc32fast::hash(&payload) != self.payload_crc {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the checksum of a snapshot's state is wrong"));
        }
        Ok(payload)
    }

    /// The length of the state, and its checksum.
    pub(crate) fn measure(&self) -> (u64, u32) {
        (self.payload_bytes, self.payload_crc)
    }

    /// Up to so many bytes of the state from an offset on.
    pub(crate) fn chunk(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.payload_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut chunk = vec![0; left.min(bytes)];
        self.file.read_exact_at(&mut chunk, self.payload_at + offset)?;
        Ok(chunk)
    }
}

/// The snapshots of a member.
pub(crate) struct Snapshots {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// Newest first.
    kept: Mutex<Vec<Kept>>,
    keep_from: Arc<AtomicU64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) meta: SnapshotMeta,
    pub(crate) file: SnapshotFile,
}

impl Snapshots {
    /// Finds the snapshots in a directory, made if absent. `keep_from` is kept at the first index that the log needs for
    /// the older one.
    pub(crate) fn open(disk: Arc<dyn Disk>, directory: &Path, keep_from: Arc<AtomicU64>) -> io::Result<Self> {
        disk.make_directory(directory)?;
        for path in disk.list(directory)? {
            if path.extension().is_some_and(|e| e == "writing") {
                disk.remove(&path)?;
            }
        }
        Ok(Self { disk, directory: directory.to_owned(), kept: Mutex::new(Vec::new()), keep_from })
    }

    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        self.disk.clone()
    }

    /// Restores the machine from the newest snapshot that is whole. `purged` is the last entry that the log has no more:
    /// a snapshot from before it is of no use. A broken file is put aside as `….damaged`.
    pub(crate) fn restore(
        &self,
        machine: &dyn StateMachine,
        purged: Option<LogId>,
    ) -> Result<Option<SnapshotMeta>, StartError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StartError::io(path, source)
        };
        let mut broken = Vec::new();
        let mut kept = Vec::new();
        for path in self.files().map_err(failed(&self.directory))? {
            match file::open(&*self.disk, &path) {
                Ok(found) => kept.push(found),
                Err(Broken::Unreadable(Unreadable::Damaged(problem))) => broken.push((path, problem)),
                Err(Broken::Unreadable(newer @ Unreadable::Newer(_))) => return Err(too_new(path, newer.to_string())),
                Err(Broken::Io(source)) => return Err(StartError::io(path, source)),
            }
        }
        kept.sort_by_key(|kept| std::cmp::Reverse(kept.meta.last_log_id));
        if let Some(newest) = kept.first()
            && newest.meta.last_log_id < purged
        {
            let problem = format!("the log begins after entry {}, and no snapshot reaches that far", index(purged));
            return Err(unreachable_state(&self.directory, problem, &broken));
        }
        if kept.is_empty() && purged.is_some() {
            let problem = format!("the log begins after entry {}, and there is no whole snapshot", index(purged));
            return Err(unreachable_state(&self.directory, problem, &broken));
        }
        for (path, problem) in broken {
            let aside = path.with_extension("snapshot.damaged");
            tracing::error!(path = %path.display(), problem, "a snapshot is damaged; put aside, going on from the one before it");
            self.disk.rename(&path, &aside).map_err(failed(&path))?;
        }
        let restored = match kept.first() {
            None => None,
            Some(newest) => {
                let payload = newest.file.payload().map_err(failed(&newest.file.path))?;
                let InvalidSnapshot(problem) = match machine.restore(index(newest.meta.last_log_id), &payload) {
                    Ok(()) => return self.adopt(kept),
                    Err(invalid) => invalid,
                };
                return Err(too_new(newest.file.path.clone(), problem));
            }
        };
        self.keep_from.store(0, Ordering::Release);
        Ok(restored)
    }

    fn adopt(&self, kept: Vec<Kept>) -> Result<Option<SnapshotMeta>, StartError> {
        let newest = kept.first().map(|newest| newest.meta.clone());
        self.publish(kept);
        Ok(newest)
    }

    /// The newest snapshot.
    pub(crate) fn newest(&self) -> Option<Snapshot> {
        let kept = self.kept.lock();
        kept.first().map(|newest| Snapshot { meta: newest.meta.clone(), snapshot: newest.file.clone() })
    }

    /// Writes a snapshot, durably, and removes the oldest beyond those that are kept. Blocks.
    pub(crate) fn write(&self, meta: &SnapshotMeta, payload: &[u8]) -> io::Result<Snapshot> {
        // Asked before it is begun: a disk that is filled for nothing fails others too.
        if self.disk.space(&self.directory)?.free < payload.len() as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let aside = self.directory.join(name(meta)).with_extension("writing");
        let written = file::write(&*self.disk, &aside, meta, payload).and_then(|()| self.keep(meta, &aside));
        written.inspect_err(|_| {
            self.disk.remove(&aside).ok();
        })
    }

    /// Keeps a whole file that was written and synced aside, and removes the oldest beyond those that are kept. Blocks.
    pub(crate) fn keep(&self, meta: &SnapshotMeta, aside: &Path) -> io::Result<Snapshot> {
        let path = self.directory.join(name(meta));
        self.disk.rename(aside, &path)?;
        self.disk.sync_directory(&self.directory)?;
        let found = file::open(&*self.disk, &path).map_err(|broken| match broken {
            Broken::Io(error) => error,
            Broken::Unreadable(unreadable) => io::Error::new(io::ErrorKind::InvalidData, unreadable.to_string()),
        })?;
        let snapshot = Snapshot { meta: found.meta.clone(), snapshot: found.file.clone() };
        let mut kept: Vec<Kept> = self.kept.lock().clone();
        kept.retain(|k| k.file.path != path);
        kept.push(found);
        kept.sort_by_key(|kept| std::cmp::Reverse(kept.meta.last_log_id));
        self.publish(kept);
        Ok(snapshot)
    }

    /// Keeps a snapshot that was received. Blocks.
    pub(crate) fn adopt_received(&self, meta: &SnapshotMeta, received: &SnapshotFile) -> io::Result<Snapshot> {
        self.keep(meta, &received.path)
    }

    /// Takes these as the snapshots there are, newest first, and removes files beyond those that are kept.
    fn publish(&self, mut kept: Vec<Kept>) {
        let superfluous = kept.split_off(kept.len().min(KEPT));
        // With one snapshot only, the whole log stays: were that snapshot damaged, nothing else would be left.
        let keep_from =
            kept.get(KEPT - 1).and_then(|oldest| oldest.meta.last_log_id).map_or(0, |last| last.index() + 1);
        *self.kept.lock() = kept;
        self.keep_from.store(keep_from, Ordering::Release);
        for old in superfluous {
            if let Err(error) = self.disk.remove(&old.file.path) {
                tracing::warn!(path = %old.file.path.display(), %error, "an old snapshot could not be removed");
            }
        }
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = self.disk.list(&self.directory)?;
        files.retain(|path| path.extension().is_some_and(|e| e == "snapshot"));
        files.sort();
        Ok(files)
    }
}

fn index(log_id: Option<LogId>) -> u64 {
    log_id.map_or(0, |log_id| log_id.index())
}

pub(crate) fn name(meta: &SnapshotMeta) -> String {
    let (term, leader) = meta.last_log_id.map_or((0, 0), |last| {
        let leader = *last.committed_leader_id();
        (leader.term, leader.node_id)
    });
    format!("{:020}-{term}-{leader}.snapshot", index(meta.last_log_id))
}

fn too_new(path: PathBuf, problem: String) -> StartError {
    StartError::Damaged { path, problem, remedy: "start the version of Orlop that wrote it, or a later one".into() }
}

fn unreachable_state(directory: &Path, problem: String, broken: &[(PathBuf, String)]) -> StartError {
    let mut problem = problem;
    for (path, why) in broken {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        problem = format!("{problem}; {name} is damaged: {why}");
    }
    StartError::Damaged {
        path: directory.to_owned(),
        problem,
        remedy: "restore the directory from a backup, or begin with an empty one".into(),
    }
}
