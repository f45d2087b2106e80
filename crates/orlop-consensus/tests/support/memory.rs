//! A disk in memory that loses what was not synced.

use orlop_consensus::seam::{Batch, Blob, Change, Disk, Guard, Space, Store};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Default)]
struct Contents {
    /// Of the disk that was lost when power was: what is open since then fails.
    generation: u64,
    stores: BTreeMap<PathBuf, Pairs>,
    files: BTreeMap<PathBuf, Arc<Mutex<Bytes>>>,
    /// Names that are durable, with the files that they stood for.
    durable: BTreeMap<PathBuf, Arc<Mutex<Bytes>>>,
    locked: bool,
}

#[derive(Debug, Default)]
struct Bytes {
    now: Vec<u8>,
    synced: Vec<u8>,
}

/// A disk; clones are of the same one.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    contents: Arc<Mutex<Contents>>,
}

impl Memory {
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap()
    }

    /// The machine loses power: what was not synced is gone, and whoever had the disk open has it no more.
    pub(crate) fn lose_power(&self) {
        let mut contents = self.contents();
        contents.generation += 1;
        contents.locked = false;
        let durable = contents.durable.clone();
        contents.files = durable
            .into_iter()
            .map(|(path, file)| {
                let synced = file.lock().unwrap().synced.clone();
                (path, Arc::new(Mutex::new(Bytes { now: synced.clone(), synced })))
            })
            .collect();
        contents.durable = contents.files.clone();
    }
}

impl Disk for Memory {
    fn lock(&self, _directory: &Path) -> io::Result<Option<Guard>> {
        let mut contents = self.contents();
        if std::mem::replace(&mut contents.locked, true) {
            return Ok(None);
        }
        Ok(Some(Box::new(Lock { disk: self.clone(), generation: contents.generation })))
    }

    fn store(&self, directory: &Path) -> io::Result<Box<dyn Store>> {
        let generation = self.contents().generation;
        Ok(Box::new(Kept { disk: self.clone(), generation, path: directory.to_owned() }))
    }

    fn make_directory(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let contents = self.contents();
        Ok(contents.files.keys().filter(|path| path.parent() == Some(directory)).cloned().collect())
    }

    fn open(&self, path: &Path, make: bool) -> io::Result<Arc<dyn Blob>> {
        let mut contents = self.contents();
        let generation = contents.generation;
        let bytes = match contents.files.get(path) {
            Some(bytes) => bytes.clone(),
            None if make => contents.files.entry(path.to_owned()).or_default().clone(),
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(File { disk: self.clone(), generation, bytes }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut contents = self.contents();
        let file = contents.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        contents.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.contents().files.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let mut contents = self.contents();
        contents.durable.retain(|file, _| file.parent() != Some(path));
        let there: Vec<_> = contents.files.iter().filter(|(file, _)| file.parent() == Some(path)).collect();
        let there: Vec<_> = there.into_iter().map(|(file, bytes)| (file.clone(), bytes.clone())).collect();
        contents.durable.extend(there);
        Ok(())
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        Ok(Space { free: 1 << 40, total: 1 << 41 })
    }

    fn inline(&self) -> Option<Duration> {
        Some(Duration::from_micros(500))
    }
}

struct Lock {
    disk: Memory,
    generation: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut contents = self.disk.contents();
        if contents.generation == self.generation {
            contents.locked = false;
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the power went")
}

struct Kept {
    disk: Memory,
    generation: u64,
    path: PathBuf,
}

impl Kept {
    fn with<T>(&self, work: impl FnOnce(&mut Pairs) -> T) -> io::Result<T> {
        let mut contents = self.disk.contents();
        if contents.generation != self.generation {
            return Err(gone());
        }
        Ok(work(contents.stores.entry(self.path.clone()).or_default()))
    }
}

impl Store for Kept {
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.with(|pairs| pairs.get(key).cloned())
    }

    fn scan(&self, range: Range<Vec<u8>>, each: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        self.with(|pairs| pairs.range(range).for_each(|(key, value)| each(key, value)))
    }

    fn make_room(&self, _bytes: u64) -> io::Result<()> {
        self.with(|_| ())
    }

    fn write(&self, batch: Batch) -> io::Result<()> {
        self.with(|pairs| {
            for change in batch.into_changes() {
                match change {
                    Change::Put(key, value) => drop(pairs.insert(key, value)),
                    Change::Remove(key) => drop(pairs.remove(&key)),
                }
            }
        })
    }

    fn close(&self) {}
}

struct File {
    disk: Memory,
    generation: u64,
    bytes: Arc<Mutex<Bytes>>,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("File")
    }
}

impl File {
    fn with<T>(&self, work: impl FnOnce(&mut Bytes) -> T) -> io::Result<T> {
        if self.disk.contents().generation != self.generation {
            return Err(gone());
        }
        Ok(work(&mut self.bytes.lock().unwrap()))
    }
}

impl Blob for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|bytes| {
            let rest = bytes.now.get(offset as usize..).unwrap_or_default();
            let length = rest.len().min(buffer.len());
            buffer[..length].copy_from_slice(&rest[..length]);
            length
        })
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.with(|bytes| {
            let end = offset as usize + data.len();
            if bytes.now.len() < end {
                bytes.now.resize(end, 0);
            }
            bytes.now[offset as usize..end].copy_from_slice(data);
        })
    }

    fn length(&self) -> io::Result<u64> {
        self.with(|bytes| bytes.now.len() as u64)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.with(|bytes| bytes.now.resize(length as usize, 0))
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|bytes| bytes.synced = bytes.now.clone())
    }
}
