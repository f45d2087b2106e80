//! What a certificate says of whoever holds it.

use orlop_model::{ClusterId, MemberId, NodeId};
use std::fmt;
use std::str::FromStr;

/// A program that is neither member nor node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProgramRole {
    /// A scheduler.
    Scheduler,
}

impl ProgramRole {
    /// All roles.
    pub const ALL: [ProgramRole; 1] = [ProgramRole::Scheduler];
}

impl fmt::Display for ProgramRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProgramRole::Scheduler => "scheduler",
        })
    }
}

/// Who the holder of a certificate is. Printed and read as the URI that stands in the certificate:
/// `orlop://<clu_…>/member/<n>`, `orlop://<clu_…>/node/<node_…>`, `orlop://<clu_…>/role/<scheduler>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// A control-plane process.
    Member {
        /// Of which cluster.
        cluster: ClusterId,
        /// Which one.
        member: MemberId,
    },
    /// A machine; all programs on it share its identity.
    Node {
        /// Of which cluster.
        cluster: ClusterId,
        /// Which one.
        node: NodeId,
    },
    /// A program of the cluster that is bound to no machine.
    Role {
        /// Of which cluster.
        cluster: ClusterId,
        /// Which kind of program.
        role: ProgramRole,
    },
}

impl Identity {
    /// The cluster that it belongs to.
    pub fn cluster(&self) -> ClusterId {
        match self {
            Identity::Member { cluster, .. } | Identity::Node { cluster, .. } | Identity::Role { cluster, .. } => {
                *cluster
            }
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Member { cluster, member } => write!(f, "orlop://{cluster}/member/{member}"),
            Identity::Node { cluster, node } => write!(f, "orlop://{cluster}/node/{node}"),
            Identity::Role { cluster, role } => write!(f, "orlop://{cluster}/role/{role}"),
        }
    }
}

/// A text that names no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no identity: expected orlop://clu_…/member/<number>, /node/node_… or /role/scheduler")]
pub struct InvalidIdentity {
    /// What was found instead, cut at 120 characters.
    pub found: String,
}

impl FromStr for Identity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        let read = || {
            let mut parts = text.strip_prefix("orlop://")?.split('/');
            let (cluster, kind, name) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
            let identity = match kind {
                "member" => Identity::Member { cluster, member: name.parse().ok()? },
                "node" => Identity::Node { cluster, node: name.parse().ok()? },
                "role" => {
                    let role = ProgramRole::ALL.into_iter().find(|role| role.to_string() == name)?;
                    Identity::Role { cluster, role }
                }
                _ => return None,
            };
            // One identity has one text: an id in capitals would be read above, and is no identity.
            (parts.next().is_none() && identity.to_string() == text).then_some(identity)
        };
        read().ok_or_else(|| InvalidIdentity { found: text.chars().take(120).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_has_one_text_and_reads_back() {
        let cluster = ClusterId::from_u128(7);
        let clu = "clu_00000000000000000000000000000007";
        for (identity, text) in [
            (Identity::Member { cluster, member: MemberId(42) }, format!("orlop://{clu}/member/42")),
            (
                Identity::Node { cluster, node: NodeId::from_u128(0xab) },
                format!("orlop://{clu}/node/node_000000000000000000000000000000ab"),
            ),
            (Identity::Role { cluster, role: ProgramRole::Scheduler }, format!("orlop://{clu}/role/scheduler")),
        ] {
            assert_eq!(identity.to_string(), text);
            assert_eq!(text.parse(), Ok(identity));
            for wrong in [
                format!("{text}/"),
                format!(" {text}"),
                format!("{text}?a"),
                text.replace("orlop:", "spiffe:"),
                text.replace("orlop://", "orlop://x@"),
                text.replace("clu_0", "clu_"),
                text.replace("clu_", "node_"),
            ] {
                assert!(wrong.parse::<Identity>().is_err(), "{wrong}");
            }
        }
        for wrong in [
            format!("orlop://{clu}/member/0"),
            format!("orlop://{clu}/member/01"),
            format!("orlop://{clu}/member/+1"),
            format!("orlop://{clu}/member/"),
            format!("orlop://{clu}/role/admin"),
            format!("orlop://{clu}/node/node_000000000000000000000000000000AB"),
            format!("orlop://{clu}/operator/anna"),
            format!("orlop://{clu}"),
            String::new(),
        ] {
            assert!(wrong.parse::<Identity>().is_err(), "{wrong}");
        }
    }
}
