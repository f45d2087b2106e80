//! The log of a node in the background. It is bounded whoever writes to it, a panic as well as the log: when it has
//! grown, it becomes the earlier one, and the process's outputs go to a new file.

use std::fs::{File, OpenOptions, metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A log of this size is followed by a new one; one earlier log is kept.
const BYTES_MAX: u64 = 16 << 20;
/// How often its size is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Begins a new log, and keeps the one before.
pub(super) fn begin(log: &Path) -> io::Result<File> {
    match std::fs::rename(log, earlier(log)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(log)
}

/// Keeps the log of this process bounded for as long as it is polled, if its output goes there at all.
pub(super) async fn keep_bounded(log: PathBuf) {
    while is_output(&log) {
        tokio::time::sleep(LOOK_EVERY).await;
        let has_grown = metadata(&log).is_ok_and(|file| file.len() >= BYTES_MAX);
        if has_grown && let Err(error) = turn(&log) {
            tracing::warn!(%error, log = %log.display(), "the log could not be begun anew");
        }
    }
    std::future::pending().await
}

fn earlier(log: &Path) -> PathBuf {
    log.with_extension("log.1")
}

/// Does standard output go to this file?
fn is_output(log: &Path) -> bool {
    let same = |a: &std::fs::Metadata, b: &std::fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    matches!((metadata(log), metadata("/proc/self/fd/1")), (Ok(log), Ok(output)) if same(&log, &output))
}

fn turn(log: &Path) -> io::Result<()> {
    let file = begin(log)?;
    nix::unistd::dup2_stdout(&file)?;
    nix::unistd::dup2_stderr(&file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_new_log_keeps_one_earlier_log_for_its_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("dev.log");
        for text in ["one", "two", "three"] {
            begin(&log).and_then(|mut file| file.write_all(text.as_bytes())).expect("written");
        }
        let read = |path: &Path| std::fs::read_to_string(path).expect("it is there");
        assert_eq!((read(&log).as_str(), read(&earlier(&log)).as_str()), ("three", "two"));
        assert_eq!(metadata(&log).expect("it is there").mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 2);
        assert!(!is_output(&log));
    }
}
