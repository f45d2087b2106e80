//! The state as a file outside the cluster: saved by a running member, looked into, and made a new cluster of.
//!
//! A backup has the form of a member's own snapshots (`snapshot/file.rs`): whatever reads one reads the other, and every byte
//! is covered by a checksum.

use crate::disk::{Disk, Real};
use crate::member::Member;
use crate::snapshot::file::{self, Broken};
use crate::snapshot::{Kept, Snapshots};
use crate::types::{Membership, SnapshotMeta, StoredMembership, log_id};
use crate::{Options, StartError};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::impls::BasicNode;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// So much is copied at once.
const CHUNK_BYTES: usize = 1 << 20;
/// A snapshot that is not there by then waits for room on the disk.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a backup is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// The index of the last command in it: the revision of the state.
    pub index: u64,
    /// The term of that command.
    pub term: u64,
    /// The members of the cluster at that time, with their addresses.
    pub members: BTreeMap<u64, String>,
    /// The length of the state in bytes.
    pub state_bytes: u64,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The state could not be written down here.
    #[error("no snapshot was made within {waited:?}; is the disk of this member full?")]
    NoSnapshot {
        /// For how long it was waited.
        waited: Duration,
    },
    /// The backup could not be written or read.
    #[error("the backup could not be written or read")]
    Io(#[from] io::Error),
    /// A file that is no whole backup.
    #[error("{} is no whole backup: {problem}; use another one", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A backup is restored into an empty directory only.
    #[error("{} is not empty: a cluster lives or has lived there; give a directory that does not exist yet", directory.display())]
    NotEmpty {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory could not be used.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl Backup {
    fn of(kept: &Kept) -> Self {
        let last = kept.meta.last_log_id;
        Self {
            index: last.map_or(0, |last| last.index()),
            term: last.map_or(0, |last| last.committed_leader_id().term),
            members: kept.meta.last_membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect(),
            state_bytes: kept.file.measure().0,
        }
    }
}

impl Member {
    /// Writes the state of now to `out`.
    pub(crate) async fn save(&self, mut out: impl Write + Send + 'static) -> Result<Backup, BackupError> {
        let gone = || BackupError::Io(io::Error::other("the member is shutting down"));
        let mut metrics = self.raft().metrics();
        let wanted = metrics.borrow_and_update().last_applied;
        if metrics.borrow_watched().snapshot < wanted {
            self.raft().trigger().snapshot().await.map_err(|_| gone())?;
        }
        let made = async {
            while metrics.borrow_and_update().snapshot < wanted {
                metrics.changed().await.map_err(|_| gone())?;
            }
            Ok::<_, BackupError>(())
        };
        tokio::time::timeout(PATIENCE, made).await.unwrap_or(Err(BackupError::NoSnapshot { waited: PATIENCE }))?;
        let snapshot = self.snapshots().newest().ok_or(BackupError::NoSnapshot { waited: PATIENCE })?;
        let copy = move || {
            let (bytes, crc) = snapshot.snapshot.measure();
            out.write_all(&file::preamble(&snapshot.meta, bytes, crc)?)?;
            let mut offset = 0;
            while offset < bytes {
                let chunk = snapshot.snapshot.chunk(offset, CHUNK_BYTES)?;
                out.write_all(&chunk)?;
                offset += chunk.len() as u64;
            }
            out.flush()?;
            Ok(Backup::of(&Kept { meta: snapshot.meta, file: snapshot.snapshot }))
        };
        tokio::task::spawn_blocking(copy).await.map_err(io::Error::other)?
    }
}

/// Reads all of a backup, and says what it is of. Blocks.
pub fn inspect(path: &Path) -> Result<Backup, BackupError> {
    open(path).map(|kept| Backup::of(&kept))
}

fn open(path: &Path) -> Result<Kept, BackupError> {
    file::open(&Real, path).map_err(|broken| match broken {
        Broken::Io(error) => BackupError::Io(error),
        Broken::Unreadable(unreadable) => {
            BackupError::Damaged { path: path.to_owned(), problem: unreadable.to_string() }
        }
    })
}

/// By so much the log of a restored cluster goes on above the backup: what the cluster of before has called by the indexes in
/// between must not be taken for something of this one.
const LEAP: u64 = 1_000_000_000;

/// Makes a new cluster of a backup, with one member, which is reached at `address`: afterwards the member can be started on
/// the directory of the options, and leads. The members of before are no members of it; they must not be started any more on
/// what they have, or there are two clusters. Blocks.
pub fn restore(options: &Options, path: &Path, address: &str) -> Result<Backup, BackupError> {
    let backup = open(path)?;
    let directory = &options.directory;
    let used = match std::fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(StartError::io(directory.clone(), error).into()),
    };
    if used {
        return Err(BackupError::NotEmpty { directory: directory.clone() });
    }
    let payload = backup.file.payload()?;
    let node = BasicNode { addr: address.to_owned() };
    let membership = Membership::new(vec![BTreeSet::from([options.member])], BTreeMap::from([(options.member, node)]));
    let membership = membership.map_err(|e| StartError::Protocol(e.to_string()))?;
    let last = backup.meta.last_log_id.map(|last| {
        let leader = *last.committed_leader_id();
        log_id(leader.term, leader.node_id, last.index() + LEAP)
    });
    let meta = SnapshotMeta { last_log_id: last, last_membership: StoredMembership::new(last, membership) };
    let disk: Arc<dyn Disk> = Arc::new(Real);
    let place = directory.join("snapshots");
    let snapshots = Snapshots::open(disk, &place, Arc::new(AtomicU64::new(0)))?;
    snapshots.write(&meta, &payload)?;
    for made in [directory.as_path(), directory.parent().unwrap_or(directory)] {
        Real.sync_directory(made)?;
    }
    Ok(Backup::of(&backup))
}
