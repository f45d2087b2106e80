//! Files and their names. Names are changed in order, as a journal does it; contents in any.

use super::{Drive, Fate};
use crate::chance::Chance;
use crate::mutation::Mutation;
use orlop_consensus::seam::Blob;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// So much is written as a whole or not at all.
const SECTOR: usize = 512;

#[derive(Default)]
pub(super) struct Files {
    contents: BTreeMap<u64, Content>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// The names after each change that is not durable.
    pending_names: Vec<BTreeMap<PathBuf, u64>>,
    made: u64,
}

#[derive(Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Edit>,
}

#[derive(Clone)]
enum Edit {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Edit::Length(length) => bytes.resize(*length, 0),
            Edit::Write(offset, data) => {
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                if let Some(place) = bytes.get_mut(*offset..end) {
                    place.copy_from_slice(data);
                }
            }
        }
    }

    /// What there is of it when it was interrupted.
    fn torn(&self, chance: &mut Chance) -> Option<Edit> {
        match self {
            Edit::Write(offset, data) if data.len() > SECTOR => {
                let sectors = chance.below(data.len().div_ceil(SECTOR));
                (sectors > 0).then(|| Edit::Write(*offset, data[..sectors * SECTOR].to_vec()))
            }
            whole => chance.per_mille(500).then(|| whole.clone()),
        }
    }
}

impl Files {
    pub(super) fn list(&self, directory: &Path) -> Vec<PathBuf> {
        self.names.keys().filter(|path| path.parent() == Some(directory)).cloned().collect()
    }

    pub(super) fn open(&mut self, path: &Path, make: bool) -> Option<u64> {
        if let Some(number) = self.names.get(path) {
            return Some(*number);
        }
        if !make {
            return None;
        }
        self.made += 1;
        self.contents.insert(self.made, Content::default());
        self.names.insert(path.to_owned(), self.made);
        self.pending_names.push(self.names.clone());
        Some(self.made)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Option<()> {
        let number = self.names.remove(from)?;
        self.names.insert(to.to_owned(), number);
        self.pending_names.push(self.names.clone());
        Some(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> Option<()> {
        self.names.remove(path)?;
        self.pending_names.push(self.names.clone());
        Some(())
    }

    pub(super) fn sync_names(&mut self) {
        self.durable_names = self.names.clone();
        self.pending_names.clear();
    }

    /// Of the changes of names, the first so many are there; of the contents, any, and the last of them torn.
    pub(super) fn lose_unsynced(&mut self, chance: &mut Chance) {
        let kept = chance.below(self.pending_names.len() + 1);
        if let Some(names) = kept.checked_sub(1).and_then(|last| self.pending_names.get(last)) {
            self.durable_names = names.clone();
        }
        self.pending_names.clear();
        self.names = self.durable_names.clone();
        for content in self.contents.values_mut() {
            let mut bytes = std::mem::take(&mut content.durable);
            for edit in std::mem::take(&mut content.pending) {
                match chance.below(3) {
                    0 => edit.apply(&mut bytes),
                    1 => edit.torn(chance).iter().for_each(|edit| edit.apply(&mut bytes)),
                    _ => {}
                }
            }
            content.durable.clone_from(&bytes);
            content.now = bytes;
        }
        let named: Vec<u64> = self.names.values().copied().collect();
        self.contents.retain(|number, _| named.contains(number));
    }

    fn content(&mut self, number: u64) -> io::Result<&mut Content> {
        self.contents.get_mut(&number).ok_or_else(|| io::Error::other("the file was lost"))
    }
}

/// A file as a process has it open.
pub(super) struct File {
    pub(super) drive: Arc<Drive>,
    pub(super) number: u64,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "file {}", self.number)
    }
}

impl File {
    fn edit(&self, edit: Edit) -> io::Result<()> {
        self.drive.alive()?;
        let inner = &mut *self.drive.inner.lock();
        let more = match &edit {
            Edit::Write(_, data) => data.len() > SECTOR,
            Edit::Length(_) => false,
        };
        if inner.full && more {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let (edit, result) = match inner.fate(&self.drive.dead) {
            Fate::Done => (Some(edit), Ok(())),
            Fate::Torn(error) => (edit.torn(&mut inner.chance), Err(error)),
        };
        let content = inner.files.content(self.number)?;
        if let Some(edit) = edit {
            edit.apply(&mut content.now);
            content.pending.push(edit);
        }
        result
    }
}

impl Blob for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.drive.alive()?;
        let inner = &mut *self.drive.inner.lock();
        let bytes = &inner.files.content(self.number)?.now;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let found = &bytes[from..bytes.len().min(from.saturating_add(buffer.len()))];
        buffer[..found.len()].copy_from_slice(found);
        Ok(found.len())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.edit(Edit::Write(usize::try_from(offset).map_err(io::Error::other)?, bytes.to_vec()))
    }

    fn length(&self) -> io::Result<u64> {
        self.drive.alive()?;
        Ok(self.drive.inner.lock().files.content(self.number)?.now.len() as u64)
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.edit(Edit::Length(usize::try_from(bytes).map_err(io::Error::other)?))
    }

    fn sync(&self) -> io::Result<()> {
        self.drive.alive()?;
        let inner = &mut *self.drive.inner.lock();
        if let Fate::Torn(error) = inner.fate(&self.drive.dead) {
            return Err(error);
        }
        let skipped = inner.mutation == Some(Mutation::SkipFileSync);
        let content = inner.files.content(self.number)?;
        if skipped {
            return Ok(());
        }
        content.durable.clone_from(&content.now);
        content.pending.clear();
        Ok(())
    }
}
