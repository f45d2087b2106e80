//! What every plan must satisfy, stated without knowing how plans are made.
//!
//! The steps are followed one by one on a copy of the cluster, as the state machine takes them. The properties, the
//! simulation and every debug build go through here.

use crate::Cluster;
use orlop_model::plan::{Plan, Step};
use orlop_model::spec::{Condition, Dependency, NodeAttribute, OnFailure};
use orlop_model::{
    Desired, Generation, Liveness, NodeId, Outcome, Phase, Replica, ReplicaId, ReplicaStatus, Resources, Scheduling,
    ServiceRef, ServiceState, StopOrder, Timestamp,
};
use std::collections::BTreeSet;

/// A promise that a plan breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step {step}: {what}")]
pub struct Violation {
    /// Index of the step.
    pub step: usize,
    /// What is wrong with it.
    pub what: String,
}

/// The promises that a plan made for a cluster at a time breaks; empty for a sound plan.
pub fn violations(cluster: &Cluster, plan: &Plan, now: Timestamp) -> Vec<Violation> {
    let mut walk = Walk { before: cluster, after: cluster.clone(), now, found: Vec::new(), step: 0 };
    for (index, step) in plan.steps.iter().enumerate() {
        walk.step = index;
        match step {
            Step::Start { replica, service, slot, generation, node, .. } => {
                walk.start(*replica, service, *slot, *generation, *node);
            }
            Step::Stop { replica, order, .. } => walk.stop(*replica, *order),
            Step::Forget { replica } => walk.forget(*replica),
            Step::Note { service, generation, status } => match walk.after.services.get_mut(service) {
                None => walk.report(format!("notes {service}, which is not known")),
                Some(state) if state.generation != *generation => {
                    walk.report(format!("notes {service} at generation {generation}"));
                }
                Some(state) if state.status == *status => walk.report(format!("notes nothing new of {service}")),
                Some(state) => state.status = status.clone(),
            },
            Step::Remove { service } => walk.remove(service),
        }
    }
    if plan.revision != cluster.revision {
        walk.report(format!("is for revision {}, not {}", plan.revision, cluster.revision));
    }
    if plan.wake_at.is_some_and(|at| at <= now) {
        walk.report("asks to be woken in the past".into());
    }
    walk.found
}

struct Walk<'a> {
    before: &'a Cluster,
    after: Cluster,
    now: Timestamp,
    found: Vec<Violation>,
    step: usize,
}

impl Walk<'_> {
    fn report(&mut self, what: String) {
        self.found.push(Violation { step: self.step, what });
    }

    fn of(&self, service: &ServiceRef) -> Vec<&Replica> {
        self.after.replicas.values().filter(|r| r.service == *service).collect()
    }

    fn start(&mut self, id: ReplicaId, name: &ServiceRef, slot: u32, generation: Generation, node: NodeId) {
        let Some(service) = self.after.services.get(name).cloned() else {
            return self.report(format!("starts {id} of {name}, which is not known"));
        };
        let mut wrong = Vec::new();
        if service.stopping.is_some() {
            wrong.push(format!("{name} is being removed"));
        }
        if generation != service.workload_generation {
            wrong.push(format!("generation {generation} is not {}", service.workload_generation));
        }
        if self.before.replicas.contains_key(&id) || self.after.replicas.contains_key(&id) {
            wrong.push("the id is taken".into());
        }
        if let Some(dependency) = service.spec.depends.iter().find(|d| !self.may_pass(&service, d)) {
            wrong.push(format!("the gate of {} is closed", dependency.service));
        }
        let own = self.of(name);
        let wanted_in_slot: Vec<_> = own.iter().filter(|r| r.slot == slot && is_wanted(r)).collect();
        if wanted_in_slot.len() > 1 || wanted_in_slot.iter().any(|r| r.generation == generation && !self.moves(r)) {
            wrong.push(format!("slot {slot} is taken"));
        }
        let there = own.iter().filter(|r| is_wanted(r) || !r.status.phase.is_finished()).count();
        if there >= service.replicas.saturating_add(service.spec.update.max_surge) as usize {
            wrong.push(format!("{there} replicas are there already"));
        }
        if own.iter().filter(|r| is_wanted(r) && r.generation == generation && !self.moves(r)).count()
            >= service.replicas as usize
        {
            wrong.push("all wanted replicas are there".into());
        }
        let ask = service.spec.workload.resources;
        wrong.extend(self.node_objections(node, &service, ask));
        for what in wrong {
            self.report(format!("starts {id} of {name}: {what}"));
        }
        self.after.replicas.insert(
            id,
            Replica {
                id,
                service: name.clone(),
                slot,
                generation,
                node,
                reserved: ask,
                desired: Desired::Run,
                status: ReplicaStatus::pending(self.now),
            },
        );
    }

    /// Is it to give its place to one on another node?
    fn moves(&self, replica: &Replica) -> bool {
        let node = self.after.nodes.get(&replica.node);
        !replica.status.phase.is_finished() && node.is_some_and(|node| node.scheduling == Scheduling::Draining)
    }

    fn node_objections(&self, id: NodeId, service: &ServiceState, ask: Resources) -> Vec<String> {
        let mut wrong = Vec::new();
        let Some(node) = self.after.nodes.get(&id) else { return vec![format!("{id} is not known")] };
        if node.liveness != Liveness::Alive {
            wrong.push(format!("{} is {}", node.name, node.liveness.word()));
        }
        if node.scheduling != Scheduling::Open {
            wrong.push(format!("{} is {}", node.name, node.scheduling.word()));
        }
        for constraint in &service.spec.placement.constraints {
            let value = match &constraint.attribute {
                NodeAttribute::Name => Some(node.name.as_str()),
                NodeAttribute::Label(key) => node.labels.get(key).map(String::as_str),
            };
            if (value == Some(constraint.value.as_str())) != constraint.equal {
                wrong.push(format!("{} has not {constraint}", node.name));
            }
        }
        let there = self.after.replicas.values().filter(|r| r.node == id && !r.status.phase.is_finished());
        let (mut cpu, mut memory) = (ask.cpu.unwrap_or_default().0, ask.memory.unwrap_or_default().0);
        for replica in there {
            cpu = cpu.saturating_add(replica.reserved.cpu.unwrap_or_default().0);
            memory = memory.saturating_add(replica.reserved.memory.unwrap_or_default().0);
        }
        if ask.cpu.is_some() && cpu > node.cpu.0 || ask.memory.is_some() && memory > node.memory.0 {
            wrong.push(format!("{} is overcommitted", node.name));
        }
        wrong
    }

    /// The promise of `depends`: no first start at a generation before the dependency is up or its time is over.
    fn may_pass(&self, service: &ServiceState, dependency: &Dependency) -> bool {
        let first = self
            .before
            .replicas
            .values()
            .all(|r| r.service != service.name || r.generation != service.workload_generation);
        if !first {
            return true;
        }
        let fault = service.status.dependency_fault.as_ref().filter(|fault| fault.generation == service.generation);
        if fault.is_some_and(|fault| fault.failed) {
            return false;
        }
        let over = dependency.timeout.is_some_and(|timeout| service.changed_at + timeout <= self.now);
        if over && dependency.on_timeout != OnFailure::Fail {
            return true;
        }
        let name = ServiceRef { deployment: service.name.deployment.clone(), service: dependency.service.clone() };
        let up = |r: &&Replica| match dependency.condition {
            Condition::Started => r.desired == Desired::Run && r.status.phase.is_started(),
            Condition::Healthy | Condition::Ready => r.is_ready(),
        };
        self.before.services.get(&name).is_some_and(|target| {
            let own = || self.before.replicas.values().filter(|r| r.service == name);
            match dependency.condition {
                Condition::Ready => {
                    let ready = own().filter(up).filter(|r| r.generation == target.workload_generation).count();
                    ready >= (target.replicas as usize).max(1)
                }
                _ => own().any(|r| up(&r)),
            }
        })
    }

    fn stop(&mut self, id: ReplicaId, order: StopOrder) {
        let Some(replica) = self.after.replicas.get(&id).cloned() else {
            return self.report(format!("stops {id}, which is not known"));
        };
        match (replica.desired, order) {
            (Desired::Run, _) | (Desired::Stop(StopOrder::Graceful), StopOrder::Forced) => {}
            (Desired::Stop(_), _) => self.report(format!("stops {id}, which is told to stop already")),
        }
        if is_gone(replica.status.phase) {
            self.report(format!("stops {id}, which is over"));
        }
        if let Some(service) = self.after.services.get(&replica.service)
            && service.stopping.is_none()
            && replica.desired == Desired::Run
        {
            let objection = self.objection_to_stop(service, &replica);
            objection.into_iter().for_each(|what| self.report(format!("stops {id} of {}: {what}", replica.service)));
        }
        if let Some(replica) = self.after.replicas.get_mut(&id) {
            replica.desired = Desired::Stop(order);
        }
    }

    /// Why a replica of a service that stays must not be stopped.
    fn objection_to_stop(&self, service: &ServiceState, replica: &Replica) -> Option<String> {
        let own = self.of(&service.name);
        let wanted: Vec<_> = own.iter().filter(|r| is_wanted(r)).collect();
        let is_current = |r: &Replica| r.generation == service.workload_generation && !self.moves(r);
        let number = service.replicas as usize;
        if is_current(replica) {
            let currents = wanted.iter().filter(|r| is_current(r)).count();
            return (currents <= number).then(|| format!("only {currents} of {number} are there"));
        }
        let available = |r: &&&&Replica| {
            let settled = !is_current(r) || r.status.since + service.spec.update.min_healthy <= self.now;
            r.id != replica.id && r.is_ready() && settled
        };
        let required = number.saturating_sub(service.spec.update.max_unavailable as usize);
        let left = wanted.iter().filter(available).count();
        (replica.is_ready() && left < required)
            .then(|| format!("only {left} would be available, {required} are required"))
    }

    fn forget(&mut self, id: ReplicaId) {
        let Some(replica) = self.after.replicas.remove(&id) else {
            return self.report(format!("forgets {id}, which is not known"));
        };
        if !is_gone(replica.status.phase) {
            self.report(format!("forgets {id}, which is {}", replica.status.phase.word()));
        }
        let failed = replica.status.phase == Phase::Finished(Outcome::Failed) && replica.desired == Desired::Run;
        if let Some(service) = self.after.services.get(&replica.service)
            && failed
            && service.stopping.is_none()
            && replica.generation == service.workload_generation
            && self.of(&service.name).iter().filter(|r| is_wanted(r) && r.generation == replica.generation).count()
                < service.replicas as usize
        {
            self.report(format!("forgets {id}, which failed at the present generation"));
        }
    }

    fn remove(&mut self, name: &ServiceRef) {
        match self.after.services.remove(name) {
            None => self.report(format!("removes {name}, which is not known")),
            Some(service) if service.stopping.is_none() => self.report(format!("removes {name}, which is to stay")),
            Some(_) => {}
        }
        let left: BTreeSet<ReplicaId> = self.of(name).iter().map(|r| r.id).collect();
        if !left.is_empty() {
            self.report(format!("removes {name}, which has {left:?} left"));
        }
    }
}

/// Does it hold its slot?
fn is_wanted(replica: &Replica) -> bool {
    replica.desired == Desired::Run
        && !matches!(replica.status.phase, Phase::Finished(Outcome::Stopped | Outcome::Lost))
}

fn is_gone(phase: Phase) -> bool {
    matches!(phase, Phase::Finished(Outcome::Stopped | Outcome::Failed | Outcome::Lost))
}
