//! Commands, one file each: what may change the state, what each of them checks, and what it changes.
//!
//! A command first checks and then changes: a refused one leaves the state as it was, but for the revision.

mod acquire_lease;
mod deploy;
mod init_cluster;
mod judge_nodes;
mod members;
mod record_events;
mod register_node;
mod remove_node;
mod report_endpoints;
mod report_replicas;
mod retry;
mod scale;
mod schedule_node;
mod stop;
mod submit_plan;
mod trust;
mod unreadable;

pub use acquire_lease::AcquireLease;
pub use deploy::Deploy;
pub use init_cluster::{InitCluster, InitialTrust};
pub use judge_nodes::{JudgeNodes, Verdict};
pub use members::{AddMember, MoveMember, RemoveMember};
pub use record_events::{EventRecord, RecordEvents};
pub use register_node::RegisterNode;
pub use remove_node::RemoveNode;
pub use report_endpoints::{ReportEndpoints, UnservedEndpoint};
pub use report_replicas::{ReplicaReport, ReportMany, ReportReplicas};
pub use scale::Scale;
pub use schedule_node::ScheduleNode;
pub use stop::Stop;
pub use submit_plan::SubmitPlan;
pub use trust::*;
pub use unreadable::Unreadable;

use crate::answer::{Answer, Refusal};
use crate::audit;
use crate::entity::Entity;
use crate::limit::CALLER_BYTES_MAX;
use crate::requests::RequestId;
use crate::route;
use crate::state::State;
use orlop_model::{Replica, ReplicaId, Revision, RouteKey, ServiceRef, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A change that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// When, by the clock of whoever submits it.
    pub now: Timestamp,
    /// What.
    pub kind: Kind,
    /// Who asks for it, as the audit log names callers; `None` for the control plane itself.
    pub caller: Option<String>,
    /// A command with the same one, of the same caller, is answered as the first was and changes nothing.
    pub request: Option<RequestId>,
}

impl Command {
    /// A command that nobody asked for, and that is not repeated.
    pub fn new(now: Timestamp, kind: Kind) -> Self {
        Self { now, kind, caller: None, request: None }
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Makes the cluster.
    InitCluster(InitCluster),
    /// Makes a deployment what a spec says.
    Deploy(Deploy),
    /// Sets how many replicas a service has.
    Scale(Scale),
    /// Ends a deployment or a service of it.
    Stop(Stop),
    /// Makes a node known.
    RegisterNode(RegisterNode),
    /// What the leader finds of the nodes' agents.
    JudgeNodes(JudgeNodes),
    /// Whether a node is to have replicas.
    ScheduleNode(ScheduleNode),
    /// A node is gone for good.
    RemoveNode(RemoveNode),
    /// What a node says of its replicas.
    ReportReplicas(ReportReplicas),
    /// What several nodes say of their replicas.
    ReportMany(ReportMany),
    /// What a scheduler wants done.
    SubmitPlan(SubmitPlan),
    /// A scheduler wants the right to submit plans.
    AcquireLease(AcquireLease),
    /// What people should know that is no transition of a replica.
    RecordEvents(RecordEvents),
    /// What the proxy of a node cannot serve.
    ReportEndpoints(ReportEndpoints),
    /// Makes a member known.
    AddMember(AddMember),
    /// A member is reached elsewhere.
    MoveMember(MoveMember),
    /// Forgets a member.
    RemoveMember(RemoveMember),
    /// A change of whom the cluster trusts.
    Trust(TrustCommand),
    /// A command of the log that this version cannot read.
    Unreadable(Unreadable),
}

/// What applying a command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// For the submitter.
    pub answer: Answer,
    /// All that changed, each once, in order.
    pub changed: Vec<Entity>,
}

impl State {
    /// Applies a command. A revision that is not above the state's was applied before and changes nothing.
    pub fn apply(&mut self, revision: Revision, command: Command) -> Applied {
        if revision <= self.revision {
            let message = format!("revision {revision} was applied already; the state is at {}", self.revision);
            return Applied { answer: Answer::Refused(Refusal::conflict("applied_already", message)), changed: vec![] };
        }
        self.revision = revision;
        let key = command.request.map(|request| (request, command.caller.clone()));
        if let Some(answer) = key.as_ref().and_then(|key| self.requests.answer(key)) {
            return Applied { answer: Answer::clone(answer), changed: vec![] };
        }
        let asked = command.caller.clone().zip(audit::asked(&command.kind));
        let mut change = Change { state: self, now: command.now, changed: BTreeSet::new() };
        let answer = match command.kind {
            Kind::InitCluster(command) => command.apply(&mut change),
            Kind::Unreadable(command) => command.apply(&mut change),
            _ if change.state.cluster.is_none() => {
                Err(Refusal::precondition("no_cluster", "the cluster is not made yet; the control plane does that"))
            }
            Kind::Deploy(command) => command.apply(&mut change),
            Kind::Scale(command) => command.apply(&mut change),
            Kind::Stop(command) => command.apply(&mut change),
            Kind::RegisterNode(command) => command.apply(&mut change),
            Kind::JudgeNodes(command) => command.apply(&mut change),
            Kind::ScheduleNode(command) => command.apply(&mut change),
            Kind::RemoveNode(command) => command.apply(&mut change),
            Kind::ReportReplicas(command) => command.apply(&mut change),
            Kind::ReportMany(command) => command.apply(&mut change),
            Kind::SubmitPlan(command) => command.apply(&mut change),
            Kind::AcquireLease(command) => command.apply(&mut change),
            Kind::RecordEvents(command) => command.apply(&mut change),
            Kind::ReportEndpoints(command) => command.apply(&mut change),
            Kind::AddMember(command) => command.apply(&mut change),
            Kind::MoveMember(command) => command.apply(&mut change),
            Kind::RemoveMember(command) => command.apply(&mut change),
            Kind::Trust(command) => command.apply(&mut change),
        };
        let changed = change.changed.into_iter().collect();
        let answer = answer.unwrap_or_else(Answer::Refused);
        if let Some((mut caller, asked)) = asked {
            caller.truncate(caller.floor_char_boundary(CALLER_BYTES_MAX));
            self.audit.append(command.now, caller, asked, audit::outcome(&answer));
        }
        if let Some(key) = key {
            self.requests.remember(command.now, key, Arc::new(answer.clone()));
        }
        Applied { answer, changed }
    }
}

/// A command at work: the state, the command's time, and what it changed so far.
pub(crate) struct Change<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) now: Timestamp,
    pub(crate) changed: BTreeSet<Entity>,
}

impl Change<'_> {
    /// Notes that a replica changed.
    pub(crate) fn touch(&mut self, replica: &Replica) {
        self.changed.insert(Entity::Replica { id: replica.id, service: replica.service.clone(), node: replica.node });
    }

    /// Notes that what answers for the service's endpoints, as they are now, changed.
    pub(crate) fn touch_routes(&mut self, service: &ServiceRef) {
        let Some(record) = self.state.services.get(service) else { return };
        let keys = route::offered(record).map(|e| RouteKey { service: service.clone(), endpoint: e.name.clone() });
        self.changed.extend(keys.map(Entity::Route));
    }

    /// Changes a replica, and notes what that means to views.
    pub(crate) fn edit(&mut self, id: ReplicaId, edit: impl FnOnce(&mut Replica)) {
        let Some(replica) = self.state.replicas.get_mut(&id) else { return };
        let answering = |r: &Replica| r.status.address.filter(|_| r.is_ready());
        let before = answering(replica);
        edit(replica);
        let (routed, replica) = (before != answering(replica), replica.clone());
        self.touch(&replica);
        if routed {
            self.touch_routes(&replica.service);
        }
    }

    /// Forgets a replica, and the spec of its generation if it was the last to run it.
    pub(crate) fn forget(&mut self, id: ReplicaId) {
        let Some(replica) = self.state.replicas.remove(&id) else { return };
        self.touch(&replica);
        if replica.is_ready() {
            self.touch_routes(&replica.service);
        }
        let Some(record) = self.state.services.get_mut(&replica.service) else { return };
        record.replicas.remove(&(replica.slot, id));
        if replica.generation != record.state.workload_generation {
            let runs = |(_, other): &(u32, ReplicaId)| {
                self.state.replicas.get(other).is_some_and(|r| r.generation == replica.generation)
            };
            if !record.replicas.iter().any(runs) {
                record.earlier.remove(&replica.generation);
            }
        }
    }
}
