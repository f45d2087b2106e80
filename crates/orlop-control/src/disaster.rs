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
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

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
    #[error("the member does not lead within {} s, though it is alone; its log says why, and `recover` may be repeated", PATIENCE.as_secs())]
    NotAlone,
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
    let recovery = orlop_consensus::recover(&options, &advertise.to_string(), dry_run).await?;
    if !dry_run {
        leap(&home, &options, &advertise).await?;
        home.keep_advertise(&advertise)?;
        home.mark_alone()?;
    }
    Ok(recovery)
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
    gone(&leapt, std::fs::remove_dir_all(&leapt))?;
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
    let before = home.beside_log("before-recovery");
    gone(&before, std::fs::remove_dir_all(&before))?;
    std::fs::rename(&leapt, &before).map_err(|source| DisasterError::Io { path: before, source })
}

/// Saves the state of a member that is alone and does not run.
async fn save(home: &Home, options: &Options, file: &Path) -> Result<(), DisasterError> {
    let machine = Arc::new(Machine::new(0));
    let peers = Arc::new(Peers::new(Arc::new(Trust::new(machine.clone(), home))));
    let consensus = Consensus::start(options.clone(), machine, peers).await?;
    let saving = async {
        // It leads at once, and then applies what it has.
        while consensus.read_index().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let failed = |source| DisasterError::Io { path: file.to_owned(), source };
        let mut options = File::options();
        let out = options.write(true).create(true).truncate(true).mode(0o600).open(file).map_err(failed)?;
        consensus.save(out).await?;
        Ok(())
    };
    let saved = tokio::time::timeout(PATIENCE, saving).await.unwrap_or(Err(DisasterError::NotAlone));
    consensus.shutdown().await;
    saved
}
