//! Key pairs, and requests for certificates.

use rcgen::{CertificateParams, CertificateSigningRequestParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls::pki_types::{CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The largest request that is looked at, in bytes; one of ours has about 250.
const REQUEST_BYTES_MAX: usize = 4096;

/// A private key: ECDSA on P-256, kept as PKCS #8.
pub struct PrivateKey(PrivatePkcs8KeyDer<'static>);

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

impl Clone for PrivateKey {
    fn clone(&self) -> Self {
        Self(self.0.clone_key())
    }
}

impl PrivateKey {
    /// A new key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, rcgen::Error> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        Ok(Self(pair.serialize_der().into()))
    }

    /// Reads a key as [`der`](Self::der) gave it.
    ///
    /// # Errors
    /// When it is not an ECDSA key on P-256 in PKCS #8.
    pub fn read(der: &[u8]) -> Result<Self, rcgen::Error> {
        let key = Self(PrivatePkcs8KeyDer::from(der.to_vec()));
        key.pair()?;
        Ok(key)
    }

    /// PKCS #8, DER. Whoever has it is who its certificate names.
    pub fn der(&self) -> &[u8] {
        self.0.secret_pkcs8_der()
    }

    /// The key in the form that rustls takes.
    pub fn rustls(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.0.clone_key())
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        #[expect(clippy::expect_used, reason = "it was read when the value was made")]
        let pair = self.pair().expect("a PrivateKey holds a readable key");
        #[expect(clippy::expect_used, reason = "rcgen reads what it writes")]
        PublicKey::read(&pair.subject_public_key_info()).expect("the public half of a key is a public key")
    }

    /// A request for a certificate: PKCS #10, DER, signed by the key. It names nobody; who the holder is, the authority
    /// decides.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn request(&self) -> Result<Vec<u8>, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        Ok(params.serialize_request(&self.pair()?)?.der().to_vec())
    }

    pub(super) fn pair(&self) -> Result<KeyPair, rcgen::Error> {
        KeyPair::from_pkcs8_der_and_sign_algo(&self.0, &PKCS_ECDSA_P256_SHA256)
    }
}

/// A public key, ECDSA on P-256, whose holder may be certified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(pub(super) rcgen::SubjectPublicKeyInfo);

/// A request for a certificate that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// Longer than any request of ours.
    #[error("the request for a certificate has {0} bytes; at most {REQUEST_BYTES_MAX} are read")]
    TooLong(usize),
    /// Not a signed request.
    #[error("the request for a certificate cannot be read, or is not signed by its own key: {0}")]
    Unreadable(String),
    /// Another kind of key.
    #[error("the request for a certificate has a key of another kind: only ECDSA on P-256 is taken")]
    OtherAlgorithm,
}

impl PublicKey {
    /// The key of a request, which proves by its signature that who asks has the private half.
    ///
    /// # Errors
    /// When it is no request, the signature is wrong, or the key is not ECDSA on P-256.
    pub fn of_request(der: &[u8]) -> Result<Self, InvalidRequest> {
        if der.len() > REQUEST_BYTES_MAX {
            return Err(InvalidRequest::TooLong(der.len()));
        }
        let unreadable = |e: rcgen::Error| InvalidRequest::Unreadable(e.to_string());
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der));
        Self::read(&request.map_err(unreadable)?.public_key.subject_public_key_info())
    }

    /// Reads a SubjectPublicKeyInfo, DER.
    ///
    /// # Errors
    /// When it is none, or not of ECDSA on P-256.
    pub fn read(spki: &[u8]) -> Result<Self, InvalidRequest> {
        let unreadable = |e: rcgen::Error| InvalidRequest::Unreadable(e.to_string());
        let key = rcgen::SubjectPublicKeyInfo::from_der(spki).map_err(unreadable)?;
        if key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(InvalidRequest::OtherAlgorithm);
        }
        Ok(Self(key))
    }

    /// SubjectPublicKeyInfo, DER.
    pub fn spki(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }
}
