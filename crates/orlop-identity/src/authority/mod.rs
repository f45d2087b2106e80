//! The cluster's certificate authority.
//!
//! All keys are ECDSA on P-256. The authority's certificate is good for ten years and may sign leaves only. A leaf is
//! good for a day, carries exactly one identity, and is renewed long before it ends.

mod certificate;
mod keys;

pub use certificate::{AuthorityCertificate, InvalidCertificate, PeerCertificate};
pub use keys::{InvalidRequest, PrivateKey, PublicKey};

use crate::identity::Identity;
use crate::random::{self, NoRandomness};
use orlop_model::{ClusterId, Millis, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, SerialNumber,
};
use ring::rand::SecureRandom;
use rustls::pki_types::CertificateDer;
use std::net::IpAddr;
use std::time::Duration;

/// How long an authority is good.
pub const AUTHORITY_LIFETIME: Millis = Millis::from_secs(10 * 365 * 86_400);
/// Certificates begin this long before they are made, so that a clock that is behind takes them.
pub const BACKDATED: Millis = Millis::from_secs(5 * 60);

/// Why an authority could not be made, or a certificate not issued.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The system gave no randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The certificate or the key of the authority cannot be read.
    #[error("the cluster's authority cannot be read: {0}; restore a snapshot")]
    Unreadable(String),
    /// The key is not that of the certificate.
    #[error("the key of the cluster's authority is not that of its certificate; restore a snapshot")]
    OtherKey,
    /// An identity of another cluster was asked for.
    #[error("{identity} is not of cluster {cluster}, which this authority serves")]
    OtherCluster {
        /// What was asked for.
        identity: Identity,
        /// The authority's cluster.
        cluster: ClusterId,
    },
    /// A name that cannot stand in a certificate.
    #[error("{0:?} is not a DNS name that can stand in a certificate")]
    Name(String),
    /// The certificate could not be made.
    #[error("no certificate could be made: {0}")]
    Failed(#[from] rcgen::Error),
}

/// The certificate authority of a cluster, with its key.
pub struct Authority {
    certificate: AuthorityCertificate,
    issuer: Issuer<'static, KeyPair>,
    key: PrivateKey,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// The addresses a certificate is good for, beside the identity. Orlop's own clients look at the identity only; these
/// are for other programs, as a browser or curl.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// IP addresses.
    pub ips: Vec<IpAddr>,
    /// DNS names.
    pub names: Vec<String>,
}

impl Authority {
    /// Makes the authority of a cluster.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn make(cluster: ClusterId, now: Timestamp, random: &dyn SecureRandom) -> Result<Self, AuthorityError> {
        let key = PrivateKey::generate()?;
        let mut params = validity(now, AUTHORITY_LIFETIME);
        params.serial_number = Some(serial(random)?);
        params.distinguished_name.push(DnType::OrganizationName, certificate::ORGANIZATION);
        params.distinguished_name.push(DnType::CommonName, cluster.to_string());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key.pair()?)?;
        Self::restore(certificate.der(), key)
    }

    /// The authority whose certificate and key were kept.
    ///
    /// # Errors
    /// When either cannot be read, or they do not belong together.
    pub fn restore(certificate: &CertificateDer<'_>, key: PrivateKey) -> Result<Self, AuthorityError> {
        let unreadable = |e: InvalidCertificate| AuthorityError::Unreadable(e.to_string());
        let certificate = AuthorityCertificate::read(certificate).map_err(unreadable)?;
        let pair = key.pair()?;
        if certificate.public_key() != key.public().spki() {
            return Err(AuthorityError::OtherKey);
        }
        let issuer = Issuer::from_ca_cert_der(certificate.der(), pair)?;
        Ok(Self { certificate, issuer, key })
    }

    /// The authority's certificate, which is no secret.
    pub fn certificate(&self) -> &AuthorityCertificate {
        &self.certificate
    }

    /// The authority's key, to be sealed.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Certifies that the holder of a key has an identity, from [`BACKDATED`] before now until `lifetime` from now.
    ///
    /// # Errors
    /// When the identity is of another cluster, or an address is not one.
    pub fn issue(
        &self,
        key: &PublicKey,
        identity: Identity,
        addresses: &Addresses,
        lifetime: Millis,
        now: Timestamp,
        random: &dyn SecureRandom,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        let cluster = self.certificate.cluster();
        if identity.cluster() != cluster {
            return Err(AuthorityError::OtherCluster { identity, cluster });
        }
        let mut params = validity(now, lifetime);
        params.serial_number = Some(serial(random)?);
        let text = identity.to_string();
        let uri = text.clone().try_into().map_err(|_| AuthorityError::Name(text.clone()))?;
        params.distinguished_name.push(DnType::OrganizationName, certificate::ORGANIZATION);
        params.subject_alt_names.push(SanType::URI(uri));
        params.subject_alt_names.extend(addresses.ips.iter().copied().map(SanType::IpAddress));
        for name in &addresses.names {
            let invalid = || AuthorityError::Name(name.chars().take(80).collect());
            rustls::pki_types::DnsName::try_from(name.as_str()).map_err(|_| invalid())?;
            params.subject_alt_names.push(SanType::DnsName(name.clone().try_into().map_err(|_| invalid())?));
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match identity {
            Identity::Member { .. } => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            // Nobody dials these, so that their keys, if stolen, serve nobody as a member's.
            Identity::Node { .. } | Identity::Role { .. } => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        Ok(params.signed_by(&key.0, &self.issuer)?.der().clone())
    }
}

fn validity(now: Timestamp, lifetime: Millis) -> CertificateParams {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = epoch + Duration::from_secs(now.0.saturating_sub(BACKDATED.0) / 1000);
    params.not_after = epoch + Duration::from_secs((now + lifetime).0 / 1000);
    params
}

/// 127 random bits: positive and never longer than RFC 5280 allows.
fn serial(random: &dyn SecureRandom) -> Result<SerialNumber, NoRandomness> {
    let mut bytes = random::bytes::<16>(random)?;
    // The first byte is neither negative nor a zero that DER would have to drop.
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}
