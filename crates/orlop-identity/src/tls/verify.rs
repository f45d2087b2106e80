//! Which certificates are believed.

use crate::authority::{AuthorityCertificate, InvalidCertificate, PeerCertificate};
use orlop_model::trust::RENEWAL_GRACE;
use orlop_model::{ClusterId, MemberId, Timestamp};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use rustls::{CertificateError, OtherError};
use std::sync::Arc;
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::identity::Identity;

/// All that an authority signs with.
const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[webpki::ring::ECDSA_P256_SHA256];

/// Why a peer is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrusted {
    /// Not a certificate of ours.
    #[error("the peer's certificate is not one of Orlop's: {0}")]
    Invalid(#[from] InvalidCertificate),
    /// Another authority issued it, it has not begun, or it is not for this use.
    #[error("the peer's certificate is not good: {0}")]
    Chain(String),
    /// It ended too long ago.
    #[error("the peer's certificate ended at {}, in seconds since 1970; it joins again with a new token", .0.0 / 1000)]
    Ended(Timestamp),
    /// It is of another cluster.
    #[error("the peer is {found}, which is not of cluster {expected}; is the address right?")]
    OtherCluster {
        /// Who the peer is.
        found: Identity,
        /// The cluster that was dialled.
        expected: ClusterId,
    },
    /// It is no member.
    #[error("the peer is {0}, which is no member of the control plane; is the address right?")]
    NoMember(Identity),
    /// It is another member.
    #[error("the peer is member {found}, not {expected}; has the address been given to another?")]
    OtherMember {
        /// Who the peer is.
        found: MemberId,
        /// The one that was dialled.
        expected: MemberId,
    },
    /// The authority is not the one that was pinned.
    #[error("the peer is of another cluster than the token: its authority has not the fingerprint that the token pins")]
    OtherAuthority,
}

impl From<Distrusted> for rustls::Error {
    fn from(distrusted: Distrusted) -> Self {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(distrusted))))
    }
}

fn unix(time: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(time.0))
}

fn chain(
    leaf: &CertificateDer<'_>,
    authority: &CertificateDer<'_>,
    usage: KeyUsage,
    at: UnixTime,
) -> Result<(), webpki::Error> {
    let leaf = EndEntityCert::try_from(leaf)?;
    let anchors = [anchor_from_trusted_cert(authority)?];
    leaf.verify_for_usage(ALGORITHMS, &anchors, &[], at, usage, None, None).map(drop)
}

/// Who a client is, by its certificate. One that has ended within [`RENEWAL_GRACE`] is believed:
/// [`PeerCertificate::expired`] tells, and [`access`](crate::access) lets it do nothing but renew.
///
/// # Errors
/// When the authority did not issue it for a client of its cluster, or its time is not now.
pub fn verify_client(
    authority: &AuthorityCertificate,
    leaf: &CertificateDer<'_>,
    now: Timestamp,
) -> Result<PeerCertificate, Distrusted> {
    let peer = PeerCertificate::read(leaf)?;
    let at = match peer.expired(now) {
        true if now - peer.not_after > RENEWAL_GRACE => return Err(Distrusted::Ended(peer.not_after)),
        true => peer.not_after,
        false => now,
    };
    let good = chain(leaf, authority.der(), KeyUsage::client_auth(), unix(at));
    good.map_err(|e| Distrusted::Chain(e.to_string()))?;
    let expected = authority.cluster();
    match peer.identity.cluster() == expected {
        true => Ok(peer),
        false => Err(Distrusted::OtherCluster { found: peer.identity, expected }),
    }
}

/// Who a server is, by its certificate, which must be of a member of the authority's cluster and good now.
///
/// # Errors
/// When it is not, or not of the member that is expected.
pub fn verify_server(
    authority: &AuthorityCertificate,
    leaf: &CertificateDer<'_>,
    expected: Option<MemberId>,
    now: Timestamp,
) -> Result<PeerCertificate, Distrusted> {
    let peer = PeerCertificate::read(leaf)?;
    let good = chain(leaf, authority.der(), KeyUsage::server_auth(), unix(now));
    good.map_err(|e| Distrusted::Chain(e.to_string()))?;
    let Identity::Member { cluster, member } = peer.identity else { return Err(Distrusted::NoMember(peer.identity)) };
    if cluster != authority.cluster() {
        return Err(Distrusted::OtherCluster { found: peer.identity, expected: authority.cluster() });
    }
    match expected {
        Some(expected) if expected != member => Err(Distrusted::OtherMember { found: member, expected }),
        _ => Ok(peer),
    }
}
