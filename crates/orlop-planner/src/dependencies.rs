//! When `depends` lets a service start.
//!
//! A gate stands before the *first* starts at a workload generation: it is closed while the service has no replica of
//! that generation, whatever became of the replica, and a dependency is not as far up as asked. Once one replica was
//! started the gate stays open until the workload changes. So
//!
//! - a dependency that breaks later stops nothing, and does not keep a crashed or lost replica from being replaced, nor a
//!   service from being scaled up: whoever depends on it has to live with such moments anyway;
//! - an update of two services at once goes in the right order: the new replicas of one wait for the other, and the old
//!   ones keep serving meanwhile;
//! - nothing has to be remembered: which replicas there are is in the state already. (A lost replica is forgotten only
//!   when its place is taken, for that reason; a service that was scaled to 0 has its gate closed again.)
//!
//! Timeouts count from [`ServiceState::changed_at`], that is from the deploy. A dependency that timed out with
//! `on_timeout: fail` keeps the service down until its generation changes, also if the dependency comes up after all;
//! with `warn` and `continue` it no longer counts, and `warn` leaves a fault to be seen.

use crate::cluster::{ByService, Cluster};
use crate::placement::listing;
use crate::roster::has_failed;
use orlop_model::spec::{Condition, Dependency, OnFailure};
use orlop_model::{DependencyFault, Desired, Reason, Replica, ServiceRef, ServiceState, ServiceStatus, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// The most reasons that are recorded of a service.
const BLOCKED_MAX: usize = 8;

/// What gates are judged by.
pub(crate) struct Gates<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) replicas: &'a ByService<'a>,
    pub(crate) now: Timestamp,
    /// What was found of the services that were planned already.
    pub(crate) found: BTreeMap<&'a ServiceRef, ServiceStatus>,
}

/// All services, each after those that it depends on, so that it sees what was just found of them.
pub(crate) fn in_order(cluster: &Cluster) -> Vec<&ServiceState> {
    fn visit<'a>(
        cluster: &'a Cluster,
        service: &'a ServiceState,
        seen: &mut BTreeSet<&'a ServiceRef>,
        order: &mut Vec<&'a ServiceState>,
    ) {
        if !seen.insert(&service.name) {
            return;
        }
        for dependency in &service.spec.depends {
            if let Some(target) = cluster.services.get(&target_of(service, dependency)) {
                visit(cluster, target, seen, order);
            }
        }
        order.push(service);
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    for service in cluster.services.values() {
        visit(cluster, service, &mut seen, &mut order);
    }
    order
}

fn target_of(service: &ServiceState, dependency: &Dependency) -> ServiceRef {
    ServiceRef { deployment: service.name.deployment.clone(), service: dependency.service.clone() }
}

/// Whether a service may start replicas.
pub(crate) struct Gate {
    /// Why not; empty when it may.
    pub(crate) blocked: Vec<Reason>,
    /// What is to be recorded of dependencies that timed out.
    pub(crate) fault: Option<DependencyFault>,
    /// When the answer changes by itself.
    pub(crate) changes_at: Option<Timestamp>,
}

impl<'a> Gates<'a> {
    /// The gate of a service whose replicas are `own`.
    pub(crate) fn gate(&self, service: &ServiceState, own: &[&Replica]) -> Gate {
        let fault = recorded_fault(service);
        if own.iter().any(|r| r.generation == service.workload_generation) {
            return Gate { blocked: Vec::new(), fault, changes_at: None };
        }
        if let Some(fault) = fault.as_ref().filter(|fault| fault.failed) {
            return Gate { blocked: vec![fault.reason.clone()], fault: Some(fault.clone()), changes_at: None };
        }
        let mut gate = Gate { blocked: Vec::new(), fault: None, changes_at: None };
        let (mut failed, mut warned) = (Vec::new(), Vec::new());
        for dependency in &service.spec.depends {
            let Some((code, lack)) = self.lack(service, dependency) else { continue };
            let due = dependency.timeout.map(|timeout| service.changed_at + timeout);
            if due.is_some_and(|due| due <= self.now) {
                match dependency.on_timeout {
                    OnFailure::Fail => failed.push(format!("{}: {lack}", timed_out(dependency))),
                    OnFailure::Warn => warned.push(timed_out(dependency)),
                    OnFailure::Continue => {}
                }
            } else {
                gate.blocked.push(Reason::new(code, waiting(dependency, &lack)));
                gate.changes_at = gate.changes_at.into_iter().chain(due).min();
            }
        }
        if gate.blocked.len() > BLOCKED_MAX {
            let more = gate.blocked.len() - (BLOCKED_MAX - 1);
            gate.blocked.truncate(BLOCKED_MAX - 1);
            gate.blocked.push(Reason::new("waiting_dependency", format!("waits for {more} more")));
        }
        if !failed.is_empty() {
            let reason = Reason::new("dependency_timeout", listing(failed.into_iter()));
            gate.blocked = vec![reason.clone()];
            gate.fault = Some(DependencyFault { generation: service.generation, failed: true, reason });
            gate.changes_at = None;
        } else if !warned.is_empty() {
            let message = format!("{}; it no longer counts", listing(warned.into_iter()));
            let reason = Reason::new("dependency_timeout", message);
            gate.fault = Some(DependencyFault { generation: service.generation, failed: false, reason });
        }
        gate.fault = gate.fault.or(fault);
        gate
    }

    /// What a dependency is missing, as a clause, with the code for it; `None` when it is as far up as asked.
    fn lack(&self, service: &ServiceState, dependency: &Dependency) -> Option<(&'static str, String)> {
        let name = target_of(service, dependency);
        let Some(target) = self.cluster.services.get(&name) else {
            return Some(("waiting_dependency", "it is not deployed".to_owned()));
        };
        let replicas = self.replicas.get(&name).map(Vec::as_slice).unwrap_or_default();
        if is_met(dependency.condition, target, replicas) {
            return None;
        }
        let mut wanted = replicas.iter().filter(|r| r.desired == Desired::Run).peekable();
        let failed_for_good = wanted.peek().is_some() && wanted.all(|r| has_failed(r));
        let status = self.found.get(&name).unwrap_or(&target.status);
        let (code, lack) = if target.stopping.is_some() {
            ("waiting_dependency", "it is being stopped".to_owned())
        } else if target.replicas == 0 {
            ("waiting_dependency", "it is scaled to 0".to_owned())
        } else if fault_of(status, target).is_some_and(|fault| fault.failed) {
            ("dependency_failed", "it gave up waiting for its own dependencies".to_owned())
        } else if failed_for_good {
            ("dependency_failed", "it failed".to_owned())
        } else if let Some(reason) = status.blocked.first() {
            match reason.code.as_str() {
                "waiting_dependency" => ("waiting_dependency", "it waits for its own dependencies".to_owned()),
                "dependency_failed" => ("dependency_failed", "one of its own dependencies failed".to_owned()),
                code => ("dependency_failed", format!("it is held back itself ({code})")),
            }
        } else {
            let lack = match (dependency.condition, target.replicas) {
                (Condition::Started, 1) => "its replica has not started yet".to_owned(),
                (Condition::Started, n) => format!("none of its {n} replicas has started yet"),
                (Condition::Healthy, 1) => "its replica is not ready yet".to_owned(),
                (Condition::Healthy, n) => format!("none of its {n} replicas is ready yet"),
                (Condition::Ready, 1) => "its replica of the present generation is not ready yet".to_owned(),
                (Condition::Ready, n) => format!("not all of its {n} replicas are ready at the present generation yet"),
            };
            ("waiting_dependency", lack)
        };
        Some((code, lack))
    }
}

/// Is the dependency as far up as asked?
fn is_met(condition: Condition, target: &ServiceState, replicas: &[&Replica]) -> bool {
    match condition {
        Condition::Started => replicas.iter().any(|r| r.desired == Desired::Run && r.status.phase.is_started()),
        Condition::Healthy => replicas.iter().any(|r| r.is_ready()),
        Condition::Ready => {
            let ready = replicas.iter().filter(|r| r.is_ready() && r.generation == target.workload_generation).count();
            ready > 0 && ready >= target.replicas as usize
        }
    }
}

/// The fault recorded of the service, if it is of its present generation.
pub(crate) fn recorded_fault(service: &ServiceState) -> Option<DependencyFault> {
    fault_of(&service.status, service)
}

fn fault_of(status: &ServiceStatus, service: &ServiceState) -> Option<DependencyFault> {
    status.dependency_fault.clone().filter(|fault| fault.generation == service.generation)
}

// Neither text says anything that changes with time alone: a changed text is a command to the state machine.

fn waiting(dependency: &Dependency, lack: &str) -> String {
    let bound = match (dependency.timeout, dependency.on_timeout) {
        (None, _) => String::new(),
        (Some(timeout), OnFailure::Fail) => format!(" (at most {timeout} from the deploy, then it gives up)"),
        (Some(timeout), _) => format!(" (at most {timeout} from the deploy, then it starts anyway)"),
    };
    format!("waits for {} to be {}{bound}: {lack}", dependency.service, word(dependency.condition))
}

fn timed_out(dependency: &Dependency) -> String {
    let timeout = dependency.timeout.unwrap_or_default();
    format!("{} was not {} within {timeout} of the deploy", dependency.service, word(dependency.condition))
}

fn word(condition: Condition) -> &'static str {
    match condition {
        Condition::Started => "started",
        Condition::Healthy => "healthy",
        Condition::Ready => "ready",
    }
}
