//! Desired and observed state of services, as the control plane keeps it and views carry it.

use crate::Generation;
use crate::id::{NodeId, ReplicaId};
use crate::lifecycle::{Desired, Reason, ReplicaStatus};
use crate::name::{DeploymentName, EndpointName, ServiceRef};
use crate::quantity::Resources;
use crate::spec::{Service, Workload};
use crate::time::Timestamp;
use crate::trust::{SecretName, SecretValue};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A service as desired, with what the planner found out about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceState {
    /// Which service.
    pub name: ServiceRef,
    /// The deployment's generation when anything of this service last changed.
    pub generation: Generation,
    /// The generation at which its *workload* last changed; replicas of an older one are replaced.
    pub workload_generation: Generation,
    /// The spec in force.
    pub spec: Arc<Service>,
    /// How many replicas are wanted now: from the spec, or from `orlopctl scale`. 0 when stopped.
    pub replicas: u32,
    /// When `generation` was set, or what had failed was last tried again; dependency timeouts count from it.
    pub changed_at: Timestamp,
    /// The service is being removed: every replica stops, then the service is forgotten.
    pub stopping: Option<crate::lifecycle::StopOrder>,
    /// What the planner last found; replaced whole when it changes.
    pub status: ServiceStatus,
    /// Public endpoints that nodes cannot serve, as their proxies last said; in order of endpoint and node, one of each.
    pub faults: Vec<EndpointFault>,
}

/// A public endpoint that the proxy of a node cannot serve. It lasts until the proxy can, or the endpoint is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointFault {
    /// Which endpoint of the service.
    pub endpoint: EndpointName,
    /// Where.
    pub node: NodeId,
    /// When the control plane first heard of it.
    pub since: Timestamp,
    /// Why, and what to do.
    pub reason: Reason,
}

/// What the planner says of a service beyond what can be read off its replicas.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceStatus {
    /// Why replicas that should be started are not (waiting for a dependency, no node fits); empty when nothing is
    /// held back.
    pub blocked: Vec<Reason>,
    /// A dependency's timeout passed at this generation.
    pub dependency_fault: Option<DependencyFault>,
}

/// A dependency that did not come up in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyFault {
    /// The generation of the service that was waiting; the fault ends with it.
    pub generation: Generation,
    /// `on_timeout: fail` — the service stays down until its generation changes. Else it was started regardless.
    pub failed: bool,
    /// What was waited for, and how long.
    pub reason: Reason,
}

/// One instance of a service, placed on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Its id; a replacement in the same slot has another.
    pub id: ReplicaId,
    /// The service it is an instance of.
    pub service: ServiceRef,
    /// Its number in the service, from 0; stable through replacements.
    pub slot: u32,
    /// The service's workload generation that it runs.
    pub generation: Generation,
    /// Where it was placed.
    pub node: NodeId,
    /// What it holds of its node until it is finished: its workload's resources when it was placed, which a later
    /// generation of the service may no longer ask for.
    pub reserved: Resources,
    /// What is wanted of it.
    pub desired: Desired,
    /// What its node reported last.
    pub status: ReplicaStatus,
}

impl Replica {
    /// May requests be sent to it?
    pub fn is_ready(&self) -> bool {
        self.desired == Desired::Run && self.status.phase.is_ready()
    }
}

/// What a node is told of one replica: everything it needs to run it without asking again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The replica.
    pub replica: Replica,
    /// The workload of the replica's generation.
    pub workload: Arc<Workload>,
    /// The values of the secrets that the workload names, as they are now.
    pub secrets: BTreeMap<SecretName, SecretValue>,
}

/// A deployment as the control plane keeps it; its services stand beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentState {
    /// Which deployment.
    pub name: DeploymentName,
    /// Grows with each deploy that changes something; what a deploy is compared against.
    pub generation: Generation,
    /// When the generation was set.
    pub changed_at: Timestamp,
    /// Is it being removed?
    pub stopping: bool,
}
