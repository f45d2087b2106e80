//! The state, and the questions that can be asked of it.

use crate::audit::Audit;
use crate::requests::Requests;
use crate::trust::Trust;
use orlop_model::spec::Service;
use orlop_model::{
    ClusterId, DeploymentName, DeploymentState, Event, Generation, Member, MemberId, Node, NodeId, Replica, ReplicaId,
    Revision, ServiceRef, ServiceState, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

/// The state after all commands up to a revision. A clone is cheap for what it holds: specs and events are shared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    pub(crate) revision: Revision,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) deployments: BTreeMap<DeploymentName, DeploymentRecord>,
    pub(crate) services: BTreeMap<ServiceRef, ServiceRecord>,
    pub(crate) replicas: BTreeMap<ReplicaId, Replica>,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) members: BTreeMap<MemberId, Member>,
    pub(crate) lease: Option<Lease>,
    pub(crate) trust: Option<Trust>,
    pub(crate) audit: Audit,
    pub(crate) requests: Requests,
    /// The highest generation of any deployment that was forgotten. New deployments begin above it, so that a generation
    /// never means two things under one name.
    pub(crate) generation_floor: Generation,
    pub(crate) events_recorded: u64,
    pub(crate) events: VecDeque<Arc<Event>>,
}

/// What is said of a cluster when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cluster {
    pub(crate) id: ClusterId,
    pub(crate) range: ipnet::Ipv4Net,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeploymentRecord {
    pub(crate) generation: Generation,
    pub(crate) changed_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceRecord {
    pub(crate) state: ServiceState,
    /// By workload generation: the specs that replicas of earlier ones still run, as they last were at it.
    pub(crate) earlier: BTreeMap<Generation, Arc<Service>>,
    /// An index of the replicas, by slot.
    pub(crate) replicas: BTreeSet<(u32, ReplicaId)>,
}

impl ServiceRecord {
    /// The spec that replicas of a workload generation run.
    pub(crate) fn spec_of(&self, generation: Generation) -> Option<&Arc<Service>> {
        if generation == self.state.workload_generation {
            Some(&self.state.spec)
        } else {
            self.earlier.get(&generation)
        }
    }
}

/// The right to submit plans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The scheduler that has it, by its own name for itself.
    pub holder: String,
    /// Grows with every change of holder; plans carry it.
    pub fence: u64,
    /// From then on another may take it.
    pub expires_at: Timestamp,
}

/// A snapshot whose parts do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidState(pub(crate) String);

impl State {
    /// The state of a cluster that was not made yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The revision of the last command that was applied.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The cluster's id, once it has one.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.cluster.map(|c| c.id)
    }

    /// The range that the nodes' subnets are cut from, once it is known.
    pub fn range(&self) -> Option<ipnet::Ipv4Net> {
        self.cluster.map(|c| c.range)
    }

    /// A deployment's generation; 0 when it does not exist.
    pub fn generation_of(&self, deployment: &DeploymentName) -> Generation {
        self.deployments.get(deployment).map(|d| d.generation).unwrap_or_default()
    }

    /// All deployments, by name.
    pub fn deployments(&self) -> impl Iterator<Item = DeploymentState> + '_ {
        self.deployments.iter().map(|(name, record)| DeploymentState {
            name: name.clone(),
            generation: record.generation,
            changed_at: record.changed_at,
            stopping: self.services_of(name).all(|(_, service)| service.state.stopping.is_some()),
        })
    }

    /// All services, by name.
    pub fn services(&self) -> impl Iterator<Item = &ServiceState> {
        self.services.values().map(|s| &s.state)
    }

    /// A service.
    pub fn service(&self, name: &ServiceRef) -> Option<&ServiceState> {
        self.services.get(name).map(|s| &s.state)
    }

    /// All replicas, by id.
    pub fn replicas(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.values()
    }

    /// A replica.
    pub fn replica(&self, id: ReplicaId) -> Option<&Replica> {
        self.replicas.get(&id)
    }

    /// The replicas of a service, by slot and id.
    pub fn replicas_of(&self, service: &ServiceRef) -> impl Iterator<Item = &Replica> {
        let ids = self.services.get(service).into_iter().flat_map(|s| &s.replicas);
        ids.filter_map(|(_, id)| self.replicas.get(id))
    }

    /// The services that name an image, or have a replica of an earlier generation that runs it.
    pub fn users_of_image<'a>(&'a self, image: &'a str) -> impl Iterator<Item = &'a ServiceRef> + 'a {
        self.services.iter().filter_map(move |(name, record)| {
            let mut specs = record.earlier.values().chain([&record.state.spec]);
            specs.any(|spec| spec.workload.image.name == image).then_some(name)
        })
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// The members of the control plane, by id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// A member of the control plane.
    pub fn member(&self, id: MemberId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// The scheduler's lease, if one was ever taken; it may have expired.
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// The events that are kept, oldest first.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.iter().map(|e| &**e)
    }

    /// An event that is kept.
    pub fn event(&self, sequence: u64) -> Option<&Event> {
        let oldest = self.events.front()?.sequence;
        let index = usize::try_from(sequence.checked_sub(oldest)?).ok()?;
        self.events.get(index).map(|e| &**e)
    }

    /// The sequence of the newest event; 0 before the first.
    pub fn events_recorded(&self) -> u64 {
        self.events_recorded
    }

    pub(crate) fn services_of<'a>(
        &'a self,
        deployment: &'a DeploymentName,
    ) -> impl Iterator<Item = (&'a ServiceRef, &'a ServiceRecord)> + 'a {
        let first = Bound::Included(first_service(deployment));
        self.services.range((first, Bound::Unbounded)).take_while(move |(name, _)| name.deployment == *deployment)
    }
}

/// The name before which no service of the deployment comes: `0` is the least of the characters a name begins with, and
/// no name is a shorter beginning of it.
fn first_service(deployment: &DeploymentName) -> ServiceRef {
    #[expect(clippy::expect_used, reason = "the text is a constant and a valid name")]
    let service = "0".parse().expect("0 is a service name");
    ServiceRef { deployment: deployment.clone(), service }
}
