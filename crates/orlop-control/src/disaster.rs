//! The ways out when members are lost: a new cluster from a backup, and going on alone with what one member has.
//!
//! Both work on a data directory that nobody uses, and leave a mark there: at its next start the member forgets those who
//! are no members any more.

use crate::config::Config;
use crate::home::{Home, HomeError};
use orlop_client::HostPort;
use orlop_consensus::{Backup, BackupError, Options, Recovery, StartError};
use orlop_identity::ClusterKey;
use orlop_model::MemberId;
use std::io;
use std::path::{Path, PathBuf};

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
        home.keep_advertise(&advertise)?;
        home.mark_alone()?;
    }
    Ok(recovery)
}
