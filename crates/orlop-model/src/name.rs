//! Names that people choose. All are DNS labels, because services are found by DNS.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

/// What was wrong with a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is not a {kind} name: expected {min}–63 characters of a–z, 0–9 and -, beginning and ending with a letter or digit"
)]
pub struct InvalidName {
    /// Which kind of name was expected ("service").
    pub kind: &'static str,
    /// The fewest characters allowed.
    pub min: usize,
    /// What was found instead, cut at 80 characters.
    pub found: String,
}

fn is_label(text: &str, min: usize) -> bool {
    let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    (min..=63).contains(&text.len())
        && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
        && edge(text.bytes().next())
        && edge(text.bytes().last())
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident($kind:literal, min = $min:literal);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if is_label(text, $min) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidName { kind: $kind, min: $min, found: text.chars().take(80).collect() })
                }
            }
        }
    )*};
}

names! {
    /// A deployment: 3–63 characters.
    DeploymentName("deployment", min = 3);
    /// A named port of a service.
    EndpointName("endpoint", min = 1);
    /// A node; by default its host name.
    NodeName("node", min = 1);
    /// A service, unique in its deployment.
    ServiceName("service", min = 1);
    /// An init step, unique in its service.
    StepName("step", min = 1);
    /// A named volume, unique on a node within its deployment.
    VolumeName("volume", min = 1);
}

impl NodeName {
    /// The name that a machine goes by when nobody gave it one: its host name up to the first dot, in lower case, with
    /// `-` for `_`. Every program of a node derives it here, so that they agree.
    ///
    /// # Errors
    /// When what is left is no name.
    pub fn of_host(host: &str) -> Result<Self, InvalidName> {
        host.split('.').next().unwrap_or_default().to_ascii_lowercase().replace('_', "-").parse()
    }
}

/// A service of a deployment; printed and parsed as `deployment/service`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceRef {
    /// The deployment that the service belongs to.
    pub deployment: DeploymentName,
    /// The service's name in it.
    pub service: ServiceName,
}

impl fmt::Display for ServiceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.deployment, self.service)
    }
}

impl FromStr for ServiceRef {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (deployment, service) = text.split_once('/').ok_or_else(|| InvalidName {
            kind: "deployment/service",
            min: 1,
            found: text.chars().take(80).collect(),
        })?;
        Ok(Self { deployment: deployment.parse()?, service: service.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_becomes_a_node_name_or_is_refused() {
        let name = |host| NodeName::of_host(host).map(|name| name.to_string()).ok();
        assert_eq!(name("Build_Box-3.example.org").as_deref(), Some("build-box-3"));
        assert_eq!(name("box").as_deref(), Some("box"));
        for none in ["", ".example.org", "bücher", "-"] {
            assert_eq!(name(none), None, "{none:?}");
        }
    }

    #[test]
    fn names_are_dns_labels() {
        let long = "a".repeat(63);
        for good in ["shop", "a-b", "0x1", &long] {
            assert_eq!(good.parse::<DeploymentName>().map(|n| n.to_string()), Ok(good.to_owned()));
        }
        let too_long = "a".repeat(64);
        for bad in ["", "ab", "-abc", "abc-", "Shop", "sh_op", "sh.op", "sh op", "shöp", &too_long] {
            assert!(bad.parse::<DeploymentName>().is_err(), "{bad:?}");
        }
        assert!("a".parse::<ServiceName>().is_ok());
    }
}
