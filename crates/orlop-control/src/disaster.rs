//! The ways out when members are lost: a new cluster from a backup, and going on alone with what one member has.
//!
//! Both work on a data directory that nobody uses, and leave a mark there: at its next start the member forgets those who
//! are no members any more.

use crate::config::Config;
use crate::home::{Home, HomeError};
use crate::machine::Machine;
use crate::peers::Peers;
use crate::trust::Trust;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use orlop_client::HostPort;
use orlop_consensus::{Backup, BackupError, Consensus, Options, Recovery, StartError};
use orlop_identity::ClusterKey;
use orlop_model::MemberId;
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a member that is alone may take to lead and to apply what it has.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why there is no way out here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DisasterError {
    /// The backup cannot be used.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The member's log cannot be used.
    #[error(transparent)]
    Log(#[from] StartError),
    /// The member's home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A file cannot be written.
    #[error("{}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The member did not lead, though it is alone.
    #[error(
        "the member is alone now, and does not lead ({problem}); mend that, and say `recover` again before it is started"
    )]
    NotAlone {
        /// What it said instead.
        problem: String,
    },
    /// The log cannot be exchanged for one that goes on elsewhere.
    #[error("{} cannot be exchanged in one step for another directory; nothing was changed", path.display())]
    NoExchange {
        /// The log.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody could reach the member.
    #[error("where will other machines reach this member? Give --advertise HOST[:PORT]")]
    NoAddress,
}

/// Says what a backup is of. Reads all of it, and so finds any damage. Blocks.
///
/// # Errors
/// When it is no whole backup.
pub fn inspect(file: &Path) -> Result<Backup, DisasterError> {
    Ok(orlop_consensus::inspect(file)?)
}

/// Makes a new cluster of one member from a backup and the key of the cluster that it was taken of. The new member has a
/// number that none had before, so that certificates of the old ones are worth nothing to it. Blocks.
///
/// # Errors
/// When the backup is damaged, or the data directory is not empty.
pub fn restore(config: &Config, file: &Path, key: &ClusterKey) -> Result<Backup, DisasterError> {
    let advertise = config.advertise.as_ref().ok_or(DisasterError::NoAddress)?;
    let backup = orlop_consensus::inspect(file)?;
    let member = MemberId(backup.index.max(backup.members.keys().copied().max().unwrap_or(0)) + 1);
    let options = Options { member: member.0, ..Options::new(config.data_dir.join("raft")) };
    orlop_consensus::restore(&options, file, &advertise.to_string())?;
    let home = Home::new(&config.data_dir);
    home.keep_key(key)?;
    home.keep_advertise(advertise)?;
    home.keep_member(member)?;
    home.mark_alone()?;
    Ok(backup)
}

/// Lets a member go on alone with what it has. With `dry_run` it only says what that would come to.
///
/// # Errors
/// When there is no member in the data directory, or it runs.
pub async fn recover(config: &Config, dry_run: bool) -> Result<Recovery, DisasterError> {
    let home = Home::new(&config.data_dir);
    let advertise: Option<HostPort> = match &config.advertise {
        Some(advertise) => Some(advertise.clone()),
        None => home.advertise()?,
    };
    let advertise = advertise.ok_or(DisasterError::NoAddress)?;
    let member = home.member()?.unwrap_or(MemberId::FIRST);
    let options = Options { member: member.0, ..Options::new(config.data_dir.join("raft")) };
    // Before anything is changed.
    try_exchange(&home)?;
    let recovery = orlop_consensus::recover(&options, &advertise.to_string(), dry_run).await?;
    if !dry_run {
        // The mark first: a member that is not alone does not look at it.
        home.keep_advertise(&advertise)?;
        home.mark_alone()?;
        leap(&home, &options, &advertise).await?;
    }
    Ok(recovery)
}

/// Finds out whether the log could be exchanged for another one.
fn try_exchange(home: &Home) -> Result<(), DisasterError> {
    let (log, trial) = (home.log(), home.beside_log("trial"));
    let tried = (|| {
        let of = |path: &Path| path.metadata().map(|found| found.dev());
        if of(log)? != of(log.parent().unwrap_or(log))? {
            return Err(io::Error::other(
                "it is a mount of its own; copy it to where it is a directory like any other",
            ));
        }
        let (one, other) = (trial.join("one"), trial.join("other"));
        std::fs::create_dir_all(&one)?;
        std::fs::create_dir_all(&other)?;
        Ok(renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE)?)
    })();
    std::fs::remove_dir_all(&trial).ok();
    match tried {
        // The recovery says it better.
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(DisasterError::NoExchange { path: log.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Lets the log of a member that is alone go on far above where it was, as that of a restored backup does: whoever watched
/// revisions that were lost would else take those that come under the same numbers for what it knows already.
async fn leap(home: &Home, options: &Options, advertise: &HostPort) -> Result<(), DisasterError> {
    let (backup, leapt) = (home.beside_log("leaping"), home.beside_log("leapt"));
    let gone = |path: &Path, removed: io::Result<()>| match removed {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(DisasterError::Io { path: path.to_owned(), source })
        }
        _ => Ok(()),
    };
    // What an earlier attempt left may be what was there before it.
    keep_aside(home, &leapt)?;
    save(home, options, &backup).await?;
    let of_leapt = Options { directory: leapt.clone(), ..options.clone() };
    orlop_consensus::restore(&of_leapt, &backup, &advertise.to_string())?;
    gone(&backup, std::fs::remove_file(&backup))?;
    // In one step: there is a log whenever this is cut short, and it can be repeated.
    let log = home.log();
    let exchanged = renameat2(AT_FDCWD, log, AT_FDCWD, &leapt, RenameFlags::RENAME_EXCHANGE);
    let failed = |source| DisasterError::Io { path: log.to_owned(), source };
    exchanged.map_err(|errno| failed(errno.into()))?;
    File::open(log.parent().unwrap_or(log)).and_then(|directory| directory.sync_all()).map_err(failed)?;
    keep_aside(home, &leapt)
}

/// Keeps what was the log under a name that nothing has, if it is there.
fn keep_aside(home: &Home, path: &Path) -> Result<(), DisasterError> {
    let names = (1..).map(|number| match number {
        1 => "before-recovery".to_owned(),
        number => format!("before-recovery-{number}"),
    });
    let free = names.map(|name| home.beside_log(&name)).find(|path| !path.exists());
    let Some(free) = free.filter(|_| path.exists()) else { return Ok(()) };
    std::fs::rename(path, &free).map_err(|source| DisasterError::Io { path: free, source })
}

/// Saves the state of a member that is alone and does not run.
async fn save(home: &Home, options: &Options, file: &Path) -> Result<(), DisasterError> {
    let machine = Arc::new(Machine::new(0));
    let peers = Arc::new(Peers::new(Arc::new(Trust::new(machine.clone(), home))));
    let consensus = Consensus::start(options.clone(), machine, peers).await?;
    let saving = async {
        // It leads at once, and then applies what it has.
        let begun = Instant::now();
        while let Err(error) = consensus.read_index().await {
            if begun.elapsed() > PATIENCE {
                return Err(DisasterError::NotAlone { problem: error.to_string() });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let failed = |source| DisasterError::Io { path: file.to_owned(), source };
        let mut options = File::options();
        let out = options.write(true).create(true).truncate(true).mode(0o600).open(file).map_err(failed)?;
        consensus.save(out).await?;
        Ok(())
    };
    let saved: Result<(), DisasterError> = saving.await;
    consensus.shutdown().await;
    saved
}
