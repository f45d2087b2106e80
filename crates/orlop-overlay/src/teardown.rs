//! Takes everything of an instance away.

use crate::config::{Config, InvalidConfig};
use crate::network::{Network, NetworkError};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Why not everything was taken away.
#[derive(Debug, thiserror::Error)]
pub enum TeardownError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// The daemon lives, or the run directory cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The kernel.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// Why the run directory is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else's.
    #[error("an overlay daemon with the run directory {} is running; stop it first", .0.display())]
    Taken(PathBuf),
    /// It cannot be made or written.
    #[error("could not lock {}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Makes the run directory and takes its lock: one daemon or one teardown at a time.
pub(crate) fn lock(run_dir: &Path) -> Result<Flock<File>, LockError> {
    let path = run_dir.join("lock");
    let failed = |source| LockError::Io { path: path.clone(), source };
    std::fs::create_dir_all(run_dir).map_err(failed)?;
    let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => LockError::Taken(run_dir.to_owned()),
        errno => failed(errno.into()),
    })
}

/// Removes every namespace, interface, rule and file of an instance. Nothing there is no error. The kernel's switch for
/// forwarding stays on: others may rely on it by now.
pub async fn teardown(config: Config) -> Result<(), TeardownError> {
    let instance = config.instance()?;
    let lock = lock(&config.run_dir)?;
    let network = Network::open(instance, &config.run_dir)?;
    network.remove_all().await?;
    drop(lock);
    // What is left in the directory is nobody's but ours; a directory that others use stays.
    for name in ["lock", "addresses.json"] {
        let _ = std::fs::remove_file(config.run_dir.join(name));
    }
    let _ = std::fs::remove_file(&config.socket);
    let _ = std::fs::remove_dir(&config.run_dir);
    Ok(())
}
