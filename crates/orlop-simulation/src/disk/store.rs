//! The ordered store under the log.

use super::{Drive, Fate};
use crate::chance::Chance;
use crate::mutation::Mutation;
use orlop_consensus::seam::{Batch, Change, Store};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// The vote's key; see the documentation of what lies on disk.
const VOTE: &[u8] = b"mvote";

#[derive(Default)]
pub(super) struct Table {
    pairs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What was there before the writes that were said to be durable and are not.
    undo: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Table {
    fn make(&mut self, change: Change, synced: bool) {
        let (key, before) = match change {
            Change::Put(key, value) => (key.clone(), self.pairs.insert(key, value)),
            Change::Remove(key) => {
                let before = self.pairs.remove(&key);
                (key, before)
            }
        };
        if !synced {
            self.undo.push((key, before));
        }
    }

    pub(super) fn lose_unsynced(&mut self) {
        for (key, before) in self.undo.drain(..).rev() {
            match before {
                Some(value) => drop(self.pairs.insert(key, value)),
                None => drop(self.pairs.remove(&key)),
            }
        }
    }
}

/// What of a write is there when it was interrupted. The store promises all or nothing, and what removes is taken at its
/// word; of what only adds there may be the first so many changes, and of the entry after them a part, because the log is
/// to bear that much damage.
fn torn(mut changes: Vec<Change>, chance: &mut Chance) -> Vec<Change> {
    if changes.iter().any(|change| matches!(change, Change::Remove(_))) {
        return if chance.per_mille(500) { changes } else { Vec::new() };
    }
    let kept = chance.below(changes.len() + 1);
    let next = changes.get(kept).cloned();
    changes.truncate(kept);
    if let Some(Change::Put(key, mut value)) = next.filter(|_| chance.per_mille(300))
        && key.first() == Some(&b'e')
    {
        value.truncate(chance.below(value.len()));
        changes.push(Change::Put(key, value));
    }
    changes
}

/// The store as a process has it open.
pub(super) struct View {
    pub(super) drive: Arc<Drive>,
    pub(super) table: PathBuf,
}

impl Store for View {
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.drive.alive()?;
        let inner = self.drive.inner.lock();
        Ok(inner.tables.get(&self.table).and_then(|table| table.pairs.get(key).cloned()))
    }

    fn scan(&self, range: Range<Vec<u8>>, each: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        self.drive.alive()?;
        let inner = self.drive.inner.lock();
        let pairs = inner.tables.get(&self.table).into_iter().flat_map(|table| table.pairs.range(range.clone()));
        pairs.for_each(|(key, value)| each(key, value));
        Ok(())
    }

    fn make_room(&self, _bytes: u64) -> io::Result<()> {
        self.drive.alive()
    }

    fn write(&self, batch: Batch) -> io::Result<()> {
        self.drive.alive()?;
        let inner = &mut *self.drive.inner.lock();
        let mut changes = batch.into_changes();
        if inner.mutation == Some(Mutation::DropVote) {
            changes.retain(|change| !matches!(change, Change::Put(key, _) if key == VOTE));
        }
        let result = match inner.fate(&self.drive.dead) {
            Fate::Done => Ok(()),
            Fate::Torn(error) => {
                changes = torn(changes, &mut inner.chance);
                Err(error)
            }
        };
        let synced = inner.mutation != Some(Mutation::SkipSync) || inner.chance.per_mille(200);
        let Some(table) = inner.tables.get_mut(&self.table) else { return Err(io::Error::other("no such store")) };
        if synced {
            table.undo.clear();
        }
        changes.into_iter().for_each(|change| table.make(change, synced));
        result
    }

    fn close(&self) {}
}
