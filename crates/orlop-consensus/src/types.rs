//! The types that the consensus protocol is used with. They and everything of openraft stay inside this crate.

use bytes::Bytes;
use openraft::impls::leader_id_adv::LeaderId;
use std::fmt;

openraft::declare_raft_types!(
    /// The protocol's parameters: opaque commands in, opaque answers out, members numbered.
    pub(crate) Types:
        D = Command,
        R = Vec<u8>,
        AsyncRuntime = crate::runtime::Runtime,
);

pub(crate) type LogId = openraft::alias::LogIdOf<Types>;
pub(crate) type Vote = openraft::alias::VoteOf<Types>;
pub(crate) type Entry = openraft::alias::EntryOf<Types>;
pub(crate) type Payload = openraft::alias::PayloadOf<Types>;
pub(crate) type Membership = openraft::Membership<u64, openraft::impls::BasicNode>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;
pub(crate) type Snapshot = openraft::alias::SnapshotOf<Types, crate::snapshot::SnapshotFile>;
pub(crate) type Raft = openraft::Raft<Types, crate::machine::Machine>;

/// A command as the log carries it. Clones share the bytes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Command(pub(crate) Bytes);

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The place of an entry in the log.
pub(crate) fn log_id(term: u64, leader: u64, index: u64) -> LogId {
    LogId::new(LeaderId { term, node_id: leader }, index)
}
