//! The ordered store under the log: the only place that names sled.
//!
//! What [`Disk::write`] returned from survives the loss of power. sled's own flush does not promise that: it writes, but
//! neither flushes the device nor its metadata, so every write is followed by `fdatasync` on a handle of our own. sled is
//! known to panic on some damage; that is caught while opening and told as an error.

use parking_lot::RwLock;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How much sled may keep in memory: the log is read from its beginning at a start, else hardly ever.
const CACHE_BYTES: u64 = 4 << 20;
/// A store that this process just closed is held by sled's own threads for a moment.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// A key and its value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// Changes that take effect together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    changes: sled::Batch,
    empty: bool,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self { changes: sled::Batch::default(), empty: true }
    }

    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.empty = false;
        self.changes.insert(key, value);
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        self.empty = false;
        self.changes.remove(key);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.empty
    }
}

pub(crate) struct Disk {
    path: PathBuf,
    store: RwLock<Option<sled::Db>>,
    file: File,
}

impl Disk {
    /// Opens or makes the store in a directory.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let config = sled::Config::new().path(path).flush_every_ms(None).cache_capacity(CACHE_BYTES);
        let began = Instant::now();
        let store = loop {
            match guarded(|| config.open()) {
                Err(e) if e.to_string().contains("could not acquire lock") && began.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                other => break other?,
            }
        };
        let file = File::open(path.join("db"))?;
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                File::open(entry.path())?.sync_all()?;
            }
        }
        sync_directory(path)?;
        Ok(Self { path: path.to_owned(), store: RwLock::new(Some(store)), file })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.with(|store| store.get(key)).map(|value| value.map(|v| v.to_vec()))
    }

    /// Everything in a range of keys, in order.
    pub(crate) fn range(&self, range: Range<Vec<u8>>) -> io::Result<Vec<Pair>> {
        self.with(|store| store.range(range).map(|pair| pair.map(|(k, v)| (k.to_vec(), v.to_vec()))).collect())
    }

    /// The keys in a range, in order.
    pub(crate) fn keys(&self, range: Range<Vec<u8>>) -> io::Result<Vec<Vec<u8>>> {
        self.with(|store| store.range(range).keys().map(|key| key.map(|k| k.to_vec())).collect())
    }

    /// Calls `each` with every pair in a range, in order, without holding them all.
    pub(crate) fn scan(&self, range: Range<Vec<u8>>, mut each: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        self.with(|store| {
            for pair in store.range(range) {
                let (key, value) = pair?;
                each(&key, &value);
            }
            Ok(())
        })
    }

    /// Makes the changes, all or none, and returns when they are durable.
    pub(crate) fn write(&self, batch: Batch) -> io::Result<()> {
        self.with(|store| {
            store.apply_batch(batch.changes)?;
            store.flush()
        })?;
        self.file.sync_data()
    }

    /// Closes the store; everything fails from now on.
    pub(crate) fn close(&self) {
        let store = self.store.write().take();
        drop(store);
    }

    fn with<T>(&self, work: impl FnOnce(&sled::Db) -> sled::Result<T>) -> io::Result<T> {
        let store = self.store.read();
        match &*store {
            Some(store) => guarded(|| work(store)),
            None => Err(io::Error::other("the log is closed")),
        }
    }
}

fn guarded<T>(work: impl FnOnce() -> sled::Result<T>) -> io::Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(error))) => Err(error),
        Ok(Err(error)) => Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            let line: String = text.lines().next().unwrap_or_default().chars().take(200).collect();
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("the store cannot make sense of itself: {line}")))
        }
    }
}

/// Makes what was created, renamed or removed in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
