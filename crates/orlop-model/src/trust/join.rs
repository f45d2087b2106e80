//! Join tokens, as the cluster keeps them.

use super::{Digest, JoinTokenId};
use crate::{NodeId, Timestamp};

/// What a token lets join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JoinKind {
    /// A machine with an agent.
    Node,
    /// A control-plane process.
    Member,
}

impl std::fmt::Display for JoinKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            JoinKind::Node => "node",
            JoinKind::Member => "member",
        })
    }
}

/// A join token without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Names it in its text and in lists.
    pub id: JoinTokenId,
    /// What may join with it.
    pub kind: JoinKind,
    /// SHA-256 of the secret.
    pub secret_hash: Digest,
    /// How many more may join with it.
    pub uses_left: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// From then on it is refused.
    pub expires_at: Timestamp,
    /// Only this node may join with it, also when the cluster knows the node already.
    pub node: Option<NodeId>,
}
