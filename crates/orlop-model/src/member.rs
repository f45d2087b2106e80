//! Members of the control plane.

use crate::id::MemberId;
use crate::name::NodeName;
use crate::time::Timestamp;

/// A control-plane process that votes in Raft, or is to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id; never given twice.
    pub id: MemberId,
    /// Its name, unique among the members.
    pub name: NodeName,
    /// Where the others and its callers reach it, as `host:port`.
    pub address: String,
    /// When it was added.
    pub added_at: Timestamp,
}
