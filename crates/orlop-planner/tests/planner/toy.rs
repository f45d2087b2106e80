//! The least state machine that takes plans: every step is compared with the state, and refused where it no longer holds.

use orlop_model::plan::{Plan, Step};
use orlop_model::{
    Desired, NodeId, Outcome, Phase, Replica, ReplicaId, ReplicaStatus, Resources, Revision, Scheduling, StopOrder,
    Timestamp,
};
use orlop_planner::Cluster;

/// Takes the steps that hold; gives the number of those that did not.
pub(crate) fn apply(cluster: &mut Cluster, plan: &Plan, now: Timestamp) -> usize {
    cluster.revision = Revision(cluster.revision.0 + 1);
    plan.steps.iter().filter(|step| !take(cluster, step, now)).count()
}

fn take(cluster: &mut Cluster, step: &Step, now: Timestamp) -> bool {
    match step {
        Step::Start { replica, service: name, slot, generation, node, .. } => {
            let Some(service) = cluster.services.get(name) else { return false };
            let wanted = |r: &&Replica| {
                r.service == *name
                    && r.slot == *slot
                    && r.desired == Desired::Run
                    && !matches!(r.status.phase, Phase::Finished(Outcome::Stopped | Outcome::Lost))
            };
            let drained = |id| cluster.nodes.get(&id).is_some_and(|node| node.scheduling == Scheduling::Draining);
            let moves = |r: &Replica| !r.status.phase.is_finished() && drained(r.node);
            let taken = cluster.replicas.values().filter(wanted).any(|r| r.generation == *generation && !moves(r));
            if service.stopping.is_some() || service.workload_generation != *generation || taken {
                return false;
            }
            if !has_room(cluster, *node, service.spec.workload.resources) {
                return false;
            }
            let new = Replica {
                id: *replica,
                service: name.clone(),
                slot: *slot,
                generation: *generation,
                node: *node,
                reserved: service.spec.workload.resources,
                desired: Desired::Run,
                status: ReplicaStatus::pending(now),
            };
            cluster.replicas.insert(*replica, new).is_none()
        }
        Step::Stop { replica, order, .. } => match cluster.replicas.get_mut(replica) {
            Some(replica)
                if replica.desired == Desired::Run
                    || (*order == StopOrder::Forced && replica.desired == Desired::Stop(StopOrder::Graceful)) =>
            {
                replica.desired = Desired::Stop(*order);
                true
            }
            _ => false,
        },
        Step::Forget { replica } => {
            let over = cluster.replicas.get(replica).is_some_and(|r| r.status.phase.is_finished());
            over && cluster.replicas.remove(replica).is_some()
        }
        Step::Note { service, generation, status } => match cluster.services.get_mut(service) {
            Some(service) if service.generation == *generation => {
                service.status = status.clone();
                true
            }
            _ => false,
        },
        Step::Remove { service: name } => {
            let stopping = cluster.services.get(name).is_some_and(|service| service.stopping.is_some());
            let empty = cluster.replicas.values().all(|r| r.service != *name);
            stopping && empty && cluster.services.remove(name).is_some()
        }
    }
}

fn has_room(cluster: &Cluster, node: NodeId, ask: Resources) -> bool {
    let Some(node) = cluster.nodes.get(&node) else { return false };
    let (mut cpu, mut memory) = (ask.cpu.unwrap_or_default().0, ask.memory.unwrap_or_default().0);
    for replica in cluster.replicas.values().filter(|r| r.node == node.id && !r.status.phase.is_finished()) {
        cpu += replica.reserved.cpu.unwrap_or_default().0;
        memory += replica.reserved.memory.unwrap_or_default().0;
    }
    (ask.cpu.is_none() || cpu <= node.cpu.0) && (ask.memory.is_none() || memory <= node.memory.0)
}

/// Gives ids in order.
pub(crate) fn ids(next: &mut u128) -> impl FnMut() -> ReplicaId + '_ {
    move || {
        *next += 1;
        ReplicaId::from_u128(1000 + *next)
    }
}
