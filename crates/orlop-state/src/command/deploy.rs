//! Makes a deployment what a spec says.
//!
//! - Compare-and-set: refused when the deployment's generation is not the expected one.
//! - Two deployments may not claim the same public route: refused, naming the other.
//! - The same spec again changes nothing, not even the generation; what had failed is tried again (see `retry`).
//! - A service whose workload differs gets a new workload generation; the spec before is kept for the replicas that run
//!   it. A service that the spec no longer has is removed gracefully. A service that was being removed starts anew.

use crate::answer::{Answer, Refusal};
use crate::command::{Change, retry};
use crate::entity::Entity;
use crate::history::{of_deployment, of_service};
use crate::limit::{DEPLOYMENTS_MAX, SERVICES_MAX};
use crate::route::offered;
use crate::state::{DeploymentRecord, ServiceRecord, State};
use orlop_model::spec::{Deployment, Endpoint, Protocol, Scale, Service};
use orlop_model::{
    ChangeKind, EndpointName, Generation, Level, RouteKey, ServiceChange, ServiceName, ServiceRef, ServiceState,
    ServiceStatus, StopOrder,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Makes a deployment what a spec says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deploy {
    /// What is desired.
    pub deployment: Deployment,
    /// The generation that the deployment must have: 0 when it must not exist, `None` when any will do.
    pub expected_generation: Option<Generation>,
    /// Try again what had failed of services that stay as they are.
    pub retry: bool,
}

impl Deploy {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        let name = &self.deployment.name;
        let current = change.state.generation_of(name);
        if let Some(expected) = self.expected_generation.filter(|expected| *expected != current) {
            return Err(Refusal::conflict("generation_mismatch", mismatch(name.as_str(), expected, current)));
        }
        check_bounds(change.state, &self.deployment)?;
        check_claims(change.state, &self.deployment)?;
        check_secrets(change.state, &self.deployment)?;

        let mut changes = compare(change.state, &self.deployment);
        if self.retry {
            for verdict in &mut changes {
                retry::again(change, &name.clone(), verdict);
            }
        }
        let stays = |c: &ServiceChange| matches!(c.kind, ChangeKind::Unchanged | ChangeKind::Retried);
        if changes.iter().all(stays) && current != Generation(0) {
            return Ok(Answer::Deployed { generation: current, changes });
        }
        let generation = Generation(current.max(change.state.generation_floor).0.saturating_add(1));
        let record = DeploymentRecord { generation, changed_at: change.now };
        change.state.deployments.insert(name.clone(), record);
        change.changed.insert(Entity::Deployment(name.clone()));
        change.tell(Level::Info, of_deployment(name), "deployed", summary(generation, &changes));
        let mut services = self.deployment.services;
        for verdict in &changes {
            let name = ServiceRef { deployment: name.clone(), service: verdict.service.clone() };
            match services.remove(&verdict.service) {
                Some(spec) if !stays(verdict) => put(change, name, spec, generation, verdict),
                Some(_) => {}
                None => remove(change, &name, generation, StopOrder::Graceful),
            }
        }
        Ok(Answer::Deployed { generation, changes })
    }
}

fn mismatch(name: &str, expected: Generation, current: Generation) -> String {
    match (expected, current) {
        (Generation(0), current) => {
            format!("{name} exists already, at generation {current}; look at it with `plan`, then deploy again")
        }
        (expected, Generation(0)) => format!("{name} does not exist (any more); generation {expected} was expected"),
        (expected, current) => format!(
            "{name} is at generation {current}, not {expected}: somebody changed it; look at it with `plan`, then deploy \
             again"
        ),
    }
}

fn check_bounds(state: &State, deployment: &Deployment) -> Result<(), Refusal> {
    let new = usize::from(!state.deployments.contains_key(&deployment.name));
    if state.deployments.len() + new > DEPLOYMENTS_MAX {
        let message = format!("the cluster has {DEPLOYMENTS_MAX} deployments, the most there may be; stop one first");
        return Err(Refusal::exhausted("too_many_deployments", message));
    }
    let known = |name: &&ServiceName| {
        let name = ServiceRef { deployment: deployment.name.clone(), service: (*name).clone() };
        !state.services.contains_key(&name)
    };
    if state.services.len() + deployment.services.keys().filter(known).count() > SERVICES_MAX {
        let message = format!("the cluster would have more than {SERVICES_MAX} services; stop some first");
        return Err(Refusal::exhausted("too_many_services", message));
    }
    Ok(())
}

/// What makes a public route unique in the cluster.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Claim<'a> {
    Http(Option<&'a str>, &'a str),
    Tcp(u16),
}

impl<'a> Claim<'a> {
    fn of(endpoint: &'a Endpoint) -> Self {
        match endpoint.protocol {
            Protocol::Http => Claim::Http(endpoint.host.as_deref(), &endpoint.path),
            Protocol::Tcp => Claim::Tcp(endpoint.port),
        }
    }
}

impl std::fmt::Display for Claim<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Claim::Http(host, path) => write!(f, "http host {} with path {path}", host.unwrap_or("* (any)")),
            Claim::Tcp(port) => write!(f, "tcp port {port}"),
        }
    }
}

fn check_claims(state: &State, deployment: &Deployment) -> Result<(), Refusal> {
    let others = state.services.values().filter(|s| s.state.name.deployment != deployment.name);
    let taken: BTreeMap<Claim<'_>, &ServiceRecord> =
        others.flat_map(|s| offered(s).map(move |e| (Claim::of(e), s))).collect();
    for (name, service) in &deployment.services {
        for endpoint in &service.endpoints {
            if let Some(owner) = taken.get(&Claim::of(endpoint)) {
                let message = format!(
                    "services.{name}.endpoints: {} is taken by {} already; choose another, or stop that one first",
                    Claim::of(endpoint),
                    owner.state.name
                );
                return Err(Refusal::precondition("route_taken", message));
            }
        }
    }
    Ok(())
}

fn check_secrets(state: &State, deployment: &Deployment) -> Result<(), Refusal> {
    for (name, service) in &deployment.services {
        if let Some(missing) = service.workload.secrets().into_iter().find(|secret| state.secret(secret).is_none()) {
            let message = format!(
                "services.{name}: the cluster has no secret {missing}; give it a value first with `orlopctl secret set \
                 {missing}`"
            );
            return Err(Refusal::precondition("secret_missing", message));
        }
    }
    Ok(())
}

/// What the deploy would do to each service, those included that are removed by it, by name.
fn compare(state: &State, deployment: &Deployment) -> Vec<ServiceChange> {
    let mut changes = Vec::new();
    for (name, spec) in &deployment.services {
        let service = ServiceRef { deployment: deployment.name.clone(), service: name.clone() };
        let old = state.services.get(&service).filter(|s| s.state.stopping.is_none());
        let mut change = ServiceChange::between(name.clone(), old.map(|old| &*old.state.spec), Some(spec));
        if let Some(old) = old.filter(|old| old.state.spec.scale == spec.scale) {
            let (was, wanted) = (old.state.replicas, replicas(&spec.scale, Some(old.state.replicas)));
            if was != wanted {
                change.fields.push(format!("scale: scaled to {was} → {wanted} replicas"));
            }
            if was != wanted && change.kind == ChangeKind::Unchanged {
                change.kind = ChangeKind::Updated;
            }
        }
        changes.push(change);
    }
    for (name, old) in state.services_of(&deployment.name) {
        if old.state.stopping.is_none() && !deployment.services.contains_key(&name.service) {
            changes.push(ServiceChange::between(name.service.clone(), Some(&old.state.spec), None));
        }
    }
    changes.sort_by(|a, b| a.service.cmp(&b.service));
    changes
}

/// How many replicas are wanted under a scale, given how many were.
fn replicas(scale: &Scale, before: Option<u32>) -> u32 {
    match scale {
        Scale::Fixed { replicas } => *replicas,
        Scale::Manual => before.unwrap_or(1),
    }
}

fn put(change: &mut Change<'_>, name: ServiceRef, spec: Service, generation: Generation, verdict: &ServiceChange) {
    let spec = Arc::new(spec);
    let old = change.state.services.remove(&name);
    let before = old.as_ref().filter(|_| verdict.kind != ChangeKind::Added).map(|s| s.state.replicas);
    let workload_generation = match &old {
        Some(old) if verdict.kind == ChangeKind::Updated => old.state.workload_generation,
        _ => generation,
    };
    let mut record = ServiceRecord {
        state: ServiceState {
            name: name.clone(),
            generation,
            workload_generation,
            replicas: replicas(&spec.scale, before),
            spec,
            changed_at: change.now,
            stopping: None,
            status: ServiceStatus::default(),
            faults: Vec::new(),
        },
        earlier: BTreeMap::new(),
        replicas: BTreeSet::new(),
    };
    if let Some(old) = old {
        route_keys(&old).for_each(|key| {
            change.changed.insert(Entity::Route(key));
        });
        // What a node said of an endpoint holds as long as that is the endpoint.
        let same = |name: &EndpointName| {
            let of = |spec: &Service| spec.endpoints.iter().find(|e| e.name == *name).cloned();
            of(&record.state.spec) == of(&old.state.spec)
        };
        record.state.faults = old.state.faults.iter().filter(|fault| same(&fault.endpoint)).cloned().collect();
        record.replicas = old.replicas;
        record.earlier = old.earlier;
        if old.state.workload_generation != workload_generation {
            record.earlier.insert(old.state.workload_generation, old.state.spec);
        }
        let run: BTreeSet<Generation> =
            record.replicas.iter().filter_map(|(_, id)| change.state.replicas.get(id)).map(|r| r.generation).collect();
        record.earlier.retain(|generation, _| run.contains(generation));
    }
    change.state.services.insert(name.clone(), record);
    change.changed.insert(Entity::Service(name.clone()));
    change.touch_routes(&name);
    let fields = verdict.fields.join(", ");
    let (code, message) = match verdict.kind {
        ChangeKind::Added => ("service_added", format!("{name} was added at generation {generation}")),
        ChangeKind::Replaced => ("service_replaced", format!("{name} changes, its replicas are replaced: {fields}")),
        _ => ("service_updated", format!("{name} changes, its replicas stay: {fields}")),
    };
    change.tell(Level::Info, of_service(&name), code, message);
}

/// Begins the end of a service.
pub(super) fn remove(change: &mut Change<'_>, name: &ServiceRef, generation: Generation, order: StopOrder) {
    let Some(record) = change.state.services.get_mut(name) else { return };
    let routes: Vec<RouteKey> = route_keys(record).collect();
    record.state.stopping = Some(order);
    record.state.generation = generation;
    record.state.changed_at = change.now;
    record.state.replicas = 0;
    record.state.status = ServiceStatus::default();
    record.state.faults.clear();
    change.changed.extend(routes.into_iter().map(Entity::Route));
    change.changed.insert(Entity::Service(name.clone()));
    let how = if order == StopOrder::Forced { ", its replicas are killed" } else { "" };
    change.tell(Level::Info, of_service(name), "removing", format!("{name} is being removed{how}"));
}

fn route_keys(record: &ServiceRecord) -> impl Iterator<Item = RouteKey> + '_ {
    offered(record).map(|e| RouteKey { service: record.state.name.clone(), endpoint: e.name.clone() })
}

fn summary(generation: Generation, changes: &[ServiceChange]) -> String {
    let of = |kind| changes.iter().filter(move |c| c.kind == kind).count();
    let parts = [
        (of(ChangeKind::Added), "added"),
        (of(ChangeKind::Replaced), "replaced"),
        (of(ChangeKind::Updated), "updated"),
        (of(ChangeKind::Removed), "removed"),
        (of(ChangeKind::Retried), "tried again"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"));
    format!("generation {generation}: services {}", parts.collect::<Vec<_>>().join(", "))
}
