//! Snapshots that come from another member, in parts. What arrived is kept over a cut connection, and over a restart: the
//! next attempt begins where the last one ended, if it is the same snapshot.

use super::{SnapshotFile, Snapshots, file, name};
use crate::disk::Blob;
use crate::types::SnapshotMeta;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// A snapshot that is arriving.
pub(crate) struct Receiving {
    path: PathBuf,
    file: Arc<dyn Blob>,
    payload_at: u64,
    payload_bytes: u64,
    payload_crc: u32,
    /// So much of the state is here, in order.
    held: u64,
}

impl Snapshots {
    /// Goes on with a snapshot, or begins with it. Parts of others are given up. Blocks.
    pub(crate) fn receive(&self, meta: &SnapshotMeta, bytes: u64, crc: u32) -> io::Result<Receiving> {
        let path = self.directory.join(name(meta)).with_extension("receiving");
        for other in self.disk.list(&self.directory)? {
            if other != path && other.extension().is_some_and(|e| e == "receiving") {
                self.disk.remove(&other)?;
            }
        }
        let preamble = file::preamble(meta, bytes, crc)?;
        let file = self.disk.open(&path, true)?;
        let payload_at = preamble.len() as u64;
        let mut found = vec![0; preamble.len()];
        let same = match file.read_exact_at(&mut found, 0) {
            Ok(()) => found == preamble,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
            Err(error) => return Err(error),
        };
        let held = if same { file.length()?.saturating_sub(payload_at).min(bytes) } else { 0 };
        if !same {
            if self.disk.space(&self.directory)?.free < bytes {
                return Err(io::ErrorKind::StorageFull.into());
            }
            file.set_length(0)?;
            file.write_at(&preamble, 0)?;
        }
        Ok(Receiving { path, file, payload_at, payload_bytes: bytes, payload_crc: crc, held })
    }
}

impl Receiving {
    /// So many bytes of the state are here.
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    /// Takes the part that follows what is here. Blocks.
    pub(crate) fn take(&mut self, offset: u64, data: &[u8], crc: u32) -> io::Result<()> {
        let invalid = |problem: String| Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        if crc32fast::hash(data) != crc {
            return invalid(format!("the part of the snapshot at {offset} was changed on its way"));
        }
        if offset != self.held || data.len() as u64 > self.payload_bytes - self.held {
            return invalid(format!("a part of the snapshot at {offset} does not follow the {} bytes here", self.held));
        }
        self.file.write_at(data, self.payload_at + offset)?;
        self.held += data.len() as u64;
        Ok(())
    }

    /// The whole snapshot, synced. What turns out to be damaged is given up, so that the next attempt begins anew. Blocks.
    pub(crate) fn finish(self) -> io::Result<SnapshotFile> {
        let Self { path, file, payload_at, payload_bytes, payload_crc, held } = self;
        if held != payload_bytes {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{held} of {payload_bytes} bytes of the snapshot came"),
            ));
        }
        let snapshot = SnapshotFile { path, file, payload_at, payload_bytes, payload_crc };
        if let Err(error) = snapshot.payload() {
            snapshot.file.set_length(0)?;
            return Err(error);
        }
        snapshot.file.sync()?;
        Ok(snapshot)
    }
}
