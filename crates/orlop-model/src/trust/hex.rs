//! Short ids, printed as hexadecimal digits.

use super::Digest;
use std::fmt;
use std::str::FromStr;

/// What was wrong with a string that should have been a short id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not the id of a {kind}: expected {digits} hexadecimal digits")]
pub struct InvalidShortId {
    /// Of what it should have been.
    pub kind: &'static str,
    /// How many digits such an id has.
    pub digits: usize,
    /// What was found instead.
    pub found: String,
}

macro_rules! short_ids {
    ($($(#[$doc:meta])* $name:ident($number:ty, $kind:literal, digits = $digits:literal);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $number);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{:0", $digits, "x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidShortId;

            fn from_str(text: &str) -> Result<Self, InvalidShortId> {
                let digits = text.len() == $digits && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
                let number = <$number>::from_str_radix(text, 16).ok().filter(|_| digits);
                number.map(Self).ok_or_else(|| InvalidShortId {
                    kind: $kind,
                    digits: $digits,
                    found: text.chars().take(64).collect(),
                })
            }
        }
    )*};
}

short_ids! {
    /// A join token; it is part of the token's text, and no secret.
    JoinTokenId(u32, "join token", digits = 8);
    /// A key that signs operators' tokens, derived from its public half.
    SigningKeyId(u64, "signing key", digits = 16);
}

impl SigningKeyId {
    /// The id of a key: the first 64 bits of the SHA-256 of its public half.
    pub fn of(public_key: &[u8; 32]) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = Digest::of(public_key).0;
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_id_has_one_text() {
        assert_eq!(JoinTokenId(0xbeef).to_string(), "0000beef");
        assert_eq!("0000beef".parse(), Ok(JoinTokenId(0xbeef)));
        for wrong in ["beef", "0000BEEF", "+000beef", "0000beef0", "0000bee ", ""] {
            assert!(wrong.parse::<JoinTokenId>().is_err(), "{wrong:?}");
        }
        assert_eq!("00000000000000ff".parse(), Ok(SigningKeyId(255)));
    }
}
