//! A disk that keeps its promises and nothing more: when the power fails, what was not synced may be there or not, and the
//! write that was under way is torn. When only the process dies, all that was written stays.

mod files;
mod store;

use crate::chance::Chance;
use crate::mutation::Mutation;
use files::{File, Files};
use orlop_consensus::seam::{Blob, Disk, Guard, Space, Store};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::{Table, View};

const TOTAL: u64 = 1 << 30;

/// The disk of one host, over all the processes that use it.
pub(crate) struct Drive {
    inner: Mutex<Inner>,
    /// The power has failed: nothing happens on this host any more.
    pub(crate) dead: Arc<AtomicBool>,
    /// How long a write of the log takes.
    latency: Duration,
}

struct Inner {
    chance: Chance,
    files: Files,
    tables: BTreeMap<PathBuf, Table>,
    locked: bool,
    /// The power fails in the middle of the write after so many.
    fails_after: Option<u64>,
    /// Writes fail with an error.
    broken: bool,
    full: bool,
    mutation: Option<Mutation>,
}

/// What becomes of a write.
enum Fate {
    Done,
    /// Some of it is done, and the disk says that it failed.
    Torn(io::Error),
}

impl Inner {
    fn fate(&mut self, dead: &AtomicBool) -> Fate {
        if let Some(left) = &mut self.fails_after {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => {
                    self.fails_after = None;
                    dead.store(true, Ordering::Relaxed);
                    return Fate::Torn(io::Error::other("the power failed"));
                }
            }
        }
        if self.broken { Fate::Torn(io::Error::other("input/output error")) } else { Fate::Done }
    }
}

impl Drive {
    pub(crate) fn new(mut chance: Chance, mutation: Option<Mutation>) -> Arc<Self> {
        let latency = Duration::from_millis(chance.between(0, 8));
        let inner = Inner {
            chance,
            files: Files::default(),
            tables: BTreeMap::new(),
            locked: false,
            fails_after: None,
            broken: false,
            full: false,
            mutation,
        };
        Arc::new(Self { inner: Mutex::new(inner), dead: Arc::default(), latency })
    }

    /// The power fails in the middle of a write, soon.
    pub(crate) fn fail_power_after(&self, writes: u64) {
        self.inner.lock().fails_after = Some(writes);
    }

    pub(crate) fn set_broken(&self, broken: bool) {
        self.inner.lock().broken = broken;
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.inner.lock().broken
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.inner.lock().full = full;
    }

    /// No process uses the disk any more; what it wrote stays.
    pub(crate) fn release(&self) {
        let mut inner = self.inner.lock();
        inner.locked = false;
        inner.fails_after = None;
        self.dead.store(false, Ordering::Relaxed);
    }

    /// The same after the power failed.
    pub(crate) fn lose_unsynced(&self) {
        let inner = &mut *self.inner.lock();
        inner.files.lose_unsynced(&mut inner.chance);
        for table in inner.tables.values_mut() {
            table.lose_unsynced();
        }
    }

    fn alive(&self) -> io::Result<()> {
        match self.dead.load(Ordering::Relaxed) {
            true => Err(io::Error::other("the power failed")),
            false => Ok(()),
        }
    }
}

/// The disk as one process has it.
pub(crate) struct Mounted(pub(crate) Arc<Drive>);

impl Disk for Mounted {
    fn lock(&self, _directory: &Path) -> io::Result<Option<Guard>> {
        let mut inner = self.0.inner.lock();
        Ok((!std::mem::replace(&mut inner.locked, true)).then(|| Box::new(()) as Guard))
    }

    fn store(&self, directory: &Path) -> io::Result<Box<dyn Store>> {
        self.0.alive()?;
        self.0.inner.lock().tables.entry(directory.to_owned()).or_default();
        Ok(Box::new(View { drive: self.0.clone(), table: directory.to_owned() }))
    }

    fn make_directory(&self, _path: &Path) -> io::Result<()> {
        self.0.alive()
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.0.alive()?;
        Ok(self.0.inner.lock().files.list(directory))
    }

    fn open(&self, path: &Path, make: bool) -> io::Result<Arc<dyn Blob>> {
        self.0.alive()?;
        let number = self.0.inner.lock().files.open(path, make).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(File { drive: self.0.clone(), number }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.alive()?;
        self.0.inner.lock().files.rename(from, to).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.alive()?;
        self.0.inner.lock().files.remove(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_directory(&self, _path: &Path) -> io::Result<()> {
        self.0.alive()?;
        self.0.inner.lock().files.sync_names();
        Ok(())
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        self.0.alive()?;
        let free = if self.0.inner.lock().full { 1 << 10 } else { TOTAL / 2 };
        Ok(Space { free, total: TOTAL })
    }

    fn inline(&self) -> Option<Duration> {
        Some(self.0.latency)
    }
}
