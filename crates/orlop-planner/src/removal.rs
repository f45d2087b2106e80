//! How a service that is being removed ends.
//!
//! Of the services that a deployment is losing, those that depend on others go first: a service is told to stop
//! gracefully once every service that depends on it has nothing left running, so that nobody loses its database in the
//! middle of its last requests. Each wait is bounded by the grace period of what is waited for. Replicas on a node that is
//! silent hold nobody back, and a forced stop waits for nothing.

use crate::Draft;
use crate::cluster::{ByService, Cluster};
use crate::placement::is_alive;
use crate::roster::is_gone;
use orlop_model::plan::Step;
use orlop_model::{Desired, Reason, Replica, ServiceName, ServiceRef, ServiceState, ServiceStatus, StopOrder};
use std::collections::{BTreeMap, BTreeSet};

/// The services that must not be stopped yet, each with those of its dependents that still run.
pub(crate) fn held_back<'a>(
    cluster: &'a Cluster,
    replicas: &ByService,
) -> BTreeMap<&'a ServiceRef, BTreeSet<&'a ServiceName>> {
    let mut held: BTreeMap<&ServiceRef, BTreeSet<&ServiceName>> = BTreeMap::new();
    let running = |service: &ServiceRef| {
        let here = |r: &Replica| !r.status.phase.is_finished() && cluster.nodes.get(&r.node).is_some_and(is_alive);
        replicas.get(service).is_some_and(|own| own.iter().any(|r| here(r)))
    };
    let leaving = || cluster.services.values().filter(|s| s.stopping.is_some());
    for dependent in leaving().filter(|s| running(&s.name)) {
        for dependency in &dependent.spec.depends {
            let name =
                ServiceRef { deployment: dependent.name.deployment.clone(), service: dependency.service.clone() };
            if let Some((name, service)) = cluster.services.get_key_value(&name)
                && service.stopping == Some(StopOrder::Graceful)
            {
                held.entry(name).or_default().insert(&dependent.name.service);
            }
        }
    }
    // Services that wait in a circle would wait for ever: a deployment in which nothing moves lets go of all.
    let mut moving: BTreeMap<_, bool> = BTreeMap::new();
    for service in leaving().filter(|s| running(&s.name)) {
        *moving.entry(&service.name.deployment).or_default() |= !held.contains_key(&service.name);
    }
    held.retain(|name, _| moving.get(&name.deployment).copied().unwrap_or(false));
    held
}

/// Ends the replicas of a service that is being removed, as far as its dependents allow, and then the service.
pub(crate) fn end(
    service: &ServiceState,
    order: StopOrder,
    replicas: &[&Replica],
    dependents: Option<&BTreeSet<&ServiceName>>,
    draft: &mut Draft,
) {
    let mut left = 0;
    for replica in replicas {
        if is_gone(replica.status.phase) {
            draft.forget(replica);
            continue;
        }
        left += 1;
        if dependents.is_none() || replica.desired != Desired::Run {
            draft.stop(replica, order, Reason::new("stopping", format!("{} is being removed", service.name)));
        }
    }
    if left == 0 {
        draft.steps.push(Step::Remove { service: service.name.clone() });
        return;
    }
    let waits = dependents.map(|dependents| {
        let names: Vec<&str> = dependents.iter().map(|name| name.as_str()).collect();
        Reason::new("waiting_dependents", format!("stops when what depends on it has stopped: {}", names.join(", ")))
    });
    draft.note(service, ServiceStatus { blocked: waits.into_iter().collect(), dependency_fault: None });
}

/// Ends replicas whose service is not known. The state machine never forgets a service before its replicas, so these are
/// somebody's mistake, which would otherwise run for ever.
pub(crate) fn end_orphans(replicas: &[&Replica], draft: &mut Draft) {
    for replica in replicas {
        if is_gone(replica.status.phase) {
            draft.forget(replica);
        } else {
            let why = Reason::new("stopping", format!("there is no service {}", replica.service));
            draft.stop(replica, StopOrder::Graceful, why);
        }
    }
}
