//! Where everything of a development node lies.

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The two directories of a node and what is in them.
#[derive(Debug)]
pub(super) struct Folders {
    data: PathBuf,
    run: PathBuf,
}

impl Folders {
    /// Makes the directories.
    pub(super) fn new(data: &Path, run: &Path) -> anyhow::Result<Self> {
        let made = |folder: &Path| {
            std::fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
            folder.canonicalize().with_context(|| format!("could not find {}", folder.display()))
        };
        Ok(Self { data: made(data)?, run: made(run)? })
    }

    /// The directory of everything that is kept, and that of everything that only runs.
    pub(super) fn roots(&self) -> (&Path, &Path) {
        (&self.data, &self.run)
    }

    /// What a role keeps.
    pub(super) fn data(&self, role: &str) -> PathBuf {
        self.data.join(role)
    }

    /// What a role has while it runs.
    pub(super) fn run(&self, role: &str) -> PathBuf {
        self.run.join(role)
    }

    /// The control plane's socket.
    pub(super) fn control(&self) -> PathBuf {
        self.run("control.sock")
    }

    /// The overlay daemon's socket.
    pub(super) fn overlay(&self) -> PathBuf {
        self.run("overlay.sock")
    }

    /// The address that the proxy bound; there when the node is ready.
    pub(super) fn http_address(&self) -> PathBuf {
        self.run("http.address")
    }

    /// The output of a node in the background.
    pub(super) fn log(&self) -> PathBuf {
        self.run("dev.log")
    }

    /// Says who holds the lock.
    fn lock_file(&self) -> PathBuf {
        self.run("dev.lock")
    }

    /// The process that runs here, if one does.
    pub(super) fn holder(&self) -> Option<i32> {
        let file = File::open(self.lock_file()).ok()?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(_) => None,
            Err(_) => std::fs::read_to_string(self.lock_file()).ok()?.trim().parse().ok(),
        }
    }

    /// Makes this process the one that runs here.
    pub(super) fn lock(&self) -> anyhow::Result<Flock<File>> {
        let path = self.lock_file();
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("could not open {}", path.display()))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
            anyhow::anyhow!(
                "a node runs here already (process {}): end it with `orlopctl dev --down`, or choose other --data and --run",
                std::fs::read_to_string(&path).unwrap_or_default().trim()
            )
        })?;
        std::fs::write(&path, std::process::id().to_string())?;
        Ok(lock)
    }

    /// Removes what only means something while a process runs.
    pub(super) fn clear_run(&self) {
        for path in [self.control(), self.overlay(), self.http_address()] {
            let _ = std::fs::remove_file(path);
        }
    }
}
