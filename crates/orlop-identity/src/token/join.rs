//! Join tokens: `orlop1-n-<fingerprint>-<id>-<secret>-<check>`, `m` for a member in place of `n`.
//!
//! The fingerprint is the SHA-256 of the authority's certificate, so that who joins knows the cluster before it says
//! anything; the secret has 256 random bits; both are base 32 in lower case. The check is the first 35 bits of the
//! SHA-256 of all before it, so that a slip of the pen is told from a refusal.

use crate::base32;
use crate::random::{self, NoRandomness};
use orlop_model::trust::{Digest, JoinKind, JoinTokenId};
use ring::rand::SecureRandom;
use std::fmt;
use std::str::FromStr;

/// A join token with its secret, as it is printed once and presented by who joins.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// What may join with it.
    pub kind: JoinKind,
    /// SHA-256 of the certificate of the cluster's authority.
    pub fingerprint: Digest,
    /// Names it.
    pub id: JoinTokenId,
    secret: [u8; 32],
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("kind", &self.kind).field("id", &self.id).finish_non_exhaustive()
    }
}

/// A text that is no token, or is one that was miscopied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// Another form.
    #[error("that is no {expected}: it begins with {beginning} and has {length} characters; copy it whole")]
    Form {
        /// What was expected.
        expected: &'static str,
        /// How one begins.
        beginning: &'static str,
        /// How long one is.
        length: &'static str,
    },
    /// The check does not fit.
    #[error("the token was miscopied: its last seven characters do not fit what stands before them; copy it again")]
    Miscopied,
}

impl JoinToken {
    /// A new token.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn make(kind: JoinKind, fingerprint: Digest, random: &dyn SecureRandom) -> Result<Self, NoRandomness> {
        let id = JoinTokenId(u32::from_be_bytes(random::bytes(random)?));
        Ok(Self { kind, fingerprint, id, secret: random::bytes(random)? })
    }

    /// What the cluster keeps of the secret, and compares.
    pub fn secret_hash(&self) -> Digest {
        Digest::of(&self.secret)
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            JoinKind::Node => 'n',
            JoinKind::Member => 'm',
        };
        let (fingerprint, secret) = (base32::encode(&self.fingerprint.0), base32::encode(&self.secret));
        let text = format!("orlop1-{kind}-{fingerprint}-{}-{secret}", self.id);
        write!(f, "{text}-{}", check(&text))
    }
}

/// The first 35 bits of the SHA-256, in base 32.
pub(super) fn check(text: &str) -> String {
    base32::encode(&Digest::of(text.as_bytes()).0[..5])[..7].to_owned()
}

impl FromStr for JoinToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let form = InvalidToken::Form { expected: "join token", beginning: "orlop1-n- or orlop1-m-", length: "131" };
        let read = || {
            let parts: [&str; 6] = text.split('-').collect::<Vec<_>>().try_into().ok()?;
            let ["orlop1", kind, fingerprint, id, secret, sum] = parts else { return None };
            let kind = match kind {
                "n" => JoinKind::Node,
                "m" => JoinKind::Member,
                _ => return None,
            };
            (fingerprint.len() == 52 && id.len() == 8 && secret.len() == 52 && sum.len() == 7).then_some(())?;
            Some((kind, fingerprint, id, secret, sum))
        };
        let (kind, fingerprint, id, secret, sum) = read().ok_or(form)?;
        if text.strip_suffix(sum).and_then(|before| before.strip_suffix('-')).map(check).as_deref() != Some(sum) {
            return Err(InvalidToken::Miscopied);
        }
        Ok(Self {
            kind,
            fingerprint: Digest(base32::decode(fingerprint).ok_or(InvalidToken::Miscopied)?),
            id: id.parse().map_err(|_| InvalidToken::Miscopied)?,
            secret: base32::decode(secret).ok_or(InvalidToken::Miscopied)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;

    #[test]
    fn a_token_reads_back_and_its_secret_is_not_in_its_debug_form() {
        let random = SystemRandom::new();
        for kind in [JoinKind::Node, JoinKind::Member] {
            let token = JoinToken::make(kind, Digest::of(b"authority"), &random).unwrap();
            let text = token.to_string();
            assert_eq!(text.len(), 131);
            let read: JoinToken = text.parse().unwrap();
            assert_eq!(read, token);
            assert_eq!(read.secret_hash(), token.secret_hash());
            assert!(!format!("{token:?}").contains(&base32::encode(&token.secret)));
            let other = JoinToken::make(kind, Digest::of(b"authority"), &random).unwrap();
            assert_ne!(other.secret_hash(), token.secret_hash());
        }
    }

    /// The form is what people have in their notes and scripts.
    #[test]
    fn the_text_of_a_token_is_what_it_was() {
        let token = JoinToken {
            kind: JoinKind::Node,
            fingerprint: Digest([0xaa; 32]),
            id: JoinTokenId(0x1234_abcd),
            secret: std::array::from_fn(|i| i as u8),
        };
        assert_eq!(
            token.to_string(),
            "orlop1-n-vkvkvkvkvkvkvkvkvkvkvkvkvkvkvkvkvkvkvkvkvkvkvkvkvkva-1234abcd-\
             aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq-jtcscvw"
        );
    }

    #[test]
    fn every_slip_of_one_character_is_seen() {
        let token = JoinToken::make(JoinKind::Node, Digest::of(b"a"), &SystemRandom::new()).unwrap().to_string();
        for at in 0..token.len() {
            let mut wrong = token.clone().into_bytes();
            wrong[at] = if wrong[at] == b'a' { b'b' } else { b'a' };
            let wrong = String::from_utf8(wrong).unwrap();
            assert!(wrong.parse::<JoinToken>().is_err(), "{wrong}");
            if wrong.starts_with("orlop1-n-") && wrong.matches('-').count() == 5 && at > 8 {
                assert_eq!(wrong.parse::<JoinToken>(), Err(InvalidToken::Miscopied));
            }
        }
        for wrong in [&token[1..], &token[..130], &format!("{token} "), "", "orlop1-n----"] {
            assert!(matches!(wrong.parse::<JoinToken>(), Err(InvalidToken::Form { .. })), "{wrong:?}");
        }
    }
}
