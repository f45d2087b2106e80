//! What lies in a member's data directory beside the log, and how a cluster is made there.
//!
//! ```text
//! raft/         the log and the snapshots; as they were before a recovery, `raft.before-recovery/`
//! identity/     the member's certificate and key
//! cluster.key   what unseals what the state keeps sealed
//! advertise     where the others reach the member, as host:port
//! member        the member's number, where there is no identity yet
//! alone         the mark of a member that went on alone: at its next start it forgets the others
//! initializing  the mark of a cluster that is being made: what else is here may be made anew
//! init.sock     where the new cluster is spoken to while it is being made
//! examination   what the speed of the disk is measured with, for a moment
//! ```
//!
//! Nothing of it has a default: every key is made from the system's randomness.

use crate::control::now;
use crate::seal;
use orlop_client::{HostPort, IdentityDirectory, IdentityError, replace_file};
use orlop_identity::authority::{Addresses, Authority, AuthorityError, PrivateKey};
use orlop_identity::seal::KeyFileError;
use orlop_identity::token::operator::SigningKey;
use orlop_identity::{ClusterKey, Identity, NoRandomness};
use orlop_model::trust::CERTIFICATE_LIFETIME;
use orlop_model::{ClusterId, MemberId};
use orlop_state::SealedAuthority;
use orlop_state::command::InitialTrust;
use ring::rand::SystemRandom;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A member's data directory.
#[derive(Debug, Clone)]
pub struct Home {
    log: PathBuf,
    key: PathBuf,
    advertise: PathBuf,
    member: PathBuf,
    alone: PathBuf,
    initializing: PathBuf,
    identity: IdentityDirectory,
}

/// Why a member's home cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// The identity cannot be read or written.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The cluster's key cannot be read or written.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// There is no authority, or it issues nothing.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The identity is that of something else.
    #[error("{} holds the identity {found}, which is no member's; give the control plane a directory of its own", path.display())]
    NoMember {
        /// Where.
        path: PathBuf,
        /// Whose it is.
        found: Identity,
    },
    /// The system gave no randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// What a cluster is made with.
pub(crate) struct Made {
    pub(crate) authority: Authority,
    pub(crate) key: ClusterKey,
}

impl Made {
    /// What the state keeps of it: what is secret is sealed.
    pub(crate) fn sealed(&self) -> Result<InitialTrust, HomeError> {
        let random = SystemRandom::new();
        let certificate = self.authority.certificate();
        let key = seal::authority(&self.key, certificate, self.authority.key(), &random)?;
        let signing_key = seal::signing_key(&self.key, &SigningKey::generate(&random)?, &random)?;
        let authority = SealedAuthority { certificate: certificate.der().to_vec().into(), key };
        Ok(InitialTrust { authority, signing_key })
    }
}

impl Home {
    /// The home in a data directory; it need not be there.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            log: data_dir.join("raft"),
            key: data_dir.join("cluster.key"),
            advertise: data_dir.join("advertise"),
            member: data_dir.join("member"),
            alone: data_dir.join("alone"),
            initializing: data_dir.join("initializing"),
            identity: IdentityDirectory::new(data_dir.join("identity")),
        }
    }

    /// Where the log and the snapshots lie.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// A path beside the log, for the time of a recovery: `raft.NAME`.
    pub(crate) fn beside_log(&self, name: &str) -> PathBuf {
        self.log.with_extension(name)
    }

    /// Where the member's identity lies.
    pub fn identity(&self) -> &IdentityDirectory {
        &self.identity
    }

    /// Which member lives here, if one does.
    ///
    /// # Errors
    /// When the identity cannot be read, or is not a member's.
    pub fn member(&self) -> Result<Option<MemberId>, HomeError> {
        if !self.identity.is_made() {
            return self.read(&self.member);
        }
        match self.identity.read()?.certificate.identity {
            Identity::Member { member, .. } => Ok(Some(member)),
            found => Err(HomeError::NoMember { path: self.identity.path().to_owned(), found }),
        }
    }

    /// The cluster's key.
    pub(crate) fn key(&self) -> Result<ClusterKey, HomeError> {
        Ok(ClusterKey::read_file(&self.key)?)
    }

    /// Keeps the cluster's key, in place of one that is there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_key(&self, key: &ClusterKey) -> Result<(), HomeError> {
        replace(&self.key, key.bytes())
    }

    /// Where the others reach the member, if that was written down.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn advertise(&self) -> Result<Option<HostPort>, HomeError> {
        self.read(&self.advertise)
    }

    /// Writes down where the others reach the member, for when it is started without being told.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_advertise(&self, address: &HostPort) -> Result<(), HomeError> {
        replace(&self.advertise, format!("{address}\n").as_bytes())
    }

    /// Writes down which member lives here, before it has an identity.
    pub(crate) fn keep_member(&self, member: MemberId) -> Result<(), HomeError> {
        replace(&self.member, format!("{member}\n").as_bytes())
    }

    /// Notes that the member has gone on alone.
    pub(crate) fn mark_alone(&self) -> Result<(), HomeError> {
        replace(&self.alone, b"")
    }

    /// Has the member gone on alone, and not forgotten the others yet?
    pub(crate) fn is_alone(&self) -> bool {
        self.alone.exists()
    }

    /// The others are forgotten.
    pub(crate) fn unmark_alone(&self) -> Result<(), HomeError> {
        remove(&self.alone)
    }

    /// Does a member live here, or did one begin to?
    ///
    /// # Errors
    /// When what is there cannot be read.
    pub fn is_used(&self) -> Result<bool, HomeError> {
        Ok(self.log.exists() || self.member()?.is_some())
    }

    /// Is a cluster being made here, or was the making of one cut short?
    pub(crate) fn is_being_made(&self) -> bool {
        self.initializing.exists()
    }

    /// Notes that a cluster is being made here.
    pub(crate) fn begin_to_make(&self) -> Result<(), HomeError> {
        replace(&self.initializing, b"")
    }

    /// The cluster is made.
    pub(crate) fn end_making(&self) -> Result<(), HomeError> {
        remove(&self.initializing)
    }

    fn read<T: std::str::FromStr<Err: std::fmt::Display>>(&self, path: &Path) -> Result<Option<T>, HomeError> {
        let damaged = |e: T::Err| IdentityError::Damaged { path: path.to_owned(), problem: e.to_string() };
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(text.trim().parse().map_err(damaged)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(IdentityError::Io { path: path.to_owned(), source }.into()),
        }
    }

    /// Makes the authority and the key of a new cluster, and keeps what its first member needs of them. What an earlier
    /// attempt left is replaced: nobody has seen it.
    pub(crate) fn make(&self, cluster: ClusterId, advertise: Option<&HostPort>) -> Result<Made, HomeError> {
        let random = SystemRandom::new();
        let authority = Authority::make(cluster, now(), &random)?;
        let key = ClusterKey::generate(&random)?;
        self.keep_key(&key)?;
        self.certify(&authority, Identity::Member { cluster, member: MemberId::FIRST }, advertise)?;
        self.identity.write_members(&advertise.cloned().into_iter().collect::<Vec<_>>())?;
        Ok(Made { authority, key })
    }

    /// Gives the member a new key and a certificate for it.
    pub(crate) fn certify(
        &self,
        authority: &Authority,
        identity: Identity,
        advertise: Option<&HostPort>,
    ) -> Result<(), HomeError> {
        let own = PrivateKey::generate().map_err(AuthorityError::from)?;
        let addresses = addresses(advertise);
        let leaf =
            authority.issue(&own.public(), identity, &addresses, CERTIFICATE_LIFETIME, now(), &SystemRandom::new())?;
        Ok(self.identity.write(authority.certificate().der(), &leaf, &own)?)
    }
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), HomeError> {
    let failed = |source| IdentityError::Io { path: path.to_owned(), source };
    Ok(replace_file(path, bytes).map_err(failed)?)
}

/// Removes a mark, if it is there. Durable when it returns.
fn remove(path: &Path) -> Result<(), HomeError> {
    let failed = |source| IdentityError::Io { path: path.to_owned(), source };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => Ok(removed.and_then(|()| File::open(path.parent().unwrap_or(path))?.sync_all()).map_err(failed)?),
    }
}

/// What a member's certificate is good for in the eyes of programs that look at addresses.
pub(crate) fn addresses(advertise: Option<&HostPort>) -> Addresses {
    let mut addresses = Addresses { ips: vec![IpAddr::from([127, 0, 0, 1])], names: vec!["localhost".into()] };
    if let Some(host) = advertise.map(HostPort::host) {
        match host.parse() {
            Ok(ip) => addresses.ips.push(ip),
            Err(_) => addresses.names.push(host.to_owned()),
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_made_again_when_the_first_attempt_was_cut_short() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::new(folder.path());
        assert_eq!(home.member().expect("nobody"), None);
        let advertise: HostPort = "10.0.0.1:7700".parse().expect("an address");
        for cluster in [1, 2] {
            let made = home.make(ClusterId::from_u128(cluster), Some(&advertise)).expect("made");
            assert_eq!(home.member().expect("a member"), Some(MemberId::FIRST));
            assert!(home.key().expect("a key, for its owner only") == made.key);
            let kept = home.identity().read().expect("an identity");
            assert_eq!(kept.authority.cluster(), ClusterId::from_u128(cluster));
            assert_eq!(kept.members, std::slice::from_ref(&advertise));
        }
    }
}
