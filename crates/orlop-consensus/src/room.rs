//! Room on the disk: what is free, and what is kept in reserve so that a write that was taken can be finished.
//!
//! New commands are refused while the reserve is touched. What is under way, votes and snapshots live on the reserve.

use crate::disk::Disk;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// The reserve, unless the file system is so small that an eighth of it is less.
const RESERVE_BYTES: u64 = 16 << 20;
const RESERVE_PART: u64 = 8;

/// A disk without room for more commands. The text says where, what is missing, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Full {
    /// The directory of the log.
    pub directory: PathBuf,
    /// Bytes that are free for it now.
    pub free: u64,
    /// Bytes that must be free for commands to be taken.
    pub wanted: u64,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.directory.display();
        let (free, wanted) = (Size(self.free), Size(self.wanted));
        match self.wanted.checked_sub(self.free).filter(|missing| *missing > 0) {
            Some(missing) => write!(
                f,
                "no writes are taken: the disk of {directory} is full, {free} are free and {wanted} are needed; free \
                 {} or more there, and writes are taken again by themselves",
                Size(missing)
            ),
            None => write!(
                f,
                "no writes are taken: the disk of {directory} took no more although {free} are free; is there a quota? \
                 Writes are taken again by themselves when there is room"
            ),
        }
    }
}

/// Bytes for people.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded up: who frees what is named must have freed enough.
        let tenths = |unit: u64| self.0.saturating_mul(10).div_ceil(unit);
        let (tenths, unit) = match self.0 {
            0 => return f.write_str("0 B"),
            1..=0xF_FFFF => (tenths(1 << 10), "KiB"),
            0x10_0000..=0x3FFF_FFFF => (tenths(1 << 20), "MiB"),
            _ => (tenths(1 << 30), "GiB"),
        };
        write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

/// The file system that a directory is on.
#[derive(Clone)]
pub(crate) struct Room {
    directory: PathBuf,
    disk: Arc<dyn Disk>,
}

impl Room {
    pub(crate) fn of(directory: impl Into<PathBuf>, disk: Arc<dyn Disk>) -> Self {
        Self { directory: directory.into(), disk }
    }

    /// Why a command of so many bytes is not taken, if it is not. A file system that does not answer lacks nothing: the
    /// write will tell.
    pub(crate) fn lacks_for(&self, bytes: u64) -> Option<Full> {
        let (free, reserve) = self.measure().ok()?;
        let wanted = reserve.saturating_add(bytes);
        (free < wanted).then(|| self.full(free, wanted))
    }

    /// The disk as it is, for a write that did not fit.
    pub(crate) fn lacks(&self) -> Full {
        let (free, wanted) = self.measure().unwrap_or_default();
        self.full(free, wanted)
    }

    fn full(&self, free: u64, wanted: u64) -> Full {
        Full { directory: self.directory.clone(), free, wanted }
    }

    /// What is free for everybody, and what of it is kept in reserve, in bytes.
    fn measure(&self) -> io::Result<(u64, u64)> {
        let space = self.disk.space(&self.directory)?;
        Ok((space.free, RESERVE_BYTES.min(space.total / RESERVE_PART)))
    }
}

/// Is it for want of room that something failed?
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Real;

    #[test]
    fn the_sentence_names_the_directory_what_is_missing_and_what_to_do() {
        let full = |free, wanted| Full { directory: "/d/raft".into(), free, wanted }.to_string();
        assert_eq!(
            full(3 << 20, 16 << 20),
            "no writes are taken: the disk of /d/raft is full, 3.0 MiB are free and 16.0 MiB are needed; free 13.0 MiB or \
             more there, and writes are taken again by themselves"
        );
        assert!(full(0, 1).contains("0 B are free and 0.1 KiB are needed"), "{}", full(0, 1));
        assert!(full(5 << 30, 1).contains("although 5.0 GiB are free; is there a quota?"));
    }

    #[test]
    fn a_small_file_system_has_a_small_reserve() {
        let directory = tempfile::tempdir().unwrap();
        let room = Room::of(directory.path(), Arc::new(Real));
        let (_, reserve) = room.measure().unwrap();
        assert!(reserve > 0 && reserve <= RESERVE_BYTES, "{reserve}");
        assert_eq!(room.lacks_for(u64::MAX).map(|full| full.wanted), Some(u64::MAX));
        assert_eq!(Room::of("/is/not/there", Arc::new(Real)).lacks_for(0), None);
    }
}
