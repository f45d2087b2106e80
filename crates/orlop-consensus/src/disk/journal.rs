//! The journal before the store: a file of fixed length to which each batch is appended and synced. That is one write and one
//! sync for a commit; the store takes the same changes afterwards and is synced only when the journal is full.
//!
//! A frame is
//!
//! ```text
//! length of the changes (4, little-endian) · crc32 of all that follows (4) · generation (8) · changes
//! ```
//!
//! and a change is 1, the length of the key (4), the key, the length of the value (4) and the value, or 2, the length of the
//! key (4) and the key. The frames of a generation begin at the file's beginning. When the store has them all, it also holds the
//! next generation's number, and the frames that are still in the file are none any more.

use super::{Batch, Blob, Change};
use std::io;
use std::sync::Arc;

/// The length of the file. It bounds what a start has to do again, and what the store must have room for meanwhile.
pub(super) const BYTES: u64 = 1 << 20;
const HEAD_BYTES: usize = 16;

pub(super) struct Journal {
    file: Arc<dyn Blob>,
    generation: u64,
    end: u64,
}

impl Journal {
    /// Takes a file, which is made as long as it stays. Also gives the batches of the generation that are in it.
    pub(super) fn open(file: Arc<dyn Blob>, generation: u64) -> io::Result<(Self, Vec<Batch>)> {
        let length = file.length()?;
        if length < BYTES {
            // Written, not only reserved: what has blocks with something in them is synced without touching metadata.
            file.write_at(&vec![0; usize::try_from(BYTES - length).map_err(io::Error::other)?], length)?;
            file.sync()?;
        }
        let mut bytes = vec![0; usize::try_from(BYTES).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        let (mut batches, mut rest) = (Vec::new(), bytes.as_slice());
        while let Some((batch, after)) = decode(rest, generation) {
            batches.push(batch);
            rest = after;
        }
        let end = (bytes.len() - rest.len()) as u64;
        Ok((Self { file, generation, end }, batches))
    }

    /// Whether a batch, encoded, still fits; one that never will must not wait for it.
    pub(super) fn fits(&self, frame: &[u8]) -> bool {
        self.end + frame.len() as u64 <= BYTES
    }

    /// Appends a batch, durably.
    pub(super) fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        self.file.write_at(frame, self.end)?;
        self.file.sync_data()?;
        self.end += frame.len() as u64;
        Ok(())
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn is_empty(&self) -> bool {
        self.end == 0
    }

    /// The store has everything, and the next generation's number.
    pub(super) fn begin_anew(&mut self) {
        self.generation += 1;
        self.end = 0;
    }
}

/// A batch as a frame of a generation.
pub(super) fn encode(batch: &Batch, generation: u64) -> Vec<u8> {
    let mut frame = vec![0; 8];
    frame.extend_from_slice(&generation.to_le_bytes());
    let mut part = |bytes: &[u8], tag: Option<u8>| {
        frame.extend(tag);
        frame.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        frame.extend_from_slice(bytes);
    };
    for change in &batch.changes {
        match change {
            Change::Put(key, value) => {
                part(key, Some(1));
                part(value, None);
            }
            Change::Remove(key) => part(key, Some(2)),
        }
    }
    let length = u32::try_from(frame.len() - HEAD_BYTES).unwrap_or(u32::MAX);
    let crc = crc32fast::hash(&frame[8..]);
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    frame
}

/// The batch of the frame that the bytes begin with, if it is a whole one of the generation, and the bytes after it.
fn decode(bytes: &[u8], generation: u64) -> Option<(Batch, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?.checked_add(8)?;
    let (covered, after) = rest.split_at_checked(length)?;
    if crc32fast::hash(covered) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (found, mut changes) = covered.split_first_chunk::<8>()?;
    if u64::from_le_bytes(*found) != generation {
        return None;
    }
    let mut batch = Batch::default();
    while let Some((tag, rest)) = changes.split_first() {
        changes = rest;
        let key = part(&mut changes)?;
        match tag {
            1 => batch.put(key.to_vec(), part(&mut changes)?.to_vec()),
            2 => batch.remove(key),
            _ => return None,
        }
    }
    Some((batch, after))
}

fn part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (part, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    *bytes = rest;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(number: u8) -> Batch {
        let mut batch = Batch::default();
        batch.put(vec![number, 1], vec![9; usize::from(number)]);
        batch.remove(&[number, 2]);
        batch
    }

    fn changes(batches: Vec<Batch>) -> Vec<Vec<Change>> {
        batches.into_iter().map(Batch::into_changes).collect()
    }

    fn file() -> (tempfile::TempDir, Arc<dyn Blob>) {
        use crate::disk::{Disk, Real};
        let directory = tempfile::tempdir().unwrap();
        let file = Real.open(&directory.path().join("journal"), true).unwrap();
        (directory, file)
    }

    #[test]
    fn a_frame_has_these_bytes() {
        let hex: String = encode(&batch(3), 0x0102).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "15000000d73125250201000000000000010200000003010300000009090902020000000302");
    }

    #[test]
    fn what_was_appended_is_found_up_to_the_first_frame_that_is_not_whole() {
        let (_directory, file) = file();
        let (mut journal, found) = Journal::open(file.clone(), 5).unwrap();
        assert!(found.is_empty() && journal.is_empty());
        let mut ends = vec![0];
        for number in 1..4 {
            journal.append(&encode(&batch(number), 5)).unwrap();
            ends.push(journal.end);
        }
        let all = |count: u8| changes((1..=count).map(batch).collect());
        assert_eq!(changes(Journal::open(file.clone(), 5).unwrap().1), all(3));
        assert!(Journal::open(file.clone(), 6).unwrap().1.is_empty(), "frames of another generation");
        for place in 0..ends[3] {
            let mut byte = [0];
            file.read_exact_at(&mut byte, place).unwrap();
            file.write_at(&[byte[0] ^ 0x10], place).unwrap();
            let whole = ends.iter().filter(|end| **end <= place).count() - 1;
            assert_eq!(changes(Journal::open(file.clone(), 5).unwrap().1), all(whole as u8), "byte {place}");
            file.write_at(&byte, place).unwrap();
        }
    }

    #[test]
    fn a_new_generation_begins_at_the_beginning_and_forgets_the_old_one() {
        let (_directory, file) = file();
        let (mut journal, _) = Journal::open(file.clone(), 0).unwrap();
        journal.append(&encode(&batch(1), 0)).unwrap();
        journal.append(&encode(&batch(2), 0)).unwrap();
        journal.begin_anew();
        journal.append(&encode(&batch(1), journal.generation())).unwrap();
        assert_eq!(changes(Journal::open(file, 1).unwrap().1), changes(vec![batch(1)]));
        let full = vec![0; usize::try_from(BYTES).unwrap()];
        assert!(!journal.fits(&full) && journal.fits(&full[..1000]));
    }
}
