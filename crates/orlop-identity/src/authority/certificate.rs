//! Reading certificates: the authority's, and those of peers.

use crate::identity::{Identity, InvalidIdentity};
use orlop_model::trust::Digest;
use orlop_model::{ClusterId, Millis, Timestamp};
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Stands in the names of all certificates of all clusters.
pub(super) const ORGANIZATION: &str = "Orlop";

/// A certificate that is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCertificate {
    /// Not a certificate at all.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// Not the certificate of an authority.
    #[error("it is not that of a cluster's authority")]
    NoAuthority,
    /// Not exactly one identity.
    #[error("it names {0} identities; one was expected")]
    Identities(usize),
    /// The identity is none.
    #[error(transparent)]
    Identity(#[from] InvalidIdentity),
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, InvalidCertificate> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(InvalidCertificate::Unreadable("bytes follow it".into())),
        Err(problem) => Err(InvalidCertificate::Unreadable(problem.to_string())),
    }
}

/// The certificate of a cluster's authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityCertificate {
    der: CertificateDer<'static>,
    cluster: ClusterId,
    public_key: Vec<u8>,
    not_after: Timestamp,
}

impl AuthorityCertificate {
    /// Reads a certificate, and checks that it is one of an authority. Whether that is to be trusted, the caller decides.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, InvalidCertificate> {
        let certificate = parse(der)?;
        let common: Vec<_> = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok()).collect();
        let [common] = common[..] else { return Err(InvalidCertificate::NoAuthority) };
        let cluster = common.parse().map_err(|_| InvalidCertificate::NoAuthority)?;
        if !certificate.is_ca() || certificate.subject() != certificate.issuer() {
            return Err(InvalidCertificate::NoAuthority);
        }
        Ok(Self {
            cluster,
            public_key: certificate.public_key().raw.to_vec(),
            not_after: time(certificate.validity().not_after.timestamp()),
            der: der.clone().into_owned(),
        })
    }

    /// DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The cluster that the authority serves, by its own word.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// SHA-256 of the certificate. Join tokens and logins carry it.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.der)
    }

    /// The end of the authority.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// SubjectPublicKeyInfo, DER.
    pub(crate) fn public_key(&self) -> &[u8] {
        &self.public_key
    }
}

/// What the certificate of a peer says. TLS has checked that the authority issued it and that the peer has its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Who the peer is.
    pub identity: Identity,
    /// When it begins: [`BACKDATED`](super::BACKDATED) before it was issued.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
    /// Unique, as hexadecimal digits.
    pub serial: String,
}

impl PeerCertificate {
    /// Reads a certificate. It checks nothing but the form.
    ///
    /// # Errors
    /// When it cannot be read or does not carry exactly one identity.
    pub fn read(der: &[u8]) -> Result<Self, InvalidCertificate> {
        let certificate = parse(der)?;
        let unreadable = |e: x509_parser::error::X509Error| InvalidCertificate::Unreadable(e.to_string());
        let names = certificate.subject_alternative_name().map_err(unreadable)?;
        let names = names.iter().flat_map(|extension| &extension.value.general_names);
        let uris: Vec<&str> = names
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            })
            .collect();
        let [uri] = uris[..] else { return Err(InvalidCertificate::Identities(uris.len())) };
        Ok(Self {
            identity: uri.parse()?,
            not_before: time(certificate.validity().not_before.timestamp()),
            not_after: time(certificate.validity().not_after.timestamp()),
            serial: certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }

    /// Has it ended? Then its holder may renew it, until [`RENEWAL_GRACE`](orlop_model::trust::RENEWAL_GRACE) has passed, and do nothing else.
    pub fn expired(&self, now: Timestamp) -> bool {
        // The last second belongs to the validity (RFC 5280, 4.1.2.5).
        now.0 >= self.not_after.0.saturating_add(1000)
    }

    /// When it was issued.
    pub fn issued_at(&self) -> Timestamp {
        self.not_before + super::BACKDATED
    }

    /// When its holder should ask for a new one: after two thirds of its life.
    pub fn renew_at(&self) -> Timestamp {
        self.not_before + Millis((self.not_after - self.not_before).0 / 3 * 2)
    }
}

fn time(seconds: i64) -> Timestamp {
    Timestamp(u64::try_from(seconds).unwrap_or_default().saturating_mul(1000))
}
