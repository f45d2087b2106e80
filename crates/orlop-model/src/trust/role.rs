//! What an operator may do, and to which deployments.

use crate::DeploymentName;
use std::fmt;
use std::str::FromStr;

/// What kind of thing an operator may do. A higher role may do all that a lower one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Looks.
    Viewer,
    /// Changes deployments.
    Deployer,
    /// Changes the cluster.
    Admin,
}

impl Role {
    /// All roles, from the least on.
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Deployer, Role::Admin];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Role::Viewer => "viewer",
            Role::Deployer => "deployer",
            Role::Admin => "admin",
        })
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Role::ALL.into_iter().find(|role| role.to_string() == text);
        found.ok_or_else(|| format!("{:?} is not a role: expected viewer, deployer or admin", cut(text)))
    }
}

/// The deployments that an operator is limited to: one by its name, all whose names begin alike (`shop-*`), or all (`*`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeploymentPattern(String);

/// What was wrong with a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a pattern of deployments: expected a name (shop), the beginning of names (shop-*), or *")]
pub struct InvalidPattern {
    /// What was found instead, cut at 80 characters.
    pub found: String,
}

impl DeploymentPattern {
    /// The pattern that every deployment matches.
    pub fn all() -> Self {
        Self("*".to_owned())
    }

    /// Does every deployment match, also those to come?
    pub fn is_all(&self) -> bool {
        self.0 == "*"
    }

    /// Is the deployment meant?
    pub fn matches(&self, deployment: &DeploymentName) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => deployment.as_str().starts_with(beginning),
            None => deployment.as_str() == self.0,
        }
    }
}

impl fmt::Display for DeploymentPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for DeploymentPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for DeploymentPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let good = match text.strip_suffix('*') {
            Some(beginning) => {
                let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
                beginning.len() < 63 && beginning.bytes().all(allowed) && !beginning.starts_with('-')
            }
            None => text.parse::<DeploymentName>().is_ok(),
        };
        if good { Ok(Self(text.to_owned())) } else { Err(InvalidPattern { found: cut(text) }) }
    }
}

/// May somebody with the role and the patterns do what needs at least `needed`, to a deployment or, with `None`, to the
/// cluster as a whole? For the whole one of the patterns has to be `*`.
pub fn may(role: Role, patterns: &[DeploymentPattern], needed: Role, deployment: Option<&DeploymentName>) -> bool {
    let covered = match deployment {
        Some(deployment) => patterns.iter().any(|pattern| pattern.matches(deployment)),
        None => patterns.iter().any(DeploymentPattern::is_all),
    };
    role >= needed && covered
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<DeploymentPattern> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_pattern_is_a_name_a_beginning_or_all() {
        for (pattern, matched, not) in [
            ("shop", &["shop"][..], &["shop-eu", "sho", "workshop"][..]),
            ("shop-*", &["shop-eu", "shop-1"], &["shop", "workshop-eu"]),
            ("*", &["shop", "abc"], &[]),
            ("s*", &["shop"], &["abc"]),
        ] {
            let pattern: DeploymentPattern = pattern.parse().unwrap();
            let matches = |name: &&str| pattern.matches(&name.parse().unwrap());
            // A name of a deployment has at least three characters.
            assert!(matched.iter().all(matches), "{pattern}");
            assert!(!not.iter().any(matches), "{pattern}");
        }
        for wrong in ["", "**", "a*b", "*-eu", "Shop", "-a*", "sh", "shop/*", &format!("{}*", "a".repeat(63))] {
            assert!(wrong.parse::<DeploymentPattern>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_role_covers_the_lower_ones_within_its_deployments() {
        let shop: DeploymentName = "shop".parse().unwrap();
        let other: DeploymentName = "other".parse().unwrap();
        for (i, role) in Role::ALL.into_iter().enumerate() {
            for (j, needed) in Role::ALL.into_iter().enumerate() {
                assert_eq!(may(role, &patterns(&["shop"]), needed, Some(&shop)), i >= j, "{role} for {needed}");
                assert_eq!(may(role, &patterns(&["shop", "*"]), needed, None), i >= j, "{role} for {needed}");
                assert!(!may(role, &patterns(&["shop"]), needed, Some(&other)));
                assert!(!may(role, &patterns(&["shop", "s*"]), needed, None));
                assert!(!may(role, &[], needed, Some(&shop)));
            }
        }
    }

    #[test]
    fn a_role_reads_back() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert!("root".parse::<Role>().is_err());
    }
}
