//! What the state machine says to a command.

use crate::state::Lease;
use orlop_model::{Generation, MemberId, Reason, ReplicaId, ServiceChange};

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Taken; there is nothing to say.
    Done,
    /// Not taken; nothing changed.
    Refused(Refusal),
    /// To a deploy.
    Deployed {
        /// The deployment's generation, unchanged when nothing of it changed.
        generation: Generation,
        /// What became of each service.
        changes: Vec<ServiceChange>,
    },
    /// To a change of scale.
    Scaled {
        /// How many replicas were wanted before.
        previous: u32,
    },
    /// To a node's registration.
    Registered {
        /// The node's part of the cluster's address range.
        subnet: ipnet::Ipv4Net,
    },
    /// To a node's report. Reports of replicas that are not named were taken.
    Reported {
        /// Replicas that are not known, or not at this node.
        unknown: Vec<ReplicaId>,
        /// Replicas that were placed with another generation than the one reported on.
        stale: Vec<ReplicaId>,
    },
    /// To a plan. Steps that are not named were taken.
    PlanTaken {
        /// The steps that no longer hold.
        refused: Vec<RefusedStep>,
    },
    /// To a member that was added.
    MemberAdded {
        /// The id it has.
        member: MemberId,
    },
    /// To a scheduler that asks for the lease.
    Lease {
        /// Does it have the lease now?
        held: bool,
        /// The lease as it is now.
        lease: Lease,
    },
}

/// A step of a plan that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedStep {
    /// Its index in the plan.
    pub step: u32,
    /// Why.
    pub reason: Reason,
}

/// Why a command was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// What the caller may do about it.
    pub kind: RefusalKind,
    /// In words, and what to do next.
    pub reason: Reason,
}

/// What a caller may do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalKind {
    /// What it names does not exist.
    NotFound,
    /// Somebody else was faster: look again, then decide.
    Conflict,
    /// The state does not allow it.
    Precondition,
    /// The command itself is wrong.
    Invalid,
    /// A bound of the cluster is reached.
    Exhausted,
}

impl Refusal {
    pub(crate) fn not_found(code: &str, message: impl Into<String>) -> Self {
        Self { kind: RefusalKind::NotFound, reason: Reason::new(code, message) }
    }

    pub(crate) fn conflict(code: &str, message: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Conflict, reason: Reason::new(code, message) }
    }

    pub(crate) fn precondition(code: &str, message: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Precondition, reason: Reason::new(code, message) }
    }

    pub(crate) fn invalid(code: &str, message: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Invalid, reason: Reason::new(code, message) }
    }

    pub(crate) fn exhausted(code: &str, message: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Exhausted, reason: Reason::new(code, message) }
    }
}
