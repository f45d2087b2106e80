//! Operators' tokens: JSON Web Tokens (RFC 7519) signed with Ed25519 (`EdDSA`, RFC 8037).
//!
//! A token says who and until when. What the operator may do stands in the cluster's state, so that a change of role or
//! a removal acts at once. Only one form of header is taken, so that a token cannot choose how it is checked.

use crate::random::{self, NoRandomness};
use crate::seal::{Weak, weakness};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use orlop_model::trust::{OPERATOR_TOKEN_LIFETIME_MAX, OperatorName, SigningKeyId};
use orlop_model::{ClusterId, Millis, OperatorTokenId, Timestamp};
use ring::rand::SecureRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

/// The longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 1024;
/// By how much clocks of members may differ.
pub const SKEW: Millis = Millis::from_secs(60);

const ALGORITHM: &str = "EdDSA";
const TYPE: &str = "JWT";

/// A key that signs tokens.
pub struct SigningKey {
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public().id()).finish()
    }
}

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate(random: &dyn SecureRandom) -> Result<Self, NoRandomness> {
        Self::from_seed(random::bytes(random)?).map_err(|_| NoRandomness)
    }

    /// The key that a seed makes (RFC 8032, 5.1.5).
    ///
    /// # Errors
    /// When the seed is not random.
    pub fn from_seed(seed: [u8; 32]) -> Result<Self, Weak> {
        weakness(&seed)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| Weak::NotRandom)?;
        Ok(Self { seed, pair })
    }

    /// The secret half, to be sealed.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The public half.
    pub fn public(&self) -> VerifyingKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.pair.public_key().as_ref());
        VerifyingKey(key)
    }

    /// Signs a token for an operator of a cluster.
    pub fn sign(&self, cluster: ClusterId, claims: &Claims) -> String {
        let header = Header { alg: ALGORITHM.into(), typ: TYPE.into(), kid: self.public().id().to_string() };
        let body = Body {
            iss: cluster.to_string(),
            sub: claims.operator.to_string(),
            jti: claims.token.to_string(),
            iat: claims.issued_at.0 / 1000,
            exp: claims.expires_at.0 / 1000,
        };
        #[expect(clippy::expect_used, reason = "both have texts and numbers only")]
        let part =
            |json: serde_json::Result<Vec<u8>>| URL_SAFE_NO_PAD.encode(json.expect("a token is written as JSON"));
        let signed = format!("{}.{}", part(serde_json::to_vec(&header)), part(serde_json::to_vec(&body)));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

/// The public half of a key that signs tokens: Ed25519, 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey(pub [u8; 32]);

impl VerifyingKey {
    /// The first 64 bits of the SHA-256 of the key; it stands in the header of tokens as `kid`.
    pub fn id(&self) -> SigningKeyId {
        SigningKeyId::of(&self.0)
    }
}

/// A key whose tokens are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedKey {
    /// The key.
    pub key: VerifyingKey,
    /// From then on what it signed is refused; `None` for the key that signs now.
    pub retires_at: Option<Timestamp>,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Who presents it.
    pub operator: OperatorName,
    /// Which token it is, to revoke it by.
    pub token: OperatorTokenId,
    /// When it was made; whole seconds.
    pub issued_at: Timestamp,
    /// From then on it is refused; whole seconds.
    pub expires_at: Timestamp,
}

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// It has not the form that this cluster makes.
    #[error("the token is not one that Orlop made: {0}; log in again with a token from `orlopctl operator token`")]
    Malformed(&'static str),
    /// No key of that id, or not any more.
    #[error("the token was signed by key {0}, which this cluster does not trust (any more); log in with a new token")]
    UnknownKey(SigningKeyId),
    /// The signature is wrong.
    #[error("the token's signature is wrong: it was changed or forged; log in with a new token")]
    Forged,
    /// It is of another cluster.
    #[error("the token is of another cluster; use the context of this one")]
    OtherCluster,
    /// It has expired.
    #[error("the token has expired; log in with a new token from `orlopctl operator token`")]
    Expired,
    /// It begins later.
    #[error("the token begins in the future; compare the clocks of the members")]
    NotYet,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    iss: String,
    sub: String,
    jti: String,
    iat: u64,
    exp: u64,
}

/// What a token says, if one of the keys signed it, it is of this cluster, and now lies within its time. Whether the
/// operator still exists and the token was revoked, the caller looks up.
///
/// # Errors
/// Why it is refused.
pub fn verify(token: &str, cluster: ClusterId, keys: &[TrustedKey], now: Timestamp) -> Result<Claims, TokenRefused> {
    use TokenRefused::{Expired, Forged, Malformed, NotYet, OtherCluster, UnknownKey};
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Malformed("it is too long"));
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(Malformed("it has not three parts"))?;
    let (header, body) = signed.split_once('.').ok_or(Malformed("it has not three parts"))?;
    let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Malformed("a part is not base64url"));
    let header = serde_json::from_slice::<Header>(&bytes(header)?);
    let header = header.map_err(|_| Malformed("its header has not alg, typ and kid alone"))?;
    if header.alg != ALGORITHM || header.typ != TYPE {
        return Err(Malformed("only alg EdDSA and typ JWT are taken"));
    }
    let id: SigningKeyId = header.kid.parse().map_err(|_| Malformed("kid is not the id of a key"))?;
    let trusted = keys.iter().find(|k| k.key.id() == id && k.retires_at.is_none_or(|at| now < at));
    let trusted = trusted.ok_or(UnknownKey(id))?;
    let signature = bytes(signature)?;
    let good = UnparsedPublicKey::new(&ED25519, trusted.key.0).verify(signed.as_bytes(), &signature);
    good.map_err(|_| Forged)?;

    let body = serde_json::from_slice::<Body>(&bytes(body)?);
    let body = body.map_err(|_| Malformed("its claims are not iss, sub, jti, iat and exp"))?;
    if body.iss != cluster.to_string() {
        return Err(OtherCluster);
    }
    let seconds = |seconds: u64| Timestamp(seconds.saturating_mul(1000));
    let (issued_at, expires_at) = (seconds(body.iat), seconds(body.exp));
    if expires_at <= issued_at || expires_at - issued_at > OPERATOR_TOKEN_LIFETIME_MAX {
        return Err(Malformed("its time is not between one second and 366 days"));
    }
    if now >= expires_at + SKEW {
        return Err(Expired);
    }
    if issued_at > now + SKEW {
        return Err(NotYet);
    }
    Ok(Claims {
        operator: body.sub.parse().map_err(|_| Malformed("sub is not an operator's name"))?,
        token: body.jti.parse().map_err(|_| Malformed("jti is not a token's id"))?,
        issued_at,
        expires_at,
    })
}

#[cfg(test)]
mod tests;
