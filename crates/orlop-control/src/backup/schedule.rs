//! Backups that a member makes by itself, one after the other, of which it keeps the newest.
//!
//! Each is a file `orlop-TIME-rREVISION.snapshot`, written aside, read back whole and only then given its name, so that a
//! file of that form is a good backup whenever one looks. Their order is that of the revisions: clocks jump.

use crate::control::{Control, now};
use orlop_client::chain;
use orlop_consensus::BackupError;
use orlop_model::Timestamp;
use parking_lot::Mutex;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Between two looks at whether a backup is due.
const LOOK: Duration = Duration::from_secs(10);

/// Where and how often a member saves the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The directory, which is made if it is absent, for its owner only.
    pub directory: PathBuf,
    /// A backup is made when the newest is so old.
    pub every: Duration,
    /// So many are kept, the newest; at least 1.
    pub keep: usize,
}

/// What became of the member's backups.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    held: Mutex<(Option<Timestamp>, Option<String>)>,
}

impl Kept {
    /// When the newest was made, if one is there, and why there is no newer one, if one is due.
    pub(crate) fn stand(&self) -> (Option<Timestamp>, Option<String>) {
        self.held.lock().clone()
    }
}

/// Makes backups until the member stops.
pub(crate) async fn keep(control: Control, schedule: Schedule) {
    let look = LOOK.min(schedule.every);
    loop {
        let due = match newest(&schedule.directory) {
            Ok(Some(made)) => {
                control.backups.held.lock().0 = Some(made.into());
                // One of the future is of a clock that has jumped since.
                made.elapsed().map_or(true, |age| age >= schedule.every)
            }
            Ok(None) | Err(_) => true,
        };
        if due {
            let made = tokio::select! {
                made = make(&control, &schedule) => made,
                () = control.stop.cancelled() => return,
            };
            let mut held = control.backups.held.lock();
            match made {
                Ok(path) => {
                    tracing::info!(file = %path.display(), "the state was saved");
                    *held = (Some(now()), None);
                }
                Err(error) => {
                    let problem = format!("{}: {}", schedule.directory.display(), chain(&error));
                    if held.1.as_ref() != Some(&problem) {
                        tracing::error!(problem, "the state was not saved; trying again");
                    }
                    held.1 = Some(problem);
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(look) => {}
            () = control.stop.cancelled() => return,
        }
    }
}

/// Makes one backup, and removes those that are too many.
async fn make(control: &Control, schedule: &Schedule) -> Result<PathBuf, BackupError> {
    let directory = &schedule.directory;
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let aside = directory.join(".being-made");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    control.consensus.save(file).await?;
    let (directory, keep) = (directory.clone(), schedule.keep);
    let finished = tokio::task::spawn_blocking(move || {
        File::open(&aside)?.sync_all()?;
        let revision = orlop_consensus::inspect(&aside)?.index;
        let path = directory.join(name(jiff::Timestamp::now(), revision));
        std::fs::rename(&aside, &path)?;
        File::open(&directory)?.sync_all()?;
        let mut there = all(&directory)?;
        let surplus = there.len().saturating_sub(keep);
        for (_, path) in there.drain(..surplus) {
            std::fs::remove_file(path)?;
        }
        Ok(path)
    });
    finished.await.map_err(io::Error::other)?
}

fn name(at: jiff::Timestamp, revision: u64) -> String {
    format!("orlop-{}-r{revision}.snapshot", at.strftime("%Y%m%dT%H%M%SZ"))
}

fn revision_of(name: &str) -> Option<u64> {
    let (time, revision) = name.strip_prefix("orlop-")?.strip_suffix(".snapshot")?.split_once("-r")?;
    let is_time = time.len() == "20261121T090000Z".len() && time.ends_with('Z');
    is_time.then(|| revision.parse().ok())?
}

/// The backups in a directory, the oldest first.
fn all(directory: &Path) -> io::Result<Vec<((u64, String), PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if let Some((name, revision)) = entry.file_name().to_str().and_then(|name| Some((name, revision_of(name)?))) {
            found.push(((revision, name.to_owned()), entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// When the newest backup in a directory was made.
fn newest(directory: &Path) -> io::Result<Option<SystemTime>> {
    match all(directory)?.last() {
        Some((_, path)) => Ok(Some(path.metadata()?.modified()?)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_that_of_the_highest_revision_and_other_files_are_let_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |text: &str| text.parse::<jiff::Timestamp>().expect("a time");
        let names = [
            name(at("2026-11-21T09:00:00Z"), 9),
            name(at("2026-11-20T09:00:00Z"), 10),
            "orlop-20261121T090000Z-r99.snapshot.new".into(),
            "orlop-mine-r100.snapshot".into(),
            "now.snapshot".into(),
        ];
        assert_eq!(names[0], "orlop-20261121T090000Z-r9.snapshot");
        for name in &names {
            std::fs::write(folder.path().join(name), "").expect("written");
        }
        let found: Vec<String> = all(folder.path()).expect("a folder").into_iter().map(|((_, name), _)| name).collect();
        assert_eq!(found, names[..2], "the clock was set back in between");
    }
}
