//! What a plan is computed from.

use orlop_model::{Node, NodeId, Replica, ReplicaId, Revision, ServiceRef, ServiceState};
use std::collections::BTreeMap;

/// A cluster as it is at one revision: what is desired of it and what was observed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cluster {
    /// The revision that the rest is the state at.
    pub revision: Revision,
    /// All services.
    pub services: BTreeMap<ServiceRef, ServiceState>,
    /// All replicas, those included that are ending or finished.
    pub replicas: BTreeMap<ReplicaId, Replica>,
    /// All nodes.
    pub nodes: BTreeMap<NodeId, Node>,
}

/// Replicas by their service, each service's in the order of their ids.
pub(crate) type ByService<'a> = BTreeMap<&'a ServiceRef, Vec<&'a Replica>>;

impl Cluster {
    pub(crate) fn replicas_by_service(&self) -> ByService<'_> {
        let mut sorted = ByService::new();
        for replica in self.replicas.values() {
            sorted.entry(&replica.service).or_default().push(replica);
        }
        sorted
    }
}
