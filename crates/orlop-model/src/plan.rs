//! The difference between desired and observed, as a value: it can be printed, compared, stored, refused.

use crate::id::{NodeId, ReplicaId};
use crate::lifecycle::{Reason, StopOrder};
use crate::name::ServiceRef;
use crate::service::ServiceStatus;
use crate::time::Timestamp;
use crate::{Generation, Revision};

/// What a scheduler submits: steps computed from the view at `revision`. The state machine takes each step that still
/// holds and refuses the others by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The revision of the view that the plan was computed from.
    pub revision: Revision,
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// When to plan again even if nothing changes (a dependency times out, a replica has run `min_healthy` long).
    pub wake_at: Option<Timestamp>,
}

/// One action of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Place a new replica.
    Start {
        /// The new replica's id.
        replica: ReplicaId,
        /// Of which service.
        service: ServiceRef,
        /// In which slot; no other replica that is wanted running may hold it, save one that is being replaced.
        slot: u32,
        /// The workload generation to run; refused when it is no longer the service's.
        generation: Generation,
        /// Where.
        node: NodeId,
        /// In a word: `new`, `scale_up`, `replace`, `lost`.
        why: Reason,
    },
    /// End a replica. Refused when it is already told to stop as firmly.
    Stop {
        /// Which.
        replica: ReplicaId,
        /// How.
        order: StopOrder,
        /// In a word: `scale_down`, `replace`, `stopping`.
        why: Reason,
    },
    /// Forget a replica that is finished (stopped, lost, or failed and superseded).
    Forget {
        /// Which.
        replica: ReplicaId,
    },
    /// Record what holds a service back, or that nothing does any more. Refused at another generation.
    Note {
        /// Of which service.
        service: ServiceRef,
        /// The service generation it was found at.
        generation: Generation,
        /// All that is known now.
        status: ServiceStatus,
    },
    /// Forget a service that is stopping and has no replicas left.
    Remove {
        /// Which.
        service: ServiceRef,
    },
}
