//! What a member's data lies on: files, and the ordered store under the log.
//!
//! It is a seam: [`Real`] is the file system and sled, and a simulation puts a disk in its place that loses what was not
//! synced.

mod files;
mod journal;
mod store;

pub(crate) use files::Real;
#[cfg(test)]
pub(crate) use store::Sled;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// One change of a [`Batch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The key has this value now.
    Put(Vec<u8>, Vec<u8>),
    /// The key is gone.
    Remove(Vec<u8>),
}

/// Changes that take effect together.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    changes: Vec<Change>,
}

impl Batch {
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.push(Change::Put(key, value));
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        self.changes.push(Change::Remove(key.to_vec()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changes, in the order in which they are made.
    pub fn into_changes(self) -> Vec<Change> {
        self.changes
    }
}

/// An ordered store of records. All methods block.
pub trait Store: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>>;

    /// Calls `each` with every pair in a range, in order, without holding them all.
    fn scan(&self, range: Range<Vec<u8>>, each: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()>;

    /// Everything in a range of keys, in order.
    fn range(&self, range: Range<Vec<u8>>) -> io::Result<Vec<Pair>> {
        let mut found = Vec::new();
        self.scan(range, &mut |key, value| found.push((key.to_vec(), value.to_vec())))?;
        Ok(found)
    }

    /// The pair with the greatest key up to and with this one.
    fn floor(&self, key: &[u8]) -> io::Result<Option<Pair>> {
        let mut found = None;
        let end = [key, &[0]].concat();
        self.scan(Vec::new()..end, &mut |key, value| found = Some((key.to_vec(), value.to_vec())))?;
        Ok(found)
    }

    /// The keys in a range, in order.
    fn keys(&self, range: Range<Vec<u8>>) -> io::Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        self.scan(range, &mut |key, _| found.push(key.to_vec()))?;
        Ok(found)
    }

    /// Sees to it that a write of so many bytes does not lack room; fails as [`io::ErrorKind::StorageFull`] when it would,
    /// and nothing has changed then. A disk with [`Disk::inline`] never fails so.
    fn make_room(&self, bytes: u64) -> io::Result<()>;

    /// Makes the changes, all or none, and returns when they are durable.
    fn write(&self, batch: Batch) -> io::Result<()>;

    /// Does what a write has left for later, now that nobody waits.
    fn settle(&self) -> io::Result<()> {
        Ok(())
    }

    /// Closes the store; everything fails from now on.
    fn close(&self);
}

/// An open file. All methods block.
pub trait Blob: std::fmt::Debug + Send + Sync {
    /// Reads up to a buffer full at a place; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of it at a place.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// The length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Cuts the file, or makes it longer with zeroes.
    fn set_length(&self, bytes: u64) -> io::Result<()>;

    /// Makes contents and length durable.
    fn sync(&self) -> io::Result<()>;

    /// Makes contents durable, and the length if contents are lost without it.
    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }
}

impl dyn Blob {
    /// Fills the buffer, or fails with [`io::ErrorKind::UnexpectedEof`].
    pub(crate) fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => {
                    buffer = &mut buffer[read..];
                    offset += read as u64;
                }
            }
        }
        Ok(())
    }
}

/// How much of a file system is there, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// Free for everybody.
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// What keeps a directory this member's alone while it lives.
pub type Guard = Box<dyn Send + Sync>;

/// A disk with directories, files, and stores. All methods block.
pub trait Disk: Send + Sync + 'static {
    /// Takes the directory for this member; `None` when another one has it.
    fn lock(&self, directory: &Path) -> io::Result<Option<Guard>>;

    /// Opens or makes the store in a directory.
    fn store(&self, directory: &Path) -> io::Result<Box<dyn Store>>;

    /// Makes a directory and those above it that are missing.
    fn make_directory(&self, path: &Path) -> io::Result<()>;

    /// The files and directories in a directory, in any order.
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>>;

    /// Opens a file, and makes it, empty, when it is absent and `make` says so.
    fn open(&self, path: &Path, make: bool) -> io::Result<Arc<dyn Blob>>;

    /// Gives a file another name, in place of what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes what was created, renamed or removed in a directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// What is free where a path is.
    fn space(&self, path: &Path) -> io::Result<Space>;

    /// Set for a simulated disk: nothing blocks, so everything happens on the tasks of the runtime and no thread is begun;
    /// each write of the log takes this long on the runtime's clock.
    fn inline(&self) -> Option<Duration> {
        None
    }
}

/// Does what blocks where that disturbs nobody.
pub(crate) async fn off_the_runtime<T: Send + 'static>(
    disk: &Arc<dyn Disk>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    match disk.inline() {
        Some(_) => Ok(work()),
        None => tokio::task::spawn_blocking(work).await.map_err(io::Error::other),
    }
}
