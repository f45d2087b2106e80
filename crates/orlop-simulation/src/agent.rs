//! An agent that runs what its view of the node says, and reports each transition until it is answered. Its containers
//! only take time.

use crate::call::{Call, Heard};
use crate::chance::Chance;
use crate::follower::Follower;
use crate::host::{Host, SECOND};
use crate::network::Network;
use crate::violation::Violation;
use orlop_model::{
    Desired, Generation, Health, NodeId, Object, Outcome, Phase, ReplicaId, ReplicaStatus, ServiceRef, Timestamp, View,
};
use orlop_state::command::{ReplicaReport, ReportReplicas};
use orlop_state::{Answer, Kind};
use std::collections::{BTreeMap, BTreeSet};

/// Agents' places on the network begin here.
const FIRST: u64 = 3001;
const PATIENCE: u64 = 2 * SECOND;

/// What there is of a replica on the node.
pub(crate) struct Local {
    pub(crate) service: ServiceRef,
    pub(crate) generation: Generation,
    phase: Phase,
    since: Timestamp,
    /// When the next thing happens.
    due: u64,
}

impl Local {
    /// Is there a process of it?
    pub(crate) fn runs(&self) -> bool {
        self.phase.may_have_process()
    }
}

pub(crate) struct Agent {
    id: u64,
    pub(crate) node: NodeId,
    follower: Follower,
    pub(crate) replicas: BTreeMap<ReplicaId, Local>,
    unreported: BTreeSet<ReplicaId>,
    report: Option<(Call, BTreeSet<ReplicaId>)>,
}

impl Agent {
    pub(crate) fn new(number: u64) -> Self {
        let node = NodeId::from_u128(u128::from(number) + 1);
        Self {
            id: FIRST + number,
            node,
            follower: Follower::new(View::Node(node)),
            replicas: BTreeMap::new(),
            unreported: BTreeSet::new(),
            report: None,
        }
    }

    pub(crate) fn step(
        &mut self,
        tick: u64,
        hosts: &BTreeMap<u64, Host>,
        now: Timestamp,
        chance: &mut Chance,
        network: &Network,
    ) -> Result<(), Violation> {
        self.follower.step(hosts, chance)?;
        self.obey(tick, now, chance);
        let heard = self.report.as_ref().map(|(call, _)| call.hear(tick));
        if !matches!(heard, None | Some(Heard::Nothing)) {
            let (_, told) = self.report.take().unzip();
            match heard {
                // What is not placed here, or otherwise, needs no report.
                Some(Heard::Answer(_, Answer::Reported { .. })) => {}
                _ => self.unreported.extend(told.into_iter().flatten()),
            }
        }
        let hosts: Vec<u64> = hosts.keys().copied().collect();
        if self.report.is_none()
            && !self.unreported.is_empty()
            && let Some(to) = chance.pick(&hosts)
        {
            let told = std::mem::take(&mut self.unreported);
            let stale = chance.per_mille(100);
            let reports =
                told.iter().filter_map(|id| Some(self.report_of(*id, stale, self.replicas.get(id)?))).collect();
            if stale {
                // What it ran in an earlier life: to be refused, and told again as it is.
                self.unreported.clone_from(&told);
            }
            let kind = Kind::ReportReplicas(ReportReplicas { node: self.node, reports });
            self.report = Some((Call::send(network, (self.id, to), kind, tick + PATIENCE), told));
        }
        Ok(())
    }

    fn report_of(&self, replica: ReplicaId, stale: bool, local: &Local) -> ReplicaReport {
        let generation = Generation(local.generation.0 + u64::from(stale));
        let status = ReplicaStatus { phase: local.phase, ..ReplicaStatus::pending(local.since) };
        ReplicaReport { replica, generation, status }
    }

    fn obey(&mut self, tick: u64, now: Timestamp, chance: &mut Chance) {
        let mut wanted = BTreeMap::new();
        for object in self.follower.known.values() {
            if let Object::Assignment(assignment) = object {
                wanted.insert(assignment.replica.id, &assignment.replica);
            }
        }
        for (id, replica) in &wanted {
            if !self.replicas.contains_key(id) && !replica.status.phase.is_finished() {
                let local = Local {
                    service: replica.service.clone(),
                    generation: replica.generation,
                    phase: Phase::Preparing,
                    since: now,
                    due: tick + chance.between(1, 60),
                };
                self.replicas.insert(*id, local);
            }
        }
        for (id, local) in &mut self.replicas {
            let runs_on = wanted.get(id).is_some_and(|replica| replica.desired == Desired::Run);
            let next = match local.phase {
                Phase::Preparing | Phase::Running(_) if !runs_on => Some((Phase::Stopping, chance.between(1, 60))),
                Phase::Preparing if tick >= local.due => Some((Phase::Running(Health::Unchecked), 0)),
                Phase::Stopping if tick >= local.due => Some((Phase::Finished(Outcome::Stopped), 0)),
                _ => None,
            };
            if let Some((phase, takes)) = next {
                (local.phase, local.since, local.due) = (phase, now, tick + takes);
                self.unreported.insert(*id);
            }
        }
        self.replicas.retain(|id, local| wanted.contains_key(id) || !local.phase.is_finished());
    }
}
