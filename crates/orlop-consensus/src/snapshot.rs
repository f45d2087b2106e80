//! Snapshots are files: written aside, synced, renamed, the directory synced. The last two are kept, and the log back to
//! the older of them, so that either is enough.
//!
//! A file is `ORLOPSN` and a version (8 bytes), the length of the head (4, little-endian), the head (protobuf), the crc32
//! of everything so far (4, little-endian), and the state, whose length and crc32 the head names.

use crate::disk::sync_directory;
use crate::record::{self, Unreadable};
use crate::room;
use crate::types::{LogId, Snapshot, SnapshotMeta};
use crate::{InvalidSnapshot, StartError, StateMachine};
use parking_lot::Mutex;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const MAGIC: &[u8; 8] = b"ORLOPSN\x01";
const KEPT: usize = 2;
/// No head is near this long.
const HEAD_BYTES_MAX: u32 = 1 << 20;

/// An open snapshot; it can be read also after the file was replaced by newer ones.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotFile {
    file: Arc<File>,
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
}

/// The snapshots of a member.
pub(crate) struct Snapshots {
    directory: PathBuf,
    /// Newest first.
    kept: Mutex<Vec<Kept>>,
    keep_from: Arc<AtomicU64>,
}

#[derive(Debug, Clone)]
struct Kept {
    path: PathBuf,
    meta: SnapshotMeta,
    file: SnapshotFile,
}

/// Why a file is no snapshot.
enum Broken {
    Io(io::Error),
    Unreadable(Unreadable),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                Broken::Unreadable(Unreadable::Damaged(error.to_string()))
            }
            _ => Broken::Io(error),
        }
    }
}

impl Snapshots {
    /// Finds the snapshots in a directory, made if absent. `keep_from` is kept at the first index that the log needs for
    /// the older one.
    pub(crate) fn open(directory: &Path, keep_from: Arc<AtomicU64>) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "writing") {
                std::fs::remove_file(&path)?;
            }
        }
        let snapshots = Self { directory: directory.to_owned(), kept: Mutex::new(Vec::new()), keep_from };
        Ok(snapshots)
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
            match open_file(&path) {
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
            std::fs::rename(&path, &aside).map_err(failed(&path))?;
        }
        let restored = match kept.first() {
            None => None,
            Some(newest) => {
                let payload = newest.file.payload().map_err(failed(&newest.path))?;
                let InvalidSnapshot(problem) = match machine.restore(index(newest.meta.last_log_id), &payload) {
                    Ok(()) => return self.adopt(kept),
                    Err(invalid) => invalid,
                };
                return Err(too_new(newest.path.clone(), problem));
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
        if room::free(&self.directory)? < payload.len() as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let path = self.directory.join(name(meta));
        let aside = path.with_extension("writing");
        let written = write_file(&aside, meta, payload).and_then(|()| {
            std::fs::rename(&aside, &path)?;
            sync_directory(&self.directory)
        });
        if let Err(error) = written {
            std::fs::remove_file(&aside).ok();
            return Err(error);
        }
        let found = open_file(&path).map_err(|broken| match broken {
            Broken::Io(error) => error,
            Broken::Unreadable(unreadable) => io::Error::new(io::ErrorKind::InvalidData, unreadable.to_string()),
        })?;
        let snapshot = Snapshot { meta: found.meta.clone(), snapshot: found.file.clone() };
        let mut kept: Vec<Kept> = self.kept.lock().clone();
        kept.retain(|k| k.path != path);
        kept.push(found);
        kept.sort_by_key(|kept| std::cmp::Reverse(kept.meta.last_log_id));
        self.publish(kept);
        Ok(snapshot)
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
            if let Err(error) = std::fs::remove_file(&old.path) {
                tracing::warn!(path = %old.path.display(), %error, "an old snapshot could not be removed");
            }
        }
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "snapshot") {
                files.push(path);
            }
        }
        Ok(files)
    }
}

fn index(log_id: Option<LogId>) -> u64 {
    log_id.map_or(0, |log_id| log_id.index())
}

fn name(meta: &SnapshotMeta) -> String {
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

fn write_file(path: &Path, meta: &SnapshotMeta, payload: &[u8]) -> io::Result<()> {
    let head = record::encode_snapshot_head(meta, payload);
    let mut bytes = Vec::with_capacity(head.len() + 16);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&u32::try_from(head.len()).map_err(io::Error::other)?.to_le_bytes());
    bytes.extend_from_slice(&head);
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    let mut file = File::create(path)?;
    file.write_all(&bytes)?;
    file.write_all(payload)?;
    file.sync_all()
}

/// Reads the head and checks the whole file.
fn open_file(path: &Path) -> Result<Kept, Broken> {
    let damaged = |problem: &str| Broken::Unreadable(Unreadable::Damaged(problem.to_owned()));
    let mut file = File::open(path)?;
    let mut begin = [0; 12];
    file.read_exact(&mut begin)?;
    let [m0, m1, m2, m3, m4, m5, m6, version, l0, l1, l2, l3] = begin;
    if [m0, m1, m2, m3, m4, m5, m6] != MAGIC[..7] {
        return Err(damaged("it does not begin like a snapshot"));
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    if length > HEAD_BYTES_MAX {
        return Err(damaged("its head is too long"));
    }
    let mut head = vec![0; length as usize];
    file.read_exact(&mut head)?;
    let mut crc = [0; 4];
    file.read_exact(&mut crc)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&begin);
    hasher.update(&head);
    if hasher.finalize() != u32::from_le_bytes(crc) {
        return Err(damaged("the checksum of its head is wrong"));
    }
    if version != MAGIC[7] {
        return Err(Broken::Unreadable(Unreadable::Newer(version)));
    }
    let (meta, payload_bytes, payload_crc) = record::decode_snapshot_head(&head).map_err(Broken::Unreadable)?;
    let payload_at = 16 + u64::from(length);
    if file.metadata()?.len() != payload_at + payload_bytes {
        return Err(damaged("it is cut off, or longer than it should be"));
    }
    let file = SnapshotFile { file: Arc::new(file), payload_at, payload_bytes, payload_crc };
    file.payload()?;
    Ok(Kept { path: path.to_owned(), meta, file })
}
