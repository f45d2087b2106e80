//! Backups that a member makes by itself, one after the other, of which it keeps the newest.
//!
//! Each is a file `orlop-CLUSTER-TIME-rREVISION.snapshot`, written aside, read back whole and only then given its name, so
//! that a file of that form is a good backup whenever one looks. Only files of the member's own cluster are ever removed.

use crate::control::{Control, now};
use orlop_client::chain;
use orlop_consensus::BackupError;
use orlop_model::{ClusterId, Timestamp};
use parking_lot::Mutex;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// When a backup that could not be made is tried again, if none is due earlier.
const AGAIN: Duration = Duration::from_secs(60);
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(600);

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
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    newest: Option<Timestamp>,
    problem: Option<String>,
    /// When the next one is to be there at the latest.
    late: Option<Instant>,
}

impl Kept {
    /// When the newest was made, if one is there, and why there is no newer one, if one is due.
    pub(crate) fn stand(&self) -> (Option<Timestamp>, Option<String>) {
        let held = self.held.lock();
        let hangs = held.late.is_some_and(|late| late < Instant::now());
        let problem =
            held.problem.clone().or_else(|| hangs.then(|| "the next one is late; does the disk hang?".into()));
        (held.newest, problem)
    }
}

/// Makes backups until the member stops.
pub(crate) async fn keep(control: Control, schedule: Schedule) {
    let directory = schedule.directory.clone();
    let cluster = control.machine.read(|state| state.cluster());
    let found = tokio::task::spawn_blocking(move || newest(&directory, cluster?)).await.ok().flatten();
    // One of the future is of a clock that has been set since.
    let age = found.map_or(schedule.every, |at| at.elapsed().unwrap_or(schedule.every));
    control.backups.held.lock().newest = found.map(Timestamp::from);
    let mut next = Instant::now() + schedule.every.saturating_sub(age);
    loop {
        control.backups.held.lock().late = Some(next + schedule.every + PATIENCE);
        let making = async {
            tokio::time::sleep_until(next.into()).await;
            let hangs = || io::Error::new(io::ErrorKind::TimedOut, "it took too long").into();
            tokio::time::timeout(PATIENCE, make(&control, &schedule)).await.unwrap_or_else(|_| Err(hangs()))
        };
        let made = tokio::select! {
            made = making => made,
            () = control.stop.cancelled() => return,
        };
        let mut held = control.backups.held.lock();
        match made {
            Ok(path) => {
                tracing::info!(file = %path.display(), "the state was saved");
                (held.newest, held.problem) = (Some(now()), None);
                next = Instant::now() + schedule.every;
            }
            Err(error) => {
                let problem = format!("{}: {}", schedule.directory.display(), chain(&error));
                if held.problem.as_ref() != Some(&problem) {
                    tracing::error!(problem, "the state was not saved; trying again");
                }
                held.problem = Some(problem);
                next = Instant::now() + AGAIN.min(schedule.every);
            }
        }
    }
}

/// Makes one backup, and removes those that are too many.
async fn make(control: &Control, schedule: &Schedule) -> Result<PathBuf, BackupError> {
    let Some(cluster) = control.machine.read(|state| state.cluster()) else {
        return Err(io::Error::other("this member knows nothing of the cluster yet").into());
    };
    // Members may share a directory.
    let aside = schedule.directory.join(format!(".being-made-by-{}", control.consensus.status().member));
    let made = async {
        let path = aside.clone();
        let file = tokio::task::spawn_blocking(move || begin(&path)).await.map_err(io::Error::other)??;
        control.consensus.save(file).await?;
        let (path, schedule) = (aside.clone(), schedule.clone());
        tokio::task::spawn_blocking(move || finish(&path, cluster, &schedule)).await.map_err(io::Error::other)?
    };
    let made = made.await;
    if made.is_err() {
        // On a full disk it is in the way.
        tokio::task::spawn_blocking(move || std::fs::remove_file(aside)).await.ok();
    }
    made
}

fn begin(aside: &Path) -> io::Result<File> {
    let directory = aside.parent().unwrap_or(aside);
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(aside)
}

/// Gives a backup its name, once it was read, and removes the oldest of those that are too many.
fn finish(aside: &Path, cluster: ClusterId, schedule: &Schedule) -> Result<PathBuf, BackupError> {
    File::open(aside)?.sync_all()?;
    let revision = orlop_consensus::inspect(aside)?.index;
    let path = schedule.directory.join(name(cluster, jiff::Timestamp::now(), revision));
    std::fs::rename(aside, &path)?;
    File::open(&schedule.directory)?.sync_all()?;
    let mut others = all(&schedule.directory, cluster)?;
    others.retain(|backup| backup.path != path);
    // Higher revisions are those of a history that was given up: an older backup was restored since.
    others.sort_by_key(|backup| (backup.revision <= revision, backup.revision, backup.made));
    let surplus = (others.len() + 1).saturating_sub(schedule.keep.max(1));
    for backup in others.drain(..surplus) {
        std::fs::remove_file(backup.path)?;
    }
    Ok(path)
}

/// A backup that is there.
struct Found {
    revision: u64,
    made: SystemTime,
    path: PathBuf,
}

fn name(cluster: ClusterId, at: jiff::Timestamp, revision: u64) -> String {
    format!("orlop-{cluster}-{}-r{revision}.snapshot", at.strftime("%Y%m%dT%H%M%SZ"))
}

fn revision_of(name: &str, cluster: ClusterId) -> Option<u64> {
    let rest = name.strip_prefix(&format!("orlop-{cluster}-"))?.strip_suffix(".snapshot")?;
    let (time, revision) = rest.split_once("-r")?;
    let is_time = time.len() == "20261121T090000Z".len() && time.ends_with('Z');
    is_time.then(|| revision.parse().ok())?
}

/// The backups of a cluster in a directory.
fn all(directory: &Path, cluster: ClusterId) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if let Some(revision) = entry.file_name().to_str().and_then(|name| revision_of(name, cluster)) {
            found.push(Found { revision, made: entry.metadata()?.modified()?, path: entry.path() });
        }
    }
    Ok(found)
}

/// When the newest backup of a cluster in a directory was made.
fn newest(directory: &Path, cluster: ClusterId) -> Option<SystemTime> {
    all(directory, cluster).ok()?.into_iter().map(|backup| backup.made).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_are_told_from_other_files_and_those_of_other_clusters() {
        let folder = tempfile::tempdir().expect("a folder");
        let (own, other) = (ClusterId::from_u128(1), ClusterId::from_u128(2));
        let at: jiff::Timestamp = "2026-11-21T09:00:00Z".parse().expect("a time");
        let names = [
            name(own, at, 9),
            name(other, at, 99),
            format!("{}.new", name(own, at, 99)),
            format!("orlop-{own}-mine-r100.snapshot"),
            "now.snapshot".into(),
        ];
        assert_eq!(names[0], format!("orlop-{own}-20261121T090000Z-r9.snapshot"));
        for name in &names {
            std::fs::write(folder.path().join(name), "").expect("written");
        }
        let found = all(folder.path(), own).expect("a folder");
        assert_eq!(found.iter().map(|backup| backup.revision).collect::<Vec<_>>(), [9]);
        assert!(newest(folder.path(), own).is_some() && newest(folder.path(), ClusterId::from_u128(3)).is_none());
    }
}
