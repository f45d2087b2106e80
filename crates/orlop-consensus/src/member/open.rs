//! What lies on disk, opened.

use crate::disk::{Disk, Guard};
use crate::log::LogStore;
use crate::room;
use crate::snapshot::Snapshots;
use crate::types::SnapshotMeta;
use crate::{Options, StartError, StateMachine};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub(super) struct Opened {
    pub(super) lock: Guard,
    pub(super) log: LogStore,
    pub(super) snapshots: Arc<Snapshots>,
    pub(super) restored: Option<SnapshotMeta>,
}

/// Opens what lies on disk and restores the machine. Blocks.
pub(super) fn open(options: &Options, machine: &dyn StateMachine, disk: &Arc<dyn Disk>) -> Result<Opened, StartError> {
    let directory = &options.directory;
    disk.make_directory(directory).map_err(io_error(directory))?;
    let lock = lock(&**disk, directory)?;
    let keep_from = Arc::new(AtomicU64::new(0));
    let log = LogStore::open(disk, &directory.join("log"), keep_from.clone())?;
    let path = directory.join("snapshots");
    let snapshots = Snapshots::open(disk.clone(), &path, keep_from).map_err(io_error(&path))?;
    let restored = snapshots.restore(machine, log.purged())?;
    Ok(Opened { lock, log, snapshots: Arc::new(snapshots), restored })
}

impl StartError {
    /// What a path could not be used for, in its own words where the disk is full.
    pub(crate) fn io(path: PathBuf, source: io::Error) -> Self {
        if room::is_full(&source) { Self::Full { directory: path } } else { Self::Io { path, source } }
    }
}

pub(crate) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_owned();
    move |source| StartError::io(path, source)
}

/// Takes the directory for this member alone.
pub(crate) fn lock(disk: &dyn Disk, directory: &Path) -> Result<Guard, StartError> {
    let lock = disk.lock(directory).map_err(io_error(&directory.join("lock")))?;
    lock.ok_or_else(|| StartError::InUse { directory: directory.to_owned() })
}
