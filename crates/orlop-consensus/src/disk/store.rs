//! The ordered store under the log: the only place that names sled.
//!
//! Room is made before a write, not found missing in the middle of it: sled does not survive a write that fails, and may
//! wait for it for ever. So the file always has blocks of its own beyond its end ([`Store::make_room`]).
//!
//! What [`Store::write`] returned from survives the loss of power: it is in the [`journal`](super::journal), synced. sled takes
//! it afterwards, and is flushed when the journal is full. sled's own flush does not promise durability: it writes, but
//! neither flushes the device nor its metadata, so it is followed by `fdatasync` on a handle of our own; and it wakes every
//! thread that sled has, which is too much for each commit. sled is known to panic on some damage; that is caught while opening
//! and told as an error.

use super::journal::{self, Journal};
use super::{Batch, Change, Disk, Pair, Real, Store};
use crate::room;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use parking_lot::{Mutex, RwLock};
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How much sled may keep in memory. It is divided by 256, and a part must hold the page that the log's end is in: else sled
/// writes the page out and reads it again with every commit.
const CACHE_BYTES: u64 = 32 << 20;
/// A store that this process just closed is held by sled's own threads for a moment.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// A write of so many bytes makes the file grow by at most `GROWTH` times as many and `SLACK_BYTES`: pages are written
/// again when something in them changes, and the file grows by segments of 512 KiB.
const GROWTH: u64 = 3;
const SLACK_BYTES: u64 = 1 << 20;
/// Blocks are asked for so many bytes at a time.
const AHEAD_BYTES: u64 = 4 << 20;

/// A store in a directory.
pub(crate) struct Sled {
    path: PathBuf,
    store: RwLock<Option<sled::Db>>,
    file: File,
    ahead: Mutex<Ahead>,
    late: Mutex<Late>,
}

/// What sled is behind the journal by.
#[derive(Default)]
struct Late {
    /// None where there was no room for one; then sled is flushed with every write.
    journal: Option<Journal>,
    /// In the journal, and not yet in sled.
    batches: Vec<Batch>,
}

/// The key under which sled holds the generation of the journal whose frames it may lack. No key of ours begins like it.
const GENERATION: &[u8] = b"\x00journal";

/// How far the file has blocks.
#[derive(Debug, Default)]
struct Ahead {
    /// The file's length when that was last looked at. A file that was cut since has lost what it had beyond.
    length: u64,
    until: u64,
}

impl Sled {
    /// Opens or makes the store in a directory.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let config = sled::Config::new().path(path).flush_every_ms(None).cache_capacity(CACHE_BYTES);
        let began = Instant::now();
        let mut released = false;
        let store = loop {
            remove_half_written(path)?;
            match guarded(|| config.open()) {
                // After a kill sled writes down what it found. On a full disk it gets the blocks that were kept for the log.
                Err(e) if room::is_full(&e) && !released => {
                    let Ok(file) = OpenOptions::new().write(true).open(path.join("db")) else { return Err(e) };
                    file.set_len(file.metadata()?.len())?;
                    released = true;
                }
                Err(e) if e.to_string().contains("could not acquire lock") && began.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                other => break other?,
            }
        };
        let file = OpenOptions::new().read(true).write(true).open(path.join("db"))?;
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                File::open(entry.path())?.sync_all()?;
            }
        }
        File::open(path)?.sync_all()?;
        let this = Self {
            path: path.to_owned(),
            store: RwLock::new(Some(store)),
            file,
            ahead: Mutex::default(),
            late: Mutex::default(),
        };
        this.open_journal()?;
        Ok(this)
    }

    /// Gives sled what is in the journal and not in it.
    fn open_journal(&self) -> io::Result<()> {
        let path = self.path.join("journal");
        let found = self.with(|store| store.get(GENERATION))?;
        let generation = found.and_then(|bytes| Some(u64::from_le_bytes(bytes.as_ref().try_into().ok()?)));
        if generation.is_some() && !path.exists() {
            let problem = "its journal is missing, and with it what was written last";
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        let opened = Real.open(&path, true).and_then(|file| Journal::open(file, generation.unwrap_or(0)));
        let (journal, batches) = match opened {
            // One that was never used is not missed.
            Err(error) if room::is_full(&error) && generation.is_none() => {
                Real.remove(&path).ok();
                return Ok(());
            }
            other => other?,
        };
        File::open(&self.path)?.sync_all()?;
        let mut late = self.late.lock();
        // From the first use on sled knows of the journal, so that it can be missed.
        let due = !batches.is_empty() || generation.is_none();
        *late = Late { journal: Some(journal), batches };
        if due {
            self.make_room(journal::BYTES)?;
            self.checkpoint(&mut late)?;
        }
        Ok(())
    }

    /// Gives sled what it lacks, durably, and begins the journal anew.
    fn checkpoint(&self, late: &mut Late) -> io::Result<()> {
        self.catch_up(late)?;
        let next = late.journal.as_ref().map(|journal| journal.generation() + 1);
        self.with(|store| {
            if let Some(next) = next {
                store.insert(GENERATION, &next.to_le_bytes())?;
            }
            store.flush()
        })?;
        self.file.sync_data()?;
        if let Some(journal) = &mut late.journal {
            journal.begin_anew();
        }
        Ok(())
    }

    /// Gives sled what it lacks, change by change: were it only a part, the next start would do all of it again. sled's own
    /// batches would be whole, but sled writes its buffer twice for each.
    fn catch_up(&self, late: &mut Late) -> io::Result<()> {
        for change in late.batches.drain(..).flat_map(Batch::into_changes) {
            self.with(|store| match change {
                Change::Put(key, value) => store.insert(key, value),
                Change::Remove(key) => store.remove(key),
            })?;
        }
        Ok(())
    }

    /// A write without the journal, which is empty.
    fn write_through(&self, batch: Batch) -> io::Result<()> {
        let mut changes = sled::Batch::default();
        for change in batch.into_changes() {
            match change {
                Change::Put(key, value) => changes.insert(key, value),
                Change::Remove(key) => changes.remove(key),
            }
        }
        self.with(|store| {
            store.apply_batch(changes)?;
            store.flush()
        })?;
        self.file.sync_data()
    }

    /// Gives the file blocks from its end on, without making it longer.
    fn allocate(&self, length: u64, more: u64) -> io::Result<()> {
        let offset = |bytes| i64::try_from(bytes).map_err(io::Error::other);
        loop {
            match fallocate(&self.file, FallocateFlags::FALLOC_FL_KEEP_SIZE, offset(length)?, offset(more)?) {
                Err(Errno::EINTR) => {}
                // A file system that cannot promise blocks can still be asked what is free.
                Err(Errno::EOPNOTSUPP) if Real.space(&self.path)?.free < more => return Err(Errno::ENOSPC.into()),
                Err(Errno::EOPNOTSUPP) => return Ok(()),
                other => return Ok(other?),
            }
        }
    }

    fn with<T>(&self, work: impl FnOnce(&sled::Db) -> sled::Result<T>) -> io::Result<T> {
        let store = self.store.read();
        match &*store {
            Some(store) => guarded(|| work(store)),
            None => Err(io::Error::other("the log is closed")),
        }
    }
}

impl Store for Sled {
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.settle()?;
        self.with(|store| store.get(key)).map(|value| value.map(|v| v.to_vec()))
    }

    fn floor(&self, key: &[u8]) -> io::Result<Option<Pair>> {
        self.settle()?;
        let found = self.with(|store| store.range(..=key).next_back().transpose())?;
        Ok(found.map(|(key, value)| (key.to_vec(), value.to_vec())))
    }

    fn scan(&self, range: Range<Vec<u8>>, each: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        self.settle()?;
        self.with(|store| {
            for pair in store.range(range) {
                let (key, value) = pair?;
                each(&key, &value);
            }
            Ok(())
        })
    }

    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let need = bytes.saturating_mul(GROWTH).saturating_add(SLACK_BYTES);
        let mut ahead = self.ahead.lock();
        if length < ahead.length {
            ahead.until = 0;
        }
        ahead.length = length;
        if length.saturating_add(need) <= ahead.until {
            return Ok(());
        }
        let generous = need.saturating_add(AHEAD_BYTES);
        let taken = match self.allocate(length, generous) {
            Err(error) if room::is_full(&error) => self.allocate(length, need).map(|()| need),
            other => other.map(|()| generous),
        }?;
        ahead.until = length + taken;
        Ok(())
    }

    fn write(&self, batch: Batch) -> io::Result<()> {
        let mut late = self.late.lock();
        let generation = late.journal.as_ref().map_or(0, Journal::generation);
        let mut frame = journal::encode(&batch, generation);
        if late.journal.as_ref().is_some_and(|journal| !journal.fits(&frame) && !journal.is_empty()) {
            self.checkpoint(&mut late)?;
            frame = journal::encode(&batch, generation + 1);
        }
        match &mut late.journal {
            Some(journal) if journal.fits(&frame) => {
                journal.append(&frame)?;
                late.batches.push(batch);
                Ok(())
            }
            _ => self.write_through(batch),
        }
    }

    fn settle(&self) -> io::Result<()> {
        self.catch_up(&mut self.late.lock())
    }

    fn close(&self) {
        let mut late = self.late.lock();
        if late.journal.as_ref().is_some_and(|journal| !journal.is_empty())
            && let Err(error) = self.checkpoint(&mut late)
        {
            tracing::debug!(%error, "the journal stays as it is; the next start reads it");
        }
        let store = self.store.write().take();
        drop(store);
    }
}

fn is_debugging_text(error: &io::Error) -> bool {
    error.raw_os_error().is_none() && error.kind() != io::ErrorKind::Other
}

/// Removes what sled began to write and could not finish; it never does itself.
fn remove_half_written(path: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn guarded<T>(work: impl FnOnce() -> sled::Result<T>) -> io::Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        // sled passes the system's error on as debugging text; its kind has words of its own.
        Ok(Err(sled::Error::Io(error))) if is_debugging_text(&error) => Err(error.kind().into()),
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
