//! Takes the steps of a plan that still hold, one after the other, and refuses the others by name.
//!
//! A replica on a node that is drained counts as one of an earlier generation: it is to be replaced.
//!
//! A plan is made from a view that may be old when the plan arrives. Each step is checked on its own against the state as
//! the steps before it left it. What is checked here is what must never be broken, whoever plans: at most one wanted
//! replica of the present generation in a slot, none of an earlier one beside it but the one it replaces, no more wanted
//! replicas than there should be, none of a stale generation, or on a node that is not there or has no room; nothing is
//! forgotten that may still run. Where replicas go and how fast they are replaced is the planner's affair.

use crate::answer::{Answer, Refusal, RefusedStep};
use crate::command::Change;
use crate::entity::Entity;
use crate::history::{of_replica, of_service};
use crate::limit::REPLICAS_MAX;
use crate::state::State;
use orlop_model::plan::{Plan, Step};
use orlop_model::{
    Cpu, Desired, Generation, Level, Liveness, Memory, NodeId, Outcome, Phase, Reason, Replica, ReplicaId,
    ReplicaStatus, Scheduling, ServiceRef, ServiceStatus, StopOrder,
};
use std::collections::BTreeMap;

/// What a scheduler wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmitPlan {
    /// The fence of the lease under which it was made.
    pub fence: u64,
    /// The steps.
    pub plan: Plan,
}

impl SubmitPlan {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        let fence = change.state.lease.as_ref().map_or(0, |lease| lease.fence);
        if self.fence != fence || fence == 0 {
            let message = format!("the plan has fence {}, the lease has {fence}; acquire the lease again", self.fence);
            return Err(Refusal::conflict("stale_fence", message));
        }
        let mut walk = Walk { change, current: BTreeMap::new(), reserved: BTreeMap::new() };
        let mut refused = Vec::new();
        for (index, step) in self.plan.steps.into_iter().enumerate() {
            let taken = match step {
                Step::Start { replica, service, slot, generation, node, why } => {
                    walk.start(replica, service, slot, generation, node, why)
                }
                Step::Stop { replica, order, why } => walk.stop(replica, order, why),
                Step::Forget { replica } => walk.forget(replica),
                Step::Note { service, generation, status } => walk.note(&service, generation, status),
                Step::Remove { service } => walk.remove(&service),
            };
            if let Err(reason) = taken {
                refused.push(RefusedStep { step: u32::try_from(index).unwrap_or(u32::MAX), reason });
            }
        }
        Ok(Answer::PlanTaken { refused })
    }
}

struct Walk<'a, 's> {
    change: &'a mut Change<'s>,
    /// By service: its wanted replicas of the present generation, counted when first needed.
    current: BTreeMap<ServiceRef, usize>,
    /// By node: what is reserved of it, counted when first needed. What is told to stop counts until it is over, so no
    /// step of a plan but a start changes it.
    reserved: BTreeMap<NodeId, (Cpu, Memory)>,
}

/// Does it hold its slot?
pub(super) fn is_wanted(replica: &Replica) -> bool {
    replica.desired == Desired::Run
        && !matches!(replica.status.phase, Phase::Finished(Outcome::Stopped | Outcome::Lost))
}

/// Is it to give its place to one on another node?
fn moves(state: &State, replica: &Replica) -> bool {
    let node = state.nodes.get(&replica.node);
    !replica.status.phase.is_finished() && node.is_some_and(|node| node.scheduling == Scheduling::Draining)
}

/// Is nothing of it left on its node? (Of an isolated replica, there is.)
fn is_gone(replica: &Replica) -> bool {
    matches!(replica.status.phase, Phase::Finished(Outcome::Stopped | Outcome::Failed | Outcome::Lost))
}

/// What everything on a node that is not over has reserved of it.
fn reserved_of(state: &State, node: NodeId) -> (Cpu, Memory) {
    let there = state.replicas.values().filter(|replica| replica.node == node && !replica.status.phase.is_finished());
    there.fold(Default::default(), |(cpu, memory): (Cpu, Memory), replica| {
        (
            Cpu(cpu.0.saturating_add(replica.reserved.cpu.unwrap_or_default().0)),
            Memory(memory.0.saturating_add(replica.reserved.memory.unwrap_or_default().0)),
        )
    })
}

impl Walk<'_, '_> {
    fn start(
        &mut self,
        id: ReplicaId,
        name: ServiceRef,
        slot: u32,
        generation: Generation,
        node: NodeId,
        why: Reason,
    ) -> Result<(), Reason> {
        let state = &*self.change.state;
        if state.replicas.contains_key(&id) {
            return Err(Reason::new("replica_exists", format!("{id} is known already")));
        }
        if state.replicas.len() >= REPLICAS_MAX {
            let message = format!("the cluster has {REPLICAS_MAX} replicas, the most there may be");
            return Err(Reason::new("too_many_replicas", message));
        }
        let Some(record) = state.services.get(&name) else {
            return Err(Reason::new("service_not_found", format!("there is no service {name}")));
        };
        if record.state.stopping.is_some() {
            return Err(Reason::new("service_stopping", format!("{name} is being removed")));
        }
        if generation != record.state.workload_generation {
            let message = format!("{name} is at generation {}, not {generation}", record.state.workload_generation);
            return Err(Reason::new("stale_generation", message));
        }
        match state.nodes.get(&node) {
            None => return Err(Reason::new("node_not_found", format!("there is no node {node}"))),
            Some(node) if node.liveness != Liveness::Alive => {
                let word = node.liveness.word();
                return Err(Reason::new("node_not_alive", format!("node {} is {word}", node.name)));
            }
            Some(node) if node.scheduling != Scheduling::Open => {
                let word = node.scheduling.word();
                return Err(Reason::new("node_not_open", format!("node {} is {word}", node.name)));
            }
            Some(_) => {}
        }
        let first = std::ops::Bound::Included((slot, ReplicaId::from_u128(0)));
        let last = std::ops::Bound::Included((slot, ReplicaId::from_u128(u128::MAX)));
        let in_slot = record.replicas.range((first, last)).filter_map(|(_, other)| state.replicas.get(other));
        let holders: Vec<&Replica> = in_slot.filter(|r| is_wanted(r)).collect();
        let holds = |r: &&&Replica| r.generation == generation && !moves(state, r);
        if let Some(other) = holders.iter().find(holds).or(holders.get(1)) {
            return Err(Reason::new("slot_taken", format!("slot {slot} of {name} is held by {}", other.id)));
        }
        let current = match self.current.get(&name) {
            Some(count) => *count,
            None => {
                let own = record.replicas.iter().filter_map(|(_, other)| state.replicas.get(other));
                own.filter(|r| r.generation == generation && is_wanted(r) && !moves(state, r)).count()
            }
        };
        if current >= record.state.replicas as usize {
            let message = format!("{name} has the {} replicas it should have", record.state.replicas);
            return Err(Reason::new("enough_replicas", message));
        }
        let asks = record.state.spec.workload.resources;
        let held = match self.reserved.get(&node) {
            Some(held) => *held,
            None => reserved_of(state, node),
        };
        let held = (
            Cpu(held.0.0.saturating_add(asks.cpu.unwrap_or_default().0)),
            Memory(held.1.0.saturating_add(asks.memory.unwrap_or_default().0)),
        );
        let fits = state.nodes.get(&node).is_none_or(|node| {
            (asks.cpu.is_none() || held.0 <= node.cpu) && (asks.memory.is_none() || held.1 <= node.memory)
        });
        if !fits {
            return Err(Reason::new("no_room", format!("node {node} has no room for a replica of {name}")));
        }
        self.reserved.insert(node, held);
        self.current.insert(name.clone(), current + 1);
        let replica = Replica {
            id,
            slot,
            generation,
            node,
            reserved: asks,
            desired: Desired::Run,
            status: ReplicaStatus::pending(self.change.now),
            service: name,
        };
        if let Some(record) = self.change.state.services.get_mut(&replica.service) {
            record.replicas.insert((slot, id));
        }
        self.change.touch(&replica);
        let at = self.change.state.nodes.get(&node).map(|n| n.name.to_string()).unwrap_or_default();
        let message = format!("{} slot {slot} was placed on {at}: {}", replica.service, why.message);
        self.change.tell(Level::Info, of_replica(&replica), "placed", message);
        self.change.state.replicas.insert(id, replica);
        Ok(())
    }

    fn known(&self, id: ReplicaId) -> Result<&Replica, Reason> {
        let known = self.change.state.replicas.get(&id);
        known.ok_or_else(|| Reason::new("replica_not_found", format!("there is no replica {id}")))
    }

    fn stop(&mut self, id: ReplicaId, order: StopOrder, why: Reason) -> Result<(), Reason> {
        let replica = self.known(id)?;
        if is_gone(replica) {
            return Err(Reason::new("already_finished", format!("{id} is over: {}", replica.status.phase.word())));
        }
        if let Desired::Stop(old) = replica.desired
            && (old == order || old == StopOrder::Forced)
        {
            return Err(Reason::new("already_stopping", format!("{id} is told to stop already")));
        }
        let (subject, name) = (of_replica(replica), replica.service.clone());
        let message = format!("{name} slot {} is to stop: {}", replica.slot, why.message);
        self.current.remove(&name);
        self.change.edit(id, |replica| replica.desired = Desired::Stop(order));
        self.change.tell(Level::Info, subject, "stopping", message);
        Ok(())
    }

    fn forget(&mut self, id: ReplicaId) -> Result<(), Reason> {
        let replica = self.known(id)?;
        if !is_gone(replica) {
            let message = format!("{id} is {}; only what is finished is forgotten", replica.status.phase.word());
            return Err(Reason::new("not_finished", message));
        }
        let name = replica.service.clone();
        self.current.remove(&name);
        self.change.forget(id);
        Ok(())
    }

    fn note(&mut self, name: &ServiceRef, generation: Generation, status: ServiceStatus) -> Result<(), Reason> {
        let Some(record) = self.change.state.services.get_mut(name) else {
            return Err(Reason::new("service_not_found", format!("there is no service {name}")));
        };
        if record.state.generation != generation {
            let message = format!("{name} is at generation {}, not {generation}", record.state.generation);
            return Err(Reason::new("stale_generation", message));
        }
        if record.state.status == status {
            return Ok(());
        }
        let old = std::mem::replace(&mut record.state.status, status.clone());
        self.change.changed.insert(Entity::Service(name.clone()));
        if let Some(fault) = status.dependency_fault.filter(|fault| old.dependency_fault.as_ref() != Some(fault)) {
            let level = if fault.failed { Level::Error } else { Level::Warning };
            self.change.tell(level, of_service(name), &fault.reason.code, format!("{name}: {}", fault.reason.message));
        }
        for reason in status.blocked {
            if old.blocked.iter().all(|earlier| earlier.code != reason.code) {
                self.change.tell(Level::Info, of_service(name), &reason.code, format!("{name}: {}", reason.message));
            }
        }
        Ok(())
    }

    fn remove(&mut self, name: &ServiceRef) -> Result<(), Reason> {
        let state = &mut *self.change.state;
        let Some(record) = state.services.get(name) else {
            return Err(Reason::new("service_not_found", format!("there is no service {name}")));
        };
        if record.state.stopping.is_none() {
            return Err(Reason::new("service_wanted", format!("{name} is not being removed")));
        }
        if !record.replicas.is_empty() {
            let message = format!("{name} has {} replicas left", record.replicas.len());
            return Err(Reason::new("replicas_left", message));
        }
        state.services.remove(name);
        let last = state.services_of(&name.deployment).next().is_none();
        self.change.changed.insert(Entity::Service(name.clone()));
        self.change.tell(Level::Info, of_service(name), "removed", format!("{name} is removed"));
        if last && let Some(record) = self.change.state.deployments.remove(&name.deployment) {
            let floor = &mut self.change.state.generation_floor;
            *floor = (*floor).max(record.generation);
            self.change.changed.insert(Entity::Deployment(name.deployment.clone()));
        }
        Ok(())
    }
}
