//! The words of Orlop: ids, names, the spec of an application, lifecycles, plans.
//!
//! Values here cannot hold nonsense: a name that exists is valid, a phase carries only what exists in that phase. The
//! crate does no IO, reads no clock, and knows nothing of protobuf or YAML; time comes in as [`Timestamp`].

pub mod change;
pub mod check;
pub mod durable;
pub mod event;
pub mod id;
pub mod lifecycle;
pub mod limit;
pub mod member;
pub mod name;
pub mod node;
pub mod plan;
pub mod quantity;
pub mod route;
pub mod service;
pub mod similar;
pub mod spec;
pub mod time;
pub mod trust;
pub mod view;

pub use change::{ChangeKind, ServiceChange};
pub use event::{Event, Level, Subject};
pub use id::{
    ClusterId, MemberId, NodeId, OperatorTokenId, ReplicaId, SessionId, TaskId, WorkerSessionId, WorkflowRunId,
};
pub use lifecycle::{Desired, Exit, Health, Outcome, Phase, Reason, ReplicaStatus, StopOrder};
pub use member::Member;
pub use name::{DeploymentName, EndpointName, InvalidName, NodeName, ServiceName, ServiceRef, StepName, VolumeName};
pub use node::{Liveness, Node, Scheduling};
pub use quantity::{Cpu, Memory, Resources};
pub use route::{Backend, Route, RouteKey};
pub use service::{Assignment, DependencyFault, DeploymentState, EndpointFault, Replica, ServiceState, ServiceStatus};
pub use time::{Millis, Timestamp};
pub use view::{Object, View};

/// Grows each time an operator changes a desired object; work sent to a node carries it, and the node refuses an older
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u64);

impl std::fmt::Display for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The Raft log index at which the state changed; every watch resumes from one. `Revision(0)` is "nothing seen yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
