//! Loggers that were killed.
//!
//! Each logger holds a post, a locked file under the run directory named like its container. A post that is there and not
//! held tells of a logger that came to a bad end, and another one is started on it. No word of containerd is needed
//! to find out, so it costs next to nothing to look often.
//!
//! The logger is the only reader of its container's output. So that a container whose logger is killed gets no broken pipe, and
//! only waits when the pipe is full, this process has the pipes of all containers open too, and never reads.

use super::containers::Containers;
use super::exits::process;
use crate::container::LostLogger;
use containerd_client::types::v1::Status;
use nix::fcntl::{Flock, FlockArg};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// How long a logger may take until it reads.
const BEGIN: Duration = Duration::from_secs(10);
/// A container whose logger could not be replaced so often is given up; its output waits meanwhile.
const ATTEMPTS_MAX: u32 = 5;
/// The exit code of a logger that finds nothing to take over.
const NOTHING_TO_DO: i32 = 3;

/// The directory of posts.
pub(super) fn posts(run_dir: &Path) -> PathBuf {
    run_dir.join("loggers")
}

/// The pipes of containers, kept open.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<BTreeMap<String, [File; 2]>>);

impl Kept {
    /// Opens the pipes that the logger of a container reads, if it was not done before.
    pub(super) fn open(&self, run_dir: &Path, id: &str) {
        if !self.0.lock().contains_key(id)
            && let Some(pipes) = pipes(&posts(run_dir).join(id))
        {
            self.0.lock().insert(id.to_owned(), pipes);
        }
    }

    /// Closes those of containers that have no post any more.
    fn retain(&self, there: &BTreeSet<String>) {
        self.0.lock().retain(|id, _| there.contains(id));
    }
}

/// The pipes of a post, at the shim, which has their other ends.
fn pipes(post: &Path) -> Option<[File; 2]> {
    let text = std::fs::read(post).ok()?;
    let mut words = text.split(|byte| *byte == b' ').map(|word| std::str::from_utf8(word).ok()?.parse::<u64>().ok());
    let (shim, stdout, stderr) = (words.next()??, words.next()??, words.next()??);
    let open = |inode: u64| {
        let wanted = format!("pipe:[{inode}]");
        let mut descriptors = std::fs::read_dir(format!("/proc/{shim}/fd")).ok()?.flatten();
        let found =
            descriptors.find(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str()));
        File::open(found?.path()).ok()
    };
    Some([open(stdout)?, open(stderr)?])
}

/// Removes the post of a container that is gone, if its logger did not.
pub(super) fn forget(run_dir: &Path, id: &str) {
    let post = posts(run_dir).join(id);
    if !is_held(&post) {
        let _ = std::fs::remove_file(&post);
    }
}

impl Containers {
    /// See [`crate::ContainerRuntime::mend_loggers`].
    pub(super) async fn mend_loggers(&self) -> Vec<LostLogger> {
        let directory = posts(&self.config.run_dir);
        let looked = tokio::task::spawn_blocking(move || look(&directory)).await.unwrap_or_default();
        self.kept.retain(&looked.there);
        looked.there.iter().for_each(|id| self.kept.open(&self.config.run_dir, id));
        let lost = looked.empty;
        self.failures.lock().retain(|id, _| lost.iter().any(|(lost, _)| lost == id));
        let mut mended = Vec::new();
        for (id, post) in lost {
            let outcome = match self.start_logger(&post).await {
                Ok(true) => Ok(()),
                // Somebody holds it after all, or the container is about to go.
                _ if is_held(&post) || !self.runs(&id).await => continue,
                Ok(false) => Err("its shim does not have its output any more".to_owned()),
                Err(detail) => Err(detail),
            };
            if let Err(detail) = &outcome {
                let mut failures = self.failures.lock();
                let count = failures.entry(id.clone()).or_default();
                *count += 1;
                tracing::warn!(container = id, detail, count, "another logger could not take over");
                if *count < ATTEMPTS_MAX {
                    continue;
                }
            }
            mended.push(LostLogger { id, outcome });
        }
        mended
    }

    /// Starts a logger on a post; `false` when it found nothing to do.
    async fn start_logger(&self, post: &Path) -> Result<bool, String> {
        let logger = &self.config.logger;
        let mut command = Command::new(logger);
        command.arg("take-over").arg(post).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // It belongs to the container; what becomes of us and our terminal does not concern it.
        command.process_group(0).kill_on_drop(false);
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", logger.display()))?;
        let (mut said, mut complaint) = (String::new(), String::new());
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let heard = async {
            if let (Some(mut stdout), Some(mut stderr)) = (stdout, stderr) {
                let _ = tokio::join!(stdout.read_to_string(&mut said), stderr.read_to_string(&mut complaint));
            }
        };
        if tokio::time::timeout(BEGIN, heard).await.is_err() {
            return Err("the new logger does not begin".to_owned());
        }
        if said.trim_end() == "reading" {
            // Waited for aside, for as long as this process lives.
            tokio::spawn(async move { child.wait().await });
            return Ok(true);
        }
        match child.wait().await.map(|status| status.code()) {
            Ok(Some(NOTHING_TO_DO)) => Ok(false),
            Ok(Some(_)) => Err(complaint.trim_end().to_owned()),
            Ok(None) => Err("the new logger was killed too".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn runs(&self, id: &str) -> bool {
        match process(&self.client, id, "").await {
            Ok(found) => found.is_some_and(|process| process.status() == Status::Running),
            // What cannot be asked is looked at the next time.
            Err(_) => false,
        }
    }
}

/// What was seen of the posts.
#[derive(Debug, Default, PartialEq)]
struct Looked {
    /// The containers that have one.
    there: BTreeSet<String>,
    /// Those that nobody holds, with their containers' ids.
    empty: Vec<(String, PathBuf)>,
}

fn look(directory: &Path) -> Looked {
    let mut looked = Looked::default();
    let Ok(entries) = std::fs::read_dir(directory) else { return looked };
    for entry in entries.flatten() {
        let (Ok(id), path) = (entry.file_name().into_string(), entry.path()) else { continue };
        if !is_held(&path) {
            looked.empty.push((id.clone(), path));
        }
        looked.there.insert(id);
    }
    looked
}

/// Does a logger hold the post, or is it about to, or has it left it?
fn is_held(post: &Path) -> bool {
    let file = match File::open(post) {
        Ok(file) => file,
        Err(error) => return error.kind() == ErrorKind::NotFound,
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => file.metadata().is_ok_and(|found| found.nlink() == 0 || found.len() == 0),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_post_that_was_held_once_and_is_not_now_is_empty() {
        let place = tempfile::tempdir().expect("a directory");
        assert_eq!(look(&place.path().join("none")), Looked::default());
        let post = |name: &str, text: &str| {
            std::fs::write(place.path().join(name), text).expect("written");
            place.path().join(name)
        };
        let lost = post("lost", "1 2 3");
        post("begun", "");
        let held = File::open(post("held", "1 2 3")).expect("there");
        let held = Flock::lock(held, FlockArg::LockExclusive).map_err(|(_, errno)| errno).expect("locked");
        let looked = look(place.path());
        assert_eq!((looked.empty, looked.there.len()), (vec![("lost".to_owned(), lost.clone())], 3));
        drop(held);
        assert_eq!(look(place.path()).empty.len(), 2);
    }
}
