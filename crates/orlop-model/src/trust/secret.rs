//! Names of secrets.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The name of a secret of the cluster: 1–253 characters, letters, digits, `-`, `_` and `.`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName(Arc<str>);

/// What was wrong with the name of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not the name of a secret: expected 1–253 letters, digits, -, _ and .")]
pub struct InvalidSecretName {
    /// What was found instead, cut at 80 characters.
    pub found: String,
}

impl SecretName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Borrow<str> for SecretName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretName {
    type Err = InvalidSecretName;

    fn from_str(text: &str) -> Result<Self, InvalidSecretName> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b"_.-".contains(&c);
        if (1..=253).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidSecretName { found: text.chars().take(80).collect() })
        }
    }
}

/// The most bytes that a secret has.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;

/// The value of a secret. Its debug form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(pub Arc<[u8]>);

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretValue({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_like_a_file_and_is_no_path() {
        for good in ["api-key", "TLS_KEY.pem", "1", &"a".repeat(253)] {
            assert!(good.parse::<SecretName>().is_ok(), "{good:?}");
        }
        for bad in ["", "a/b", "a b", "ü", &"a".repeat(254)] {
            assert!(bad.parse::<SecretName>().is_err(), "{bad:?}");
        }
    }
}
