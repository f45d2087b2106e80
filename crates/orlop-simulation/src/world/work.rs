//! Schedulers, agents, and an operator who changes his mind.

use super::{Verdict, World};
use crate::call::Call;
use crate::host::SECOND;
use crate::violation::{Check, Violation};
use orlop_model::spec::{Deployment, Service, Update, Workload};
use orlop_model::{Cpu, Memory, Millis, NodeId, ServiceRef, Timestamp};
use orlop_state::Kind;
use orlop_state::command::{Deploy, JudgeNodes, RegisterNode, Scale, Verdict as Judged};
use std::collections::BTreeMap;

const OPERATOR: u64 = 4001;
const NODES: u64 = 3;

/// The deployment at its n-th version. `single` is to run once; `many` is scaled.
fn deploy(version: u64) -> Option<Kind> {
    let update = Update { max_surge: 0, max_unavailable: 1, min_healthy: Millis(100) };
    let service =
        |version: u64| Service { update, ..Service::of(Workload::of(format!("registry.test/app:{version}"))) };
    let services = BTreeMap::from([("single".parse().ok()?, service(version)), ("many".parse().ok()?, service(1))]);
    let deployment = Deployment { name: "shop".parse().ok()?, services };
    Some(Kind::Deploy(Deploy { deployment, expected_generation: None, retry: false }))
}

impl World {
    /// What there is to run, and where.
    pub(super) fn begin_work(&mut self) -> Verdict {
        let wrong = || Violation::new(Check::Progress, "the work could not be made");
        for number in 0..NODES {
            let node = RegisterNode {
                address: None,
                node: NodeId::from_u128(u128::from(number) + 1),
                name: format!("node-{number}").parse().map_err(|_| wrong())?,
                cpu: Cpu(8000),
                memory: Memory(16 << 30),
                labels: BTreeMap::new(),
                version: "1".into(),
            };
            self.submit_at_start(Kind::RegisterNode(node))?;
        }
        self.submit_at_start(deploy(1).ok_or_else(wrong)?)
    }

    /// A clock that no fault moves.
    fn now(&self) -> Timestamp {
        Timestamp(crate::host::EPOCH + self.tick * 5)
    }

    pub(super) fn work(&mut self) -> Verdict {
        let (tick, now) = (self.tick, self.now());
        for scheduler in &mut self.schedulers {
            scheduler.step(tick, &self.hosts, now, &mut self.chance, &self.network)?;
        }
        for agent in &mut self.agents {
            agent.step(tick, &self.hosts, now, &mut self.chance, &self.network)?;
        }
        self.look_at_replicas()
    }

    /// The operator does something now and then, and does not wait for it.
    pub(super) fn operate(&mut self) {
        if self.tick < self.operates_at {
            return;
        }
        self.operates_at = self.tick + self.chance.between(SECOND / 2, 3 * SECOND);
        let node = NodeId::from_u128(u128::from(self.chance.between(1, NODES)));
        let service = |name: &str| Some(ServiceRef { deployment: "shop".parse().ok()?, service: name.parse().ok()? });
        let kind = match self.chance.below(5) {
            0 | 1 => {
                let replicas = self.chance.between(0, 4) as u32;
                service("many").map(|service| Kind::Scale(Scale { service, replicas }))
            }
            2 => {
                self.version += 1;
                deploy(self.version)
            }
            3 => Some(Kind::JudgeNodes(JudgeNodes::one(node, Judged::Suspect))),
            _ => Some(Kind::JudgeNodes(JudgeNodes::one(node, Judged::Alive))),
        };
        let hosts = self.ids();
        if let (Some(kind), Some(to)) = (kind, self.chance.pick(&hosts)) {
            // Who asked does not care.
            drop(Call::send(&self.network, (OPERATOR, to), kind, self.tick));
        }
    }

    /// `single` has one process at most, whoever is told to start or stop what.
    fn look_at_replicas(&self) -> Verdict {
        let mut found = Vec::new();
        for agent in &self.agents {
            let here =
                agent.replicas.iter().filter(|(_, local)| local.runs() && local.service.service.as_str() == "single");
            found.extend(here.map(|(id, local)| (*id, agent.node, local.generation)));
        }
        if found.len() > 1 {
            return Err(Violation::new(Check::OneReplica, format!("single runs {} times: {found:?}", found.len())));
        }
        Ok(())
    }
}
