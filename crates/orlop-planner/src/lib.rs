//! Decides what should happen next in a cluster, as a pure function from what is desired and observed to a [`Plan`].
//!
//! A plan is a value: it can be printed, compared, refused, and checked by the thousand. [`check::violations`] states what
//! every plan must satisfy, independently of how plans are made; builds with debug assertions check each plan that is
//! made.
//!
//! The planner remembers nothing. All it goes by is in [`Cluster`], so that a scheduler may die at any moment, and two of
//! them with the same view want the same thing. The rules, by file:
//!
//! - `roster`: which of a service's replicas count as what;
//! - `scale`: which slots a service has, which replicas are too many;
//! - `rollout`: how replicas of an older generation give way;
//! - `dependencies`: when `depends` lets a service start;
//! - `placement`: which node takes a replica;
//! - `removal`: how a service that is being removed ends.

pub mod check;
mod cluster;
mod dependencies;
mod placement;
mod removal;
mod rollout;
mod roster;
mod scale;

pub use cluster::Cluster;

use orlop_model::plan::{Plan, Step};
use orlop_model::{Desired, Reason, ReplicaId, StopOrder, Timestamp};
use std::collections::BTreeMap;

/// The steps that bring the cluster nearer to what is desired, and when to ask again.
///
/// The same cluster, time and ids give the same plan; applied to the state, it leaves nothing to plan until something is
/// reported, changed by an operator, or [`Plan::wake_at`] has come. `ids` is asked for one new id per replica to start.
pub fn plan(cluster: &Cluster, now: Timestamp, ids: &mut dyn FnMut() -> ReplicaId) -> Plan {
    let replicas = cluster.replicas_by_service();
    let none = Vec::new();
    let mut room = placement::Room::of(cluster);
    let mut draft = Draft::default();
    let held = removal::held_back(cluster, &replicas);
    let mut gates = dependencies::Gates { cluster, replicas: &replicas, now, found: BTreeMap::new() };
    for service in dependencies::in_order(cluster) {
        let own = replicas.get(&service.name).unwrap_or(&none);
        match service.stopping {
            Some(order) => removal::end(service, order, own, held.get(&service.name), &mut draft),
            None => {
                let status = rollout::advance(service, own, &gates, &mut room, ids, &mut draft);
                gates.found.insert(&service.name, status.clone());
                draft.note(service, status);
            }
        }
    }
    for (name, orphans) in &replicas {
        if !cluster.services.contains_key(*name) {
            removal::end_orphans(orphans, &mut draft);
        }
    }
    let plan = Plan { revision: cluster.revision, steps: draft.steps, wake_at: draft.wake_at };
    // The checker takes its time with large clusters; what it could find there it finds in small ones.
    if cfg!(debug_assertions) && cluster.replicas.len() + plan.steps.len() < 500 {
        let violations = check::violations(cluster, &plan, now);
        debug_assert_eq!(violations, [], "of {plan:#?}");
    }
    plan
}

/// A plan as it is being written.
#[derive(Default)]
struct Draft {
    steps: Vec<Step>,
    wake_at: Option<Timestamp>,
}

impl Draft {
    fn stop(&mut self, replica: &orlop_model::Replica, order: StopOrder, why: Reason) {
        let firmer = match replica.desired {
            Desired::Run => true,
            Desired::Stop(StopOrder::Graceful) => order == StopOrder::Forced,
            Desired::Stop(StopOrder::Forced) => false,
        };
        if firmer {
            self.steps.push(Step::Stop { replica: replica.id, order, why });
        }
    }

    fn forget(&mut self, replica: &orlop_model::Replica) {
        self.steps.push(Step::Forget { replica: replica.id });
    }

    /// Records what holds the service back, if that is not what is recorded already.
    fn note(&mut self, service: &orlop_model::ServiceState, status: orlop_model::ServiceStatus) {
        if service.status != status {
            self.steps.push(Step::Note { service: service.name.clone(), generation: service.generation, status });
        }
    }

    /// Asks to plan again at a time that is still to come.
    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}
