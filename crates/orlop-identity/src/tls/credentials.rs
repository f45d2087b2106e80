//! A certificate with its key, which can be replaced while connections are made with it.

use crate::authority::{InvalidCertificate, PeerCertificate, PrivateKey};
use arc_swap::ArcSwap;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::sync::Arc;

/// A certificate and a key that do not make credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredentials {
    /// The certificate is none of ours.
    #[error("the certificate is not one of Orlop's: {0}")]
    Certificate(#[from] InvalidCertificate),
    /// They do not belong together.
    #[error("the key is not that of the certificate: {0}")]
    Key(String),
}

/// What a program shows to prove who it is. Clones show the same; what one is given by [`replace`](Self::replace), all
/// show from the next connection on.
#[derive(Clone)]
pub struct Credentials(Arc<ArcSwap<Shown>>);

struct Shown {
    certified: Arc<CertifiedKey>,
    certificate: PeerCertificate,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credentials").field(&self.0.load().certificate).finish()
    }
}

impl Credentials {
    /// A certificate and its key. The authority's certificate is sent along, for those who know only its fingerprint.
    ///
    /// # Errors
    /// When the certificate names no identity, or the key is another's.
    pub fn new(
        leaf: &CertificateDer<'_>,
        authority: &CertificateDer<'_>,
        key: &PrivateKey,
    ) -> Result<Self, InvalidCredentials> {
        Ok(Self(Arc::new(ArcSwap::from_pointee(shown(leaf, authority, key)?))))
    }

    /// Shows another certificate from the next connection on. Connections that are there stay, under the one before.
    ///
    /// # Errors
    /// As [`new`](Self::new); then the one before stays.
    pub fn replace(
        &self,
        leaf: &CertificateDer<'_>,
        authority: &CertificateDer<'_>,
        key: &PrivateKey,
    ) -> Result<(), InvalidCredentials> {
        self.0.store(Arc::new(shown(leaf, authority, key)?));
        Ok(())
    }

    /// What is shown now.
    pub fn certificate(&self) -> PeerCertificate {
        self.0.load().certificate.clone()
    }
}

fn shown(
    leaf: &CertificateDer<'_>,
    authority: &CertificateDer<'_>,
    key: &PrivateKey,
) -> Result<Shown, InvalidCredentials> {
    let certificate = PeerCertificate::read(leaf)?;
    let chain = vec![leaf.clone().into_owned(), authority.clone().into_owned()];
    let unfit = |e: rustls::Error| InvalidCredentials::Key(e.to_string());
    let signing = rustls::crypto::ring::sign::any_supported_type(&key.rustls()).map_err(unfit)?;
    let certified = CertifiedKey::new(chain, signing);
    certified.keys_match().map_err(unfit)?;
    Ok(Shown { certified: Arc::new(certified), certificate })
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().certified.clone())
    }
}

impl ResolvesClientCert for Credentials {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().certified.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
