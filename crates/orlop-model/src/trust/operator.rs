//! People and their tools.

use super::{DeploymentPattern, Role};
use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The name of an operator: 1–64 characters of a–z, 0–9 and `.` `_` `-` `@` `+`, so that a mail address is one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperatorName(Arc<str>);

/// What was wrong with an operator's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not an operator's name: expected 1–64 characters of a–z, 0–9 and . _ - @ +")]
pub struct InvalidOperatorName {
    /// What was found instead, cut at 80 characters.
    pub found: String,
}

impl OperatorName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OperatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for OperatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Borrow<str> for OperatorName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for OperatorName {
    type Err = InvalidOperatorName;

    fn from_str(text: &str) -> Result<Self, InvalidOperatorName> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-@+".contains(&c);
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidOperatorName { found: text.chars().take(80).collect() })
        }
    }
}

/// Somebody who may call the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// The name, unique in the cluster.
    pub name: OperatorName,
    /// What kind of thing the operator may do.
    pub role: Role,
    /// To which deployments; never empty.
    pub deployments: Vec<DeploymentPattern>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_address_names_an_operator_and_a_path_does_not() {
        for good in ["anna", "anna.b+ci@example.org", "x", &"a".repeat(64)] {
            assert!(good.parse::<OperatorName>().is_ok(), "{good:?}");
        }
        for bad in ["", "Anna", "a/b", "a b", "änna", &"a".repeat(65)] {
            assert!(bad.parse::<OperatorName>().is_err(), "{bad:?}");
        }
    }
}
