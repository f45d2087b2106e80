//! The file of a snapshot: `ORLOPSN` and a version (8 bytes), the length of the head (4, little-endian), the head
//! (protobuf), the crc32 of everything so far (4, little-endian), and the state, whose length and crc32 the head names.

use super::{Kept, SnapshotFile};
use crate::disk::Disk;
use crate::record::{self, Unreadable};
use crate::types::SnapshotMeta;
use std::io;
use std::path::Path;

const MAGIC: &[u8; 8] = b"ORLOPSN\x01";
/// No head is near this long.
const HEAD_BYTES_MAX: u32 = 1 << 20;
/// So much of a state is read and checked at once.
const CHECK_BYTES: usize = 1 << 20;

/// Why a file is no snapshot.
pub(crate) enum Broken {
    Io(io::Error),
    Unreadable(Unreadable),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                Broken::Unreadable(Unreadable::Damaged(error.to_string()))
            }
            _ => Broken::Io(error),
        }
    }
}

/// What stands before the state in the file.
pub(crate) fn preamble(meta: &SnapshotMeta, payload_bytes: u64, payload_crc: u32) -> io::Result<Vec<u8>> {
    let head = record::encode_snapshot_head(meta, payload_bytes, payload_crc);
    let mut bytes = Vec::with_capacity(head.len() + 16);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&u32::try_from(head.len()).map_err(io::Error::other)?.to_le_bytes());
    bytes.extend_from_slice(&head);
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    Ok(bytes)
}

/// Writes and syncs a file.
pub(super) fn write(disk: &dyn Disk, path: &Path, meta: &SnapshotMeta, payload: &[u8]) -> io::Result<()> {
    let preamble = preamble(meta, payload.len() as u64, crc32fast::hash(payload))?;
    let file = disk.open(path, true)?;
    file.set_length(0)?;
    file.write_at(&preamble, 0)?;
    file.write_at(payload, preamble.len() as u64)?;
    file.sync()
}

/// Reads the head and checks the whole file.
pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<Kept, Broken> {
    let kept = open_head(disk, path)?;
    let mut crc = crc32fast::Hasher::new();
    let mut offset = 0;
    while offset < kept.file.payload_bytes {
        let chunk = kept.file.chunk(offset, CHECK_BYTES)?;
        crc.update(&chunk);
        offset += chunk.len() as u64;
    }
    if crc.finalize() != kept.file.payload_crc {
        return Err(damaged("the checksum of a snapshot's state is wrong"));
    }
    Ok(kept)
}

fn damaged(problem: &str) -> Broken {
    Broken::Unreadable(Unreadable::Damaged(problem.to_owned()))
}

fn open_head(disk: &dyn Disk, path: &Path) -> Result<Kept, Broken> {
    let file = disk.open(path, false)?;
    let mut begin = [0; 12];
    file.read_exact_at(&mut begin, 0)?;
    let [m0, m1, m2, m3, m4, m5, m6, version, l0, l1, l2, l3] = begin;
    if [m0, m1, m2, m3, m4, m5, m6] != MAGIC[..7] {
        return Err(damaged("it does not begin like a snapshot"));
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    if length > HEAD_BYTES_MAX {
        return Err(damaged("its head is too long"));
    }
    let mut head = vec![0; length as usize];
    file.read_exact_at(&mut head, 12)?;
    let mut crc = [0; 4];
    file.read_exact_at(&mut crc, 12 + u64::from(length))?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&begin);
    hasher.update(&head);
    if hasher.finalize() != u32::from_le_bytes(crc) {
        return Err(damaged("the checksum of its head is wrong"));
    }
    if version != MAGIC[7] {
        return Err(Broken::Unreadable(Unreadable::Newer(version)));
    }
    let (meta, payload_bytes, payload_crc) = record::decode_snapshot_head(&head).map_err(Broken::Unreadable)?;
    let payload_at = 16 + u64::from(length);
    if file.length()? != payload_at + payload_bytes {
        return Err(damaged("it is cut off, or longer than it should be"));
    }
    let file = SnapshotFile { path: path.to_owned(), file, payload_at, payload_bytes, payload_crc };
    Ok(Kept { meta, file })
}
