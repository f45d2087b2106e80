//! What happened, for people: a bounded history in the replicated state.

use crate::id::{NodeId, ReplicaId};
use crate::lifecycle::Reason;
use crate::name::{DeploymentName, ServiceName};
use crate::time::Timestamp;

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// A change that a user would notice.
    Info,
    /// Something that could wake a person.
    Warning,
    /// Something stopped.
    Error,
}

/// What an event is about: the fields that apply are set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subject {
    /// The deployment.
    pub deployment: Option<DeploymentName>,
    /// The service in it.
    pub service: Option<ServiceName>,
    /// The replica of it.
    pub replica: Option<ReplicaId>,
    /// The replica's slot.
    pub slot: Option<u32>,
    /// The node.
    pub node: Option<NodeId>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the cluster's history, from 1, without gaps.
    pub sequence: u64,
    /// When, by the clock of whoever submitted the command.
    pub at: Timestamp,
    /// How much it matters.
    pub level: Level,
    /// What it is about.
    pub subject: Subject,
    /// What happened.
    pub reason: Reason,
}
