//! The bound on what logs of the past may take.

use super::numbers;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Directories below `root` to which logs may lie deep.
const DEPTH_MAX: usize = 8;

/// What a [`sweep`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Log directories removed.
    pub directories: usize,
    /// Bytes given back.
    pub bytes: u64,
    /// Bytes still kept.
    pub kept_bytes: u64,
}

struct Log {
    directory: PathBuf,
    newest: SystemTime,
    bytes: u64,
    live: bool,
}

/// Removes log directories under `root` that `is_live` does not claim and whose newest file is older than `age_max`,
/// then the oldest of those not live until at most `bytes_max` are kept in all. Blocks.
pub fn sweep(root: &Path, is_live: &dyn Fn(&Path) -> bool, age_max: Duration, bytes_max: u64) -> io::Result<Swept> {
    let mut logs = Vec::new();
    find(root, 0, is_live, &mut logs)?;
    logs.sort_by_key(|log| log.newest);
    let mut swept = Swept { kept_bytes: logs.iter().map(|log| log.bytes).sum(), ..Swept::default() };
    let now = SystemTime::now();
    for log in logs.iter().filter(|log| !log.live) {
        let old = now.duration_since(log.newest).is_ok_and(|age| age > age_max);
        if !old && swept.kept_bytes <= bytes_max {
            continue;
        }
        match std::fs::remove_dir_all(&log.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        swept.directories += 1;
        swept.bytes += log.bytes;
        swept.kept_bytes -= log.bytes;
        // Parents that are empty now; only those can be removed this way.
        for parent in log.directory.ancestors().skip(1).take_while(|parent| *parent != root) {
            if std::fs::remove_dir(parent).is_err() {
                break;
            }
        }
    }
    Ok(swept)
}

fn find(directory: &Path, depth: usize, is_live: &dyn Fn(&Path) -> bool, logs: &mut Vec<Log>) -> io::Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if depth < DEPTH_MAX && entry.file_type()?.is_dir() {
            find(&entry.path(), depth + 1, is_live, logs)?;
        }
    }
    let (mut newest, mut bytes) = (None, 0);
    for number in numbers(directory)? {
        if let Ok(metadata) = std::fs::metadata(super::file(directory, number)) {
            bytes += metadata.len();
            newest = newest.max(metadata.modified().ok());
        }
    }
    if let Some(newest) = newest {
        let live = is_live(directory);
        logs.push(Log { directory: directory.to_owned(), newest, bytes, live });
    }
    Ok(())
}
