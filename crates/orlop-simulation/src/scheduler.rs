//! A scheduler: the real planner over the real view, with the real lease. It may sleep through its lease at any moment and
//! go on as if nothing were.

use crate::call::{Call, Heard};
use crate::chance::Chance;
use crate::follower::Follower;
use crate::host::{Host, SECOND};
use crate::network::Network;
use crate::violation::Violation;
use orlop_model::{Millis, Object, ReplicaId, Timestamp, View};
use orlop_planner::Cluster;
use orlop_state::command::{AcquireLease, SubmitPlan};
use orlop_state::{Answer, Kind};
use std::collections::BTreeMap;

/// Schedulers' places on the network begin here.
const FIRST: u64 = 2001;
const PATIENCE: u64 = 2 * SECOND;

pub(crate) struct Scheduler {
    id: u64,
    follower: Follower,
    fence: Option<u64>,
    lease: Option<Call>,
    plan: Option<Call>,
    asks_at: u64,
    plans_at: u64,
    /// A plan is made when the view is as far as the last one.
    planned: u64,
    sleeps_until: u64,
    replicas: u64,
    pub(crate) plans: u64,
}

impl Scheduler {
    pub(crate) fn new(number: u64) -> Self {
        Self {
            id: FIRST + number,
            follower: Follower::new(View::Scheduler),
            fence: None,
            lease: None,
            plan: None,
            asks_at: 0,
            plans_at: 0,
            planned: 0,
            sleeps_until: 0,
            replicas: 0,
            plans: 0,
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
        if tick < self.sleeps_until {
            return Ok(());
        }
        if chance.per_mille(1) {
            self.sleeps_until = tick + chance.between(SECOND, 4 * SECOND);
        }
        self.follower.step(hosts, chance)?;
        match self.lease.as_ref().map(|call| call.hear(tick)) {
            None | Some(Heard::Nothing) => {}
            Some(Heard::Answer(_, Answer::Lease { held, lease })) => {
                self.lease = None;
                self.fence = held.then_some(lease.fence);
            }
            Some(_) => self.lease = None,
        }
        match self.plan.as_ref().map(|call| call.hear(tick)) {
            None | Some(Heard::Nothing) => {}
            Some(Heard::Answer(index, Answer::PlanTaken { .. })) => (self.plan, self.planned) = (None, index),
            Some(_) => {
                self.plan = None;
                self.plans_at = tick + SECOND / 4;
            }
        }
        let hosts: Vec<u64> = hosts.keys().copied().collect();
        let Some(to) = chance.pick(&hosts) else { return Ok(()) };
        if self.lease.is_none() && tick >= self.asks_at {
            self.asks_at = tick + SECOND;
            let kind = Kind::AcquireLease(AcquireLease { holder: format!("scheduler-{}", self.id), ttl: Millis(2000) });
            self.lease = Some(Call::send(network, (self.id, to), kind, tick + PATIENCE));
        }
        if let (Some(fence), None) = (self.fence, &self.plan)
            && tick >= self.plans_at
            && self.follower.revision.0 >= self.planned
        {
            self.plans_at = tick + 20;
            let cluster = self.cluster();
            let (id, replicas) = (u128::from(self.id), &mut self.replicas);
            let mut ids = || {
                *replicas += 1;
                ReplicaId::from_u128((id << 64) + u128::from(*replicas))
            };
            let plan = orlop_planner::plan(&cluster, now, &mut ids);
            if !plan.steps.is_empty() {
                self.plans += 1;
                let kind = Kind::SubmitPlan(SubmitPlan { fence, plan });
                self.plan = Some(Call::send(network, (self.id, to), kind, tick + PATIENCE));
            }
        }
        Ok(())
    }

    fn cluster(&self) -> Cluster {
        let mut cluster = Cluster { revision: self.follower.revision, ..Cluster::default() };
        for object in self.follower.known.values().cloned() {
            match object {
                Object::Service(service) => drop(cluster.services.insert(service.name.clone(), service)),
                Object::Replica(replica) => drop(cluster.replicas.insert(replica.id, replica)),
                Object::Node(node) => drop(cluster.nodes.insert(node.id, node)),
                Object::Assignment(_) | Object::Route(_) | Object::Event(_) => {}
            }
        }
        cluster
    }
}
