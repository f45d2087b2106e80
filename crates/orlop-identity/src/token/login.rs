//! What an operator gives to `orlopctl login`: `orlop1-o-<fingerprint>-<token>-<check>`, so that the first connection
//! already knows the cluster's authority.

use super::InvalidToken;
use super::join::check;
use crate::base32;
use orlop_model::trust::Digest;
use std::fmt;
use std::str::FromStr;

/// A token of an operator with the fingerprint of the authority.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// SHA-256 of the certificate of the cluster's authority.
    pub fingerprint: Digest,
    /// The signed token, as it goes into the `authorization` header.
    pub token: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("orlop1-o-{}-{}", base32::encode(&self.fingerprint.0), self.token);
        write!(f, "{text}-{}", check(&text))
    }
}

impl FromStr for Login {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let form = || InvalidToken::Form { expected: "login", beginning: "orlop1-o-", length: "a few hundred" };
        let rest = text.strip_prefix("orlop1-o-").ok_or_else(form)?;
        let (fingerprint, rest) = rest.split_once('-').ok_or_else(form)?;
        // A signed token may have dashes of its own; the check has none.
        let (token, sum) = rest.rsplit_once('-').ok_or_else(form)?;
        if sum.len() != 7 || token.is_empty() {
            return Err(form());
        }
        if check(&text[..text.len() - 8]) != sum {
            return Err(InvalidToken::Miscopied);
        }
        let fingerprint = Digest(base32::decode(fingerprint).ok_or(InvalidToken::Miscopied)?);
        Ok(Self { fingerprint, token: token.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_reads_back_and_shows_when_it_was_miscopied() {
        let login = Login { fingerprint: Digest::of(b"authority"), token: "ey-J.a-b_c.d-".into() };
        let text = login.to_string();
        assert_eq!(text.parse(), Ok(login));
        assert_eq!(text.replace("a-b_c", "a-b_d").parse::<Login>(), Err(InvalidToken::Miscopied));
        for wrong in ["", "orlop1-o-", "orlop1-o-x-y", &text[..text.len() - 1], &text["orlop1-o-".len()..], "ü-------"]
        {
            assert!(wrong.parse::<Login>().is_err(), "{wrong:?}");
        }
    }
}
