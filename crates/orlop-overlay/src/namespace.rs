//! Named network namespaces: bind mounts that live without the daemon and can be opened by path.
//!
//! A thread changes its own namespace for good when it enters one, so all of that happens on one thread kept for it,
//! and never on a worker of the async runtime.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, statfs};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use tokio::sync::oneshot;

/// Where a thread sees its own namespace.
const OWN: &str = "/proc/thread-self/ns/net";

type Job = Box<dyn FnOnce(&File) + Send>;

/// The thread that enters namespaces. It ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Namespaces {
    jobs: mpsc::Sender<Job>,
}

impl Namespaces {
    pub(crate) fn start() -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let home = File::open(OWN)?;
        std::thread::Builder::new().name("orlop-netns".to_owned()).stack_size(256 * 1024).spawn(move || {
            for job in queue {
                job(&home);
                // Staying inside would keep a namespace alive that somebody may remove meanwhile.
                if let Err(error) = setns(&home, CloneFlags::CLONE_NEWNET) {
                    tracing::error!(%error, "cannot return to the node's network namespace");
                    return;
                }
            }
        })?;
        Ok(Self { jobs })
    }

    async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let (answer, answered) = oneshot::channel();
        let lost = || io::Error::other("the thread for network namespaces has ended");
        let job: Job = Box::new(move |_| {
            let _ = answer.send(job());
        });
        self.jobs.send(job).map_err(|_| lost())?;
        answered.await.map_err(|_| lost())?
    }

    /// Makes a namespace and names it by `path`.
    pub(crate) async fn make(&self, path: PathBuf) -> io::Result<()> {
        self.run(move || {
            File::options().create(true).append(true).open(&path)?;
            unshare(CloneFlags::CLONE_NEWNET)?;
            mount(Some(OWN), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
            Ok(())
        })
        .await
    }

    /// Does something inside the namespace at `path`. Sockets made there stay there.
    pub(crate) async fn within<T: Send + 'static>(
        &self,
        path: PathBuf,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.run(move || {
            setns(File::open(&path)?, CloneFlags::CLONE_NEWNET)?;
            job()
        })
        .await
    }
}

/// Is there a namespace at `path` (and not only the file it would be mounted on)?
pub(crate) fn is_namespace(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == NSFS_MAGIC)
}

/// Removes the name; the namespace itself goes with its last process. Nothing there is no error.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    // A daemon that died may have mounted twice.
    while is_namespace(path) {
        umount2(path, MntFlags::MNT_DETACH)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
