//! How far the log was durable, kept beside it: what tells a torn tail from lost entries.
//!
//! A crash in the middle of a write leaves a damaged or missing tail of entries that nobody was told of; cutting it is
//! right. Damage done later looks the same in the log, but cutting would lose what was acknowledged. So after every sync,
//! and before anything is acknowledged, the index that is now durable is written here. The file is not synced: it
//! survives the death of the process exactly, and after the loss of power it is at most behind, never ahead, because it is
//! written after the entries are durable; only when entries are given up is it synced, before they are.

use crate::disk::{Blob, Disk};
use std::io;
use std::path::Path;
use std::sync::Arc;

const VERSION: u8 = 1;
const BYTES: usize = 13;

pub(crate) struct Reached {
    file: Arc<dyn Blob>,
}

impl Reached {
    /// Opens or makes the file. Also gives the first index that was not durable, 0 for none; a file that cannot be
    /// understood says nothing, so it counts as 0.
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> io::Result<(Self, u64)> {
        let file = disk.open(path, true)?;
        let mut bytes = [0; BYTES];
        let next = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => decode(&bytes),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(e) => return Err(e),
        };
        if next.is_none() && file.length()? > 0 {
            tracing::warn!(path = %path.display(), "the mark of how far the log was durable is damaged; going on without");
        }
        Ok((Self { file }, next.unwrap_or(0)))
    }

    /// Notes that every entry before `next` is durable.
    pub(crate) fn note(&self, next: u64) -> io::Result<()> {
        self.file.write_at(&encode(next), 0)
    }

    /// Notes, durably, that entries from `next` on are given up.
    pub(crate) fn lower(&self, next: u64) -> io::Result<()> {
        self.note(next)?;
        self.file.sync()
    }
}

fn encode(next: u64) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[0] = VERSION;
    bytes[1..9].copy_from_slice(&next.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..9]);
    bytes[9..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; BYTES]) -> Option<u64> {
    let (rest, crc) = bytes.split_last_chunk::<4>()?;
    let (version, next) = rest.split_first()?;
    let next: [u8; 8] = next.try_into().ok()?;
    (*version == VERSION && crc32fast::hash(rest) == u32::from_le_bytes(*crc)).then(|| u64::from_le_bytes(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_has_these_bytes_and_any_other_are_refused() {
        let bytes = encode(0x0102_0304);
        assert_eq!(bytes, [1, 4, 3, 2, 1, 0, 0, 0, 0, 49, 156, 120, 52]);
        assert_eq!(decode(&bytes), Some(0x0102_0304));
        for bit in 0..BYTES * 8 {
            let mut torn = bytes;
            torn[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&torn), None, "bit {bit}");
        }
    }
}
