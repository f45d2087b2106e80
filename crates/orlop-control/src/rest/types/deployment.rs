//! Deployments and their services.

use super::{Reason, StopOrder, Time};
use orlop_client::ClusterState;
use orlop_model::{ChangeKind, DeploymentState, ServiceChange, ServiceState};
use orlop_proto::InvalidWire;
use orlop_proto::operator::v1 as pb;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A named application: everything in one spec file.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(in crate::rest) struct Deployment {
    pub(in crate::rest) name: String,
    /// Grows with each deploy that changes something.
    pub(in crate::rest) generation: u64,
    changed_at: Time,
    /// It is being removed.
    stopping: bool,
}

impl From<&DeploymentState> for Deployment {
    fn from(deployment: &DeploymentState) -> Self {
        Self {
            name: deployment.name.to_string(),
            generation: deployment.generation.0,
            changed_at: deployment.changed_at.into(),
            stopping: deployment.stopping,
        }
    }
}

/// A page of deployments, by name.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct Deployments {
    /// The revision of the state that this is of.
    pub(in crate::rest) revision: u64,
    pub(in crate::rest) deployments: Vec<Deployment>,
    /// There are more: ask with `after` set to this.
    pub(in crate::rest) next: Option<String>,
}

/// A deployment with its services.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct DeploymentDetail {
    /// The revision of the state that this is of.
    pub(in crate::rest) revision: u64,
    #[serde(flatten)]
    pub(in crate::rest) deployment: Deployment,
    pub(in crate::rest) services: Vec<Service>,
}

/// One workload of a deployment.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct Service {
    /// `deployment/service`.
    pub(in crate::rest) name: String,
    deployment: String,
    service: String,
    /// The deployment's generation when anything of the service last changed.
    generation: u64,
    /// The generation at which the workload last changed; replicas of an older one are replaced.
    workload_generation: u64,
    image: String,
    /// How many replicas are wanted now.
    replicas_wanted: u32,
    /// Of the present workload generation.
    replicas_ready: u32,
    /// Finished ones not counted.
    replicas_total: u32,
    endpoints: Vec<Endpoint>,
    changed_at: Time,
    /// How the service is being removed, when it is.
    stopping: Option<StopOrder>,
    /// Why replicas that should be started are not.
    blocked: Vec<Reason>,
    /// A dependency that did not come up in time.
    dependency_fault: Option<DependencyFault>,
    /// Public endpoints that nodes cannot serve.
    endpoint_faults: Vec<EndpointFault>,
}

/// A named port of a service.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct Endpoint {
    name: String,
    protocol: Protocol,
    port: u16,
    /// Requests for other hosts are not for this endpoint; null for all hosts.
    host: Option<String>,
    /// The beginning of the paths that are for this endpoint.
    path: String,
}

/// What an endpoint speaks.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Protocol {
    Http,
    Tcp,
}

/// A dependency that did not come up in time.
#[derive(Debug, Serialize, JsonSchema)]
struct DependencyFault {
    generation: u64,
    /// The service stays down until its generation changes; else it was started regardless.
    failed: bool,
    reason: Reason,
}

/// A public endpoint that the proxy of a node cannot serve.
#[derive(Debug, Serialize, JsonSchema)]
struct EndpointFault {
    endpoint: String,
    node: String,
    node_name: String,
    since: Time,
    reason: Reason,
}

impl Service {
    pub(in crate::rest) fn of(state: &ClusterState, service: &ServiceState) -> Self {
        let there = || state.replicas_of(&service.name).filter(|r| !r.status.phase.is_finished());
        let ready = there().filter(|r| r.is_ready() && r.generation == service.workload_generation).count();
        let endpoints = service.spec.endpoints.iter().map(|endpoint| Endpoint {
            name: endpoint.name.to_string(),
            protocol: match endpoint.protocol {
                orlop_model::spec::Protocol::Http => Protocol::Http,
                orlop_model::spec::Protocol::Tcp => Protocol::Tcp,
            },
            port: endpoint.port,
            host: endpoint.host.clone(),
            path: endpoint.path.clone(),
        });
        let faults = service.faults.iter().map(|fault| EndpointFault {
            endpoint: fault.endpoint.to_string(),
            node: fault.node.to_string(),
            node_name: state.node_name(fault.node),
            since: fault.since.into(),
            reason: (&fault.reason).into(),
        });
        Self {
            name: service.name.to_string(),
            deployment: service.name.deployment.to_string(),
            service: service.name.service.to_string(),
            generation: service.generation.0,
            workload_generation: service.workload_generation.0,
            image: service.spec.workload.image.name.clone(),
            replicas_wanted: service.replicas,
            replicas_ready: u32::try_from(ready).unwrap_or(u32::MAX),
            replicas_total: u32::try_from(there().count()).unwrap_or(u32::MAX),
            endpoints: endpoints.collect(),
            changed_at: service.changed_at.into(),
            stopping: service.stopping.map(Into::into),
            blocked: service.status.blocked.iter().map(Into::into).collect(),
            dependency_fault: service.status.dependency_fault.as_ref().map(|fault| DependencyFault {
                generation: fault.generation.0,
                failed: fault.failed,
                reason: (&fault.reason).into(),
            }),
            endpoint_faults: faults.collect(),
        }
    }
}

/// The services of a deployment, by name.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct Services {
    /// The revision of the state that this is of.
    pub(in crate::rest) revision: u64,
    pub(in crate::rest) services: Vec<Service>,
    /// There are more: ask with `after` set to this.
    pub(in crate::rest) next: Option<String>,
}

/// A service.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct ServiceDetail {
    /// The revision of the state that this is of.
    pub(in crate::rest) revision: u64,
    #[serde(flatten)]
    pub(in crate::rest) service: Service,
}

/// What a deploy did.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct Deployed {
    deployment: String,
    /// The deployment's generation; unchanged when the spec was the same.
    pub(in crate::rest) generation: u64,
    /// The revision at which it was applied.
    revision: u64,
    changes: Vec<Change>,
}

impl Deployed {
    pub(in crate::rest) fn of(deployment: String, wire: pb::DeployResponse) -> Result<Self, InvalidWire> {
        let pb::DeployResponse { generation, revision, changes } = wire;
        Ok(Self { deployment, generation, revision, changes: changes_of(changes)? })
    }
}

/// What a deploy does to one service.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Change {
    service: String,
    change: Kind,
    /// The fields that differ, as `path: before → after`; for what is tried again, what had failed.
    fields: Vec<String>,
}

/// What a deploy does to a service.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ChangeKind")]
enum Kind {
    Unchanged,
    Added,
    Removed,
    /// Its workload differs: replicas are replaced.
    Replaced,
    /// Only what touches no container differs.
    Updated,
    /// Nothing differs, and what of it had failed is tried again.
    Retried,
}

pub(super) fn changes_of(wire: Vec<pb::ServiceChange>) -> Result<Vec<Change>, InvalidWire> {
    let change = |wire| {
        let change = ServiceChange::try_from(wire)?;
        Ok(Change {
            service: change.service.to_string(),
            change: match change.kind {
                ChangeKind::Unchanged => Kind::Unchanged,
                ChangeKind::Added => Kind::Added,
                ChangeKind::Removed => Kind::Removed,
                ChangeKind::Replaced => Kind::Replaced,
                ChangeKind::Updated => Kind::Updated,
                ChangeKind::Retried => Kind::Retried,
            },
            fields: change.fields,
        })
    };
    wire.into_iter().map(change).collect()
}

/// How many replicas a service shall have.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct Scale {
    #[serde(deserialize_with = "super::whole")]
    #[schemars(range(max = 10_000))]
    pub(in crate::rest) replicas: u32,
}

/// What a change of scale did.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct Scaled {
    /// `deployment/service`.
    pub(in crate::rest) service: String,
    pub(in crate::rest) replicas: u32,
    /// How many were wanted before.
    pub(in crate::rest) previous: u32,
    /// The revision at which it was applied.
    pub(in crate::rest) revision: u64,
}

/// What is being ended.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct Stopped {
    /// `deployment` or `deployment/service`.
    pub(in crate::rest) name: String,
    pub(in crate::rest) forced: bool,
    /// The revision at which it was applied.
    pub(in crate::rest) revision: u64,
}
