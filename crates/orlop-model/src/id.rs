//! Ids carry their kind when printed (`rep_…`), so that a pasted id explains itself, and cannot be swapped for one
//! another.

use std::fmt;
use std::str::FromStr;

/// What was wrong with a string that should have been an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a {kind} id: expected {kind}_ and 32 hexadecimal digits")]
pub struct InvalidId {
    /// The kind that was expected, as its prefix (`rep`).
    pub kind: &'static str,
    /// What was found instead.
    pub found: String,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(uuid::Uuid);

        impl $name {
            /// The prefix of a printed id, without the underscore.
            pub const KIND: &'static str = $prefix;

            /// Makes an id of 128 bits that the caller took from a clock and a random source (version 7 is customary).
            pub const fn from_u128(bits: u128) -> Self {
                Self(uuid::Uuid::from_u128(bits))
            }

            /// The bits of the id.
            pub const fn as_u128(&self) -> u128 {
                self.0.as_u128()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}_{}", $prefix, self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix(concat!($prefix, "_"))
                    .filter(|hex| hex.len() == 32)
                    .and_then(|hex| uuid::Uuid::try_parse(hex).ok())
                    .map(Self)
                    .ok_or_else(|| InvalidId { kind: $prefix, found: text.chars().take(64).collect() })
            }
        }
    )*};
}

ids! {
    /// A cluster, made once at its first start; a follower that meets another cluster throws its cache away.
    ClusterId = "clu";
    /// A machine with an agent; made by the agent at its first start and kept in its data directory.
    NodeId = "node";
    /// One instance of a service placed on a node. A replacement has a new id in the same slot.
    ReplicaId = "rep";
    /// One stream between an operator and a node: logs, exec, an image import.
    SessionId = "ses";
    /// A token of an operator, to revoke it by.
    OperatorTokenId = "tok";
    /// One execution of a workflow, from its start to its end.
    WorkflowRunId = "wfr";
    /// One call of a durable function through a queue, with all its attempts.
    TaskId = "task";
    /// One stream between a worker and an engine.
    WorkerSessionId = "wses";
}

/// A control-plane process that votes in Raft. The first member of a cluster is 1; a later one has the index, in the
/// log, of the command that added it, so that no number is given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

impl MemberId {
    /// The member that made the cluster.
    pub const FIRST: MemberId = MemberId(1);
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads decimal digits as [`fmt::Display`] prints them: no sign, no leading zero.
impl FromStr for MemberId {
    type Err = InvalidMemberId;

    fn from_str(text: &str) -> Result<Self, InvalidMemberId> {
        let canonical = text.bytes().all(|c| c.is_ascii_digit()) && !text.starts_with('0');
        let number = text.parse().ok().filter(|_| canonical);
        number.map(Self).ok_or_else(|| InvalidMemberId { found: text.chars().take(64).collect() })
    }
}

/// What was wrong with a string that should have been a member's number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a member: expected a number from 1 on")]
pub struct InvalidMemberId {
    /// What was found instead.
    pub found: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_prints_its_kind_and_reads_back() {
        let id = ReplicaId::from_u128(0x0192_3456_789a_7bcd_8ef0_1234_5678_9abc);
        assert_eq!(id.to_string(), "rep_01923456789a7bcd8ef0123456789abc");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn an_id_of_another_kind_or_length_is_refused() {
        for text in
            ["node_0192345678 9a7bcd8ef0123456789abc", "rep_12", "", "rep_", "0192345678-9a7b-cd8e-f012-3456789abc"]
        {
            assert!(text.parse::<ReplicaId>().is_err(), "{text}");
        }
        assert!("node_0192345678909a7bcd8ef0123456789a".parse::<ReplicaId>().is_err());
    }
}
