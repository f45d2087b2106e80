//! The cluster as an operator sees it, kept up to date by the changes of the operator view.

use crate::error::Error;
use crate::watch::Changes;
use orlop_model::view::Object;
use orlop_model::{
    ClusterId, DeploymentName, DeploymentState, Node, NodeId, Replica, ReplicaId, Revision, ServiceRef, ServiceState,
};
use orlop_proto::operator::v1 as pb;
use std::collections::BTreeMap;

/// Services, replicas and nodes at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterState {
    /// Which cluster; unknown before the first answer.
    pub cluster: Option<ClusterId>,
    /// The revision that all of this is of.
    pub revision: Revision,
    /// The services.
    pub services: BTreeMap<ServiceRef, ServiceState>,
    /// The replicas.
    pub replicas: BTreeMap<ReplicaId, Replica>,
    /// The nodes.
    pub nodes: BTreeMap<NodeId, Node>,
    /// The deployments; only an answer of `GetState` fills them in, the view does not carry them.
    pub deployments: BTreeMap<DeploymentName, DeploymentState>,
    /// The scheduler that holds the lease; only an answer of `GetState` fills it in.
    pub scheduler: Option<String>,
    /// Why the control plane takes no writes, with what to do; only an answer of `GetState` fills it in.
    pub writes_refused: Option<String>,
}

impl TryFrom<pb::GetStateResponse> for ClusterState {
    type Error = Error;

    fn try_from(wire: pb::GetStateResponse) -> Result<Self, Error> {
        let mut state =
            ClusterState {
                cluster: Some(wire.cluster.parse().map_err(|e: orlop_model::id::InvalidId| {
                    orlop_proto::InvalidWire::new("cluster", e.to_string())
                })?),
                revision: Revision(wire.revision),
                scheduler: Some(wire.scheduler).filter(|s| !s.is_empty()),
                writes_refused: Some(wire.writes_refused).filter(|s| !s.is_empty()),
                ..ClusterState::default()
            };
        for service in wire.services {
            let service = ServiceState::try_from(service)?;
            state.services.insert(service.name.clone(), service);
        }
        for replica in wire.replicas {
            let replica = Replica::try_from(replica)?;
            state.replicas.insert(replica.id, replica);
        }
        for node in wire.nodes {
            let node = Node::try_from(node)?;
            state.nodes.insert(node.id, node);
        }
        for deployment in wire.deployments {
            let deployment = DeploymentState::try_from(deployment)?;
            state.deployments.insert(deployment.name.clone(), deployment);
        }
        Ok(state)
    }
}

impl ClusterState {
    /// Brings the state up to date with a message of the operator view.
    pub fn apply(&mut self, changes: Changes) {
        if changes.snapshot {
            self.services.clear();
            self.replicas.clear();
            self.nodes.clear();
        }
        self.cluster = Some(changes.cluster);
        self.revision = changes.revision;
        for (key, object) in changes.objects {
            match object {
                Some(Object::Service(service)) => {
                    self.services.insert(service.name.clone(), service);
                }
                Some(Object::Replica(replica)) => {
                    self.replicas.insert(replica.id, replica);
                }
                Some(Object::Node(node)) => {
                    self.nodes.insert(node.id, node);
                }
                Some(Object::Assignment(_) | Object::Route(_) | Object::Event(_)) => {}
                None => self.forget(&key),
            }
        }
    }

    /// The replicas of a service, by slot and age (ids of later replicas are larger).
    pub fn replicas_of<'a>(&'a self, service: &'a ServiceRef) -> impl Iterator<Item = &'a Replica> {
        let mut replicas: Vec<&Replica> = self.replicas.values().filter(move |r| r.service == *service).collect();
        replicas.sort_by_key(|r| (r.slot, r.id));
        replicas.into_iter()
    }

    /// A node's name, or its id when the node is not known (any more).
    pub fn node_name(&self, id: NodeId) -> String {
        self.nodes.get(&id).map_or_else(|| id.to_string(), |node| node.name.to_string())
    }

    fn forget(&mut self, key: &str) {
        match key.split_once('/') {
            Some(("service", name)) => {
                if let Ok(name) = name.parse() {
                    self.services.remove(&name);
                }
            }
            Some(("replica", id)) => {
                if let Ok(id) = id.parse() {
                    self.replicas.remove(&id);
                }
            }
            Some(("node", id)) => {
                if let Ok(id) = id.parse() {
                    self.nodes.remove(&id);
                }
            }
            _ => {}
        }
    }
}
