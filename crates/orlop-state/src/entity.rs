//! What a command changed, by name.

use orlop_model::{DeploymentName, MemberId, NodeId, ReplicaId, RouteKey, ServiceRef};

/// One thing that changed. It says enough for every view to tell whether it is concerned, also when the thing is gone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entity {
    /// The cluster was made.
    Cluster,
    /// A deployment was made, changed or forgotten.
    Deployment(DeploymentName),
    /// A service was made, changed or forgotten.
    Service(ServiceRef),
    /// A replica was placed, changed or forgotten.
    Replica {
        /// Which.
        id: ReplicaId,
        /// Of which service.
        service: ServiceRef,
        /// Where.
        node: NodeId,
    },
    /// What answers for a public endpoint changed, or the endpoint did.
    Route(RouteKey),
    /// A node registered, changed, was heard again or fell silent, was cordoned, or was forgotten.
    Node(NodeId),
    /// A member was added, moved or removed.
    Member(MemberId),
    /// Another scheduler holds the lease.
    Lease,
    /// An event was recorded, under this sequence.
    Event(u64),
}
