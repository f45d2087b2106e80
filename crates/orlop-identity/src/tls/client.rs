//! The side that dials.

use super::{Credentials, Distrusted, protocols, provider, verify_server};
use crate::authority::AuthorityCertificate;
use orlop_model::trust::Digest;
use orlop_model::{MemberId, Timestamp};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme, version};
use std::sync::Arc;

/// Which member a client means to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Any of the cluster.
    AnyMember,
    /// This one.
    Member(MemberId),
}

/// The configuration of a client that knows the cluster's authority. The server must be a member of the cluster; the name
/// that is dialled is not looked at. With credentials the client shows who it is, without it is an operator.
///
/// # Errors
/// When rustls and its cryptography do not fit, which is a fault of the build.
pub fn client_config(
    authority: AuthorityCertificate,
    credentials: Option<Credentials>,
    expected: Expected,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    config(Trust::Authority { authority, expected }, credentials)
}

/// The configuration of a client that knows nothing of the cluster but the fingerprint of its authority. The server must
/// send the authority's certificate along, as members do.
///
/// # Errors
/// As [`client_config`].
pub fn joining_config(fingerprint: Digest) -> Result<Arc<ClientConfig>, rustls::Error> {
    config(Trust::Fingerprint(fingerprint), None)
}

fn config(trust: Trust, credentials: Option<Credentials>) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { trust, provider }));
    let mut config = match credentials {
        Some(credentials) => builder.with_client_cert_resolver(Arc::new(credentials)),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols();
    config.resumption = Resumption::disabled();
    // The name is not checked, so it need not be sent.
    config.enable_sni = false;
    Ok(Arc::new(config))
}

#[derive(Debug)]
enum Trust {
    Authority { authority: AuthorityCertificate, expected: Expected },
    Fingerprint(Digest),
}

impl Trust {
    fn verify(&self, leaf: &CertificateDer<'_>, sent: &[CertificateDer<'_>], now: Timestamp) -> Result<(), Distrusted> {
        match self {
            Trust::Authority { authority, expected } => {
                let expected = match expected {
                    Expected::AnyMember => None,
                    Expected::Member(member) => Some(*member),
                };
                verify_server(authority, leaf, expected, now).map(drop)
            }
            Trust::Fingerprint(pinned) => {
                let authority = sent.iter().find(|certificate| Digest::of(certificate).same(pinned));
                let authority = AuthorityCertificate::read(authority.ok_or(Distrusted::OtherAuthority)?)?;
                verify_server(&authority, leaf, None, now).map(drop)
            }
        }
    }
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.trust.verify(leaf, sent, Timestamp(now.as_secs().saturating_mul(1000)))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
