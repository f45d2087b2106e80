//! Sealing: what must not be read from a disk, a snapshot or a backup is encrypted with a key that is in none of them.
//!
//! The form is one byte 1, the version of the key (4 bytes, big-endian), a random nonce (12 bytes), and ChaCha20-Poly1305
//! (RFC 8439) of the value with its tag. The key is HKDF-SHA-256 (RFC 5869) of the cluster key with salt
//! `orlop seal 1` and as info the purpose, a zero byte, and the version of the key. Purpose, name and version of the value
//! are authenticated with it, so that a sealed value cannot be put in another's place.

mod file;
mod weak;

pub use file::KeyFileError;
pub use weak::{Weak, weakness};

use crate::random::{self, NoRandomness};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::SecureRandom;

const FORM: u8 = 1;
const HEADER: usize = 1 + 4;

/// The 32 random bytes that unseal what the state keeps sealed. Each member has them in a file that only it reads.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterKey([u8; 32]);

impl std::fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterKey(…)")
    }
}

/// What a sealed value is for. A key for one purpose opens nothing of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The key of the cluster's authority.
    Authority,
    /// Keys that sign operators' tokens.
    Signing,
    /// Secrets of operators.
    Secret,
}

impl Purpose {
    fn name(self) -> &'static [u8] {
        match self {
            Purpose::Authority => b"authority",
            Purpose::Signing => b"signing",
            Purpose::Secret => b"secret",
        }
    }
}

/// Which value is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject<'a> {
    /// What for.
    pub purpose: Purpose,
    /// The name of the value.
    pub name: &'a str,
    /// The version of the value.
    pub version: u64,
}

impl Subject<'_> {
    fn authenticated(&self) -> Vec<u8> {
        let mut bytes = self.purpose.name().to_vec();
        bytes.push(0);
        bytes.extend(self.version.to_be_bytes());
        bytes.extend(self.name.as_bytes());
        bytes
    }
}

/// A sealed value that cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsealable {
    /// Not a sealed value, or of a later version.
    #[error("the sealed value of {0} has a form that this version does not know; run the version that wrote it")]
    Form(String),
    /// Another key sealed it, it is another value, or it was changed.
    #[error(
        "the value of {0} cannot be unsealed: the cluster key of this member is not the one that sealed it, or the value \
         was changed; put the cluster key of another member, or of the backup, in place"
    )]
    Refused(String),
}

impl ClusterKey {
    /// A new key.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate(random: &dyn SecureRandom) -> Result<Self, NoRandomness> {
        Self::from_bytes(random::bytes(random)?).map_err(|_| NoRandomness)
    }

    /// The key of these bytes.
    ///
    /// # Errors
    /// When they are not random.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, Weak> {
        weakness(&bytes)?;
        Ok(Self(bytes))
    }

    /// The bytes, for another member.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Seals a value with a version of the key; every version is another key.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn seal(
        &self,
        subject: Subject<'_>,
        key_version: u32,
        value: &[u8],
        random: &dyn SecureRandom,
    ) -> Result<Vec<u8>, NoRandomness> {
        let nonce = random::bytes::<NONCE_LEN>(random)?;
        let mut sealed = Vec::with_capacity(HEADER + NONCE_LEN + value.len() + CHACHA20_POLY1305.tag_len());
        sealed.push(FORM);
        sealed.extend(key_version.to_be_bytes());
        sealed.extend(nonce);
        let mut encrypted = value.to_vec();
        let key = self.derive(subject.purpose, key_version);
        let aad = Aad::from(subject.authenticated());
        // The one failure is a value longer than 256 GiB.
        let sealing = key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut encrypted);
        sealing.map_err(|_| NoRandomness)?;
        sealed.append(&mut encrypted);
        Ok(sealed)
    }

    /// Opens what [`seal`](Self::seal) made of the same subject.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn open(&self, subject: Subject<'_>, sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        let form = || Unsealable::Form(subject.name.to_owned());
        let key_version = key_version(sealed).ok_or_else(form)?;
        let (nonce, encrypted) = sealed[HEADER..].split_first_chunk::<NONCE_LEN>().ok_or_else(form)?;
        let mut value = encrypted.to_vec();
        let key = self.derive(subject.purpose, key_version);
        let aad = Aad::from(subject.authenticated());
        let opened = key.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut value);
        let length = opened.map_err(|_| Unsealable::Refused(subject.name.to_owned()))?.len();
        value.truncate(length);
        Ok(value)
    }

    fn derive(&self, purpose: Purpose, key_version: u32) -> LessSafeKey {
        let prk = Salt::new(HKDF_SHA256, b"orlop seal 1").extract(&self.0);
        let version = key_version.to_be_bytes();
        let info = [purpose.name(), &[0], &version];
        #[expect(clippy::expect_used, reason = "HKDF-SHA-256 gives up to 8160 bytes, and the key has 32")]
        let okm = prk.expand(&info, &CHACHA20_POLY1305).expect("the length of the key is within HKDF's bound");
        LessSafeKey::new(UnboundKey::from(okm))
    }
}

/// The version of the key that a value is sealed with; `None` when it is no sealed value.
pub fn key_version(sealed: &[u8]) -> Option<u32> {
    let (form, rest) = sealed.split_first()?;
    let (version, _) = rest.split_first_chunk::<4>()?;
    (*form == FORM).then(|| u32::from_be_bytes(*version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ring::rand::SystemRandom;

    fn key(first: u8) -> ClusterKey {
        ClusterKey::from_bytes(orlop_model::trust::Digest::of(&[first]).0).unwrap()
    }

    const SUBJECT: Subject<'static> = Subject { purpose: Purpose::Secret, name: "api-key", version: 3 };

    /// What version 0.1 sealed must be opened for ever; made with an independent implementation.
    #[test]
    fn a_value_that_was_sealed_long_ago_is_opened() {
        let hex = "01000000026465666768696a6b6c6d6e6f4fa88003a52e1b3c44c79d7146889eb2dce82f9ec96c71";
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let sealed: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        assert_eq!(key(0).open(SUBJECT, &sealed), Ok(b"hunter2".to_vec()));
    }

    #[test]
    fn a_sealed_value_opens_only_as_what_it_is() {
        let random = SystemRandom::new();
        let sealed = key(0).seal(SUBJECT, 2, b"hunter2", &random).unwrap();
        assert_eq!(key_version(&sealed), Some(2));
        assert!(!sealed.windows(7).any(|w| w == b"hunter2"));
        assert_ne!(sealed, key(0).seal(SUBJECT, 2, b"hunter2", &random).unwrap(), "the nonce is new each time");
        let refused = |key: &ClusterKey, subject| key.open(subject, &sealed).unwrap_err();
        assert_eq!(refused(&key(1), SUBJECT), Unsealable::Refused("api-key".into()));
        for other in [
            Subject { name: "api-kez", ..SUBJECT },
            Subject { version: 4, ..SUBJECT },
            Subject { purpose: Purpose::Signing, ..SUBJECT },
            Subject { purpose: Purpose::Authority, ..SUBJECT },
        ] {
            assert!(matches!(refused(&key(0), other), Unsealable::Refused(_)), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_sealed_is_opened_and_what_was_changed_is_not(
            value in proptest::collection::vec(any::<u8>(), 0..200),
            version in any::<u32>(),
            at in any::<prop::sample::Index>(),
            bit in 0..8u8,
        ) {
            let mut sealed = key(0).seal(SUBJECT, version, &value, &SystemRandom::new()).unwrap();
            prop_assert_eq!(key(0).open(SUBJECT, &sealed), Ok(value));
            let cut = at.index(sealed.len());
            prop_assert!(key(0).open(SUBJECT, &sealed[..cut]).is_err());
            sealed[cut] ^= 1 << bit;
            prop_assert!(key(0).open(SUBJECT, &sealed).is_err());
        }
    }
}
