//! The directory in which a program of the cluster keeps who it is, and where the members are.
//!
//! ```text
//! authority.pem    the certificate of the cluster's authority
//! identity.pem     the program's key and its certificate; only its owner may read it
//! control-planes   the members' addresses, one on each line
//! ```
//!
//! Each file is replaced whole, so a reader finds a key that goes with its certificate, whenever it looks.

use crate::address::HostPort;
use crate::file::replace_file;
use orlop_identity::authority::{InvalidCertificate, PrivateKey};
use orlop_identity::tls::{Credentials, InvalidCredentials};
use orlop_identity::{AuthorityCertificate, PeerCertificate};
use rustls::pki_types::CertificateDer;
use std::io;
use std::path::{Path, PathBuf};

const AUTHORITY: &str = "authority.pem";
const IDENTITY: &str = "identity.pem";
const CONTROL_PLANES: &str = "control-planes";

/// Where a joined machine keeps its node's identity.
pub const IDENTITY_DEFAULT: &str = "/var/lib/orlop/identity";

/// An identity as it is kept.
#[derive(Debug, Clone)]
pub struct Identified {
    /// The cluster's authority.
    pub authority: AuthorityCertificate,
    /// What the certificate says.
    pub certificate: PeerCertificate,
    /// The certificate, DER.
    pub leaf: CertificateDer<'static>,
    /// Its key.
    pub key: PrivateKey,
    /// Where the members are.
    pub members: Vec<HostPort>,
}

impl Identified {
    /// What is shown to prove the identity.
    ///
    /// # Errors
    /// When the key is not the certificate's.
    pub fn credentials(&self) -> Result<Credentials, InvalidCredentials> {
        Credentials::new(&self.leaf, self.authority.der(), &self.key)
    }
}

/// Why there is no identity in a directory, or none was written to it.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Nothing is there.
    #[error("there is no identity in {}; join the cluster with `orlopctl join`", .0.display())]
    Absent(PathBuf),
    /// A file cannot be read or written.
    #[error("{}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{} is damaged ({problem}); join the cluster again with a new token", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// A directory with an identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdentityDirectory(PathBuf);

impl IdentityDirectory {
    /// The directory at a path; it need not be there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Is there an identity?
    pub fn is_made(&self) -> bool {
        self.0.join(IDENTITY).exists()
    }

    /// Reads the identity.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn read(&self) -> Result<Identified, IdentityError> {
        let authority = self.blocks(AUTHORITY)?;
        let [(tag, authority)] = &authority[..] else {
            return Err(self.damaged(AUTHORITY, "it has not one certificate"));
        };
        let invalid = |file| move |e: InvalidCertificate| self.damaged(file, e);
        if tag != "CERTIFICATE" {
            return Err(self.damaged(AUTHORITY, "it has no certificate"));
        }
        let authority =
            AuthorityCertificate::read(&CertificateDer::from(authority.as_slice())).map_err(invalid(AUTHORITY))?;
        let blocks = self.blocks(IDENTITY)?;
        let of = |wanted: &str| blocks.iter().find(|(tag, _)| tag == wanted).map(|(_, bytes)| bytes.as_slice());
        let leaf = of("CERTIFICATE").ok_or_else(|| self.damaged(IDENTITY, "it has no certificate"))?;
        let key = of("PRIVATE KEY").ok_or_else(|| self.damaged(IDENTITY, "it has no key"))?;
        Ok(Identified {
            certificate: PeerCertificate::read(leaf).map_err(invalid(IDENTITY))?,
            leaf: CertificateDer::from(leaf.to_vec()),
            key: PrivateKey::read(key).map_err(|e| self.damaged(IDENTITY, e))?,
            members: self.members()?,
            authority,
        })
    }

    /// Where the members are.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn members(&self) -> Result<Vec<HostPort>, IdentityError> {
        let text = self.text(CONTROL_PLANES)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.map(|line| line.parse().map_err(|e| self.damaged(CONTROL_PLANES, e))).collect()
    }

    /// Writes an identity, in place of the one that is there. Durable when it returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(
        &self,
        authority: &CertificateDer<'_>,
        leaf: &CertificateDer<'_>,
        key: &PrivateKey,
    ) -> Result<(), IdentityError> {
        let certificate = |der: &CertificateDer<'_>| pem::Pem::new("CERTIFICATE", der.to_vec());
        self.replace(AUTHORITY, &pem::encode(&certificate(authority)))?;
        let key = pem::Pem::new("PRIVATE KEY", key.der().to_vec());
        self.replace(IDENTITY, &pem::encode_many(&[key, certificate(leaf)]))
    }

    /// Writes where the members are.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_members(&self, members: &[HostPort]) -> Result<(), IdentityError> {
        let lines: String = members.iter().map(|member| format!("{member}\n")).collect();
        self.replace(CONTROL_PLANES, &lines)
    }

    fn text(&self, file: &str) -> Result<String, IdentityError> {
        let path = self.0.join(file);
        std::fs::read_to_string(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => IdentityError::Absent(self.0.clone()),
            _ => IdentityError::Io { path, source },
        })
    }

    fn blocks(&self, file: &str) -> Result<Vec<(String, Vec<u8>)>, IdentityError> {
        let blocks = pem::parse_many(self.text(file)?).map_err(|e| self.damaged(file, e))?;
        Ok(blocks.into_iter().map(|block| (block.tag().to_owned(), block.into_contents())).collect())
    }

    fn damaged(&self, file: &str, problem: impl std::fmt::Display) -> IdentityError {
        IdentityError::Damaged { path: self.0.join(file), problem: problem.to_string() }
    }

    fn replace(&self, file: &str, text: &str) -> Result<(), IdentityError> {
        let path = self.0.join(file);
        replace_file(&path, text.as_bytes()).map_err(|source| IdentityError::Io { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_identity::Identity;
    use orlop_identity::authority::{Addresses, Authority};
    use orlop_model::trust::CERTIFICATE_LIFETIME;
    use orlop_model::{ClusterId, NodeId, Timestamp};
    use ring::rand::SystemRandom;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_identity_is_kept_whole_and_for_its_owner_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = IdentityDirectory::new(folder.path().join("identity"));
        assert!(matches!(directory.read(), Err(IdentityError::Absent(_))));
        let (random, now) = (SystemRandom::new(), Timestamp(1_700_000_000_000));
        let cluster = ClusterId::from_u128(1);
        let authority = Authority::make(cluster, now, &random).expect("an authority");
        let identity = Identity::Node { cluster, node: NodeId::from_u128(2) };
        let issue = |key: &PrivateKey| {
            authority
                .issue(&key.public(), identity, &Addresses::default(), CERTIFICATE_LIFETIME, now, &random)
                .expect("issued")
        };
        for _ in 0..2 {
            let key = PrivateKey::generate().expect("a key");
            directory.write(authority.certificate().der(), &issue(&key), &key).expect("written");
            directory.write_members(&["10.0.0.1:7700".parse().expect("an address")]).expect("written");
            let kept = directory.read().expect("read");
            assert_eq!(kept.certificate.identity, identity);
            assert_eq!(kept.key.der(), key.der());
            assert_eq!(kept.members, ["10.0.0.1:7700".parse().expect("an address")]);
            kept.credentials().expect("they fit");
        }
        for file in std::fs::read_dir(directory.path()).expect("files") {
            let mode = file.expect("a file").metadata().expect("metadata").permissions().mode();
            assert_eq!(mode & 0o77, 0, "nobody else may read it");
        }
        std::fs::write(directory.path().join(IDENTITY), "nonsense").expect("written");
        assert!(matches!(directory.read(), Err(IdentityError::Damaged { .. })));
    }
}
