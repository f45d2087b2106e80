//! Values that tests are made of, and a state that takes commands one after the other.

use orlop_model::plan::{Plan, Step};
use orlop_model::spec::*;
use orlop_model::*;
use orlop_state::command::*;
use orlop_state::{Answer, Applied, Command, Entity, Kind, State, stored};
use std::collections::{BTreeMap, BTreeSet};

/// A state with a clock that goes on by a second with every command.
#[derive(Clone, Default)]
pub(crate) struct Machine {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
}

impl Machine {
    /// A cluster with the nodes `alpha` (1) and `beta` (2), and a scheduler that holds the lease.
    pub(crate) fn with_cluster() -> Self {
        let mut machine = Self::default();
        machine.init("10.77.0.0/16");
        machine.register(1, "alpha");
        machine.register(2, "beta");
        machine.apply(Kind::AcquireLease(AcquireLease { holder: "one".into(), ttl: Millis::from_secs(60) }));
        machine
    }

    pub(crate) fn init(&mut self, range: &str) -> Answer {
        let range = range.parse().expect("a range");
        self.apply(Kind::InitCluster(InitCluster { cluster: ClusterId::from_u128(1), range, trust: None })).answer
    }

    /// Applies a command as the log would give it back.
    pub(crate) fn apply(&mut self, kind: Kind) -> Applied {
        self.now = self.now + Millis::from_secs(1);
        let command = Command::new(self.now, kind);
        let read = stored::decode_command(&stored::encode_command(&command));
        assert_eq!(read, command, "the stored form loses nothing");
        self.state.apply(Revision(self.state.revision().0 + 1), read)
    }

    pub(crate) fn register(&mut self, node: u128, name: &str) -> Answer {
        self.apply(Kind::RegisterNode(register(node, name))).answer
    }

    pub(crate) fn deploy(&mut self, deployment: &Deployment) -> Answer {
        let deployment = deployment.clone();
        self.apply(Kind::Deploy(Deploy { deployment, expected_generation: None, retry: false })).answer
    }

    pub(crate) fn stop(&mut self, deployment: &str, service: Option<&str>, order: StopOrder) -> Answer {
        let stop = Stop {
            deployment: deployment.parse().expect("a name"),
            service: service.map(|s| s.parse().expect("a name")),
            order,
        };
        self.apply(Kind::Stop(stop)).answer
    }

    /// Submits steps with the fence of the lease; the refused ones, by index and code.
    pub(crate) fn plan(&mut self, steps: Vec<Step>) -> Vec<(u32, String)> {
        let fence = self.state.lease().map_or(0, |lease| lease.fence);
        let plan = Plan { revision: self.state.revision(), steps, wake_at: None };
        match self.apply(Kind::SubmitPlan(SubmitPlan { fence, plan })).answer {
            Answer::PlanTaken { refused } => refused.into_iter().map(|r| (r.step, r.reason.code)).collect(),
            answer => panic!("{answer:?}"),
        }
    }

    pub(crate) fn report(&mut self, node: u128, replica: u128, status: ReplicaStatus) -> Applied {
        let id = ReplicaId::from_u128(replica);
        let generation = self.state.replica(id).map_or(Generation(1), |r| r.generation);
        let reports = vec![ReplicaReport { replica: id, generation, status }];
        self.apply(Kind::ReportReplicas(ReportReplicas { node: NodeId::from_u128(node), reports }))
    }

    pub(crate) fn codes(&self) -> Vec<&str> {
        self.state.events().map(|e| e.reason.code.as_str()).collect()
    }
}

/// The code of a refusal.
pub(crate) fn refused(answer: &Answer) -> &str {
    match answer {
        Answer::Refused(refusal) => &refusal.reason.code,
        answer => panic!("not refused: {answer:?}"),
    }
}

/// What changed, but for events.
pub(crate) fn lasting(applied: Applied) -> Vec<Entity> {
    applied.changed.into_iter().filter(|e| !matches!(e, Entity::Event(_))).collect()
}

pub(crate) fn register(node: u128, name: &str) -> RegisterNode {
    RegisterNode {
        node: NodeId::from_u128(node),
        name: name.parse().expect("a name"),
        cpu: Cpu(4000),
        memory: Memory(8 << 30),
        labels: BTreeMap::from([("disk".into(), "ssd".into())]),
        version: "0.1.0".into(),
        address: None,
    }
}

pub(crate) fn at(service: &str) -> ServiceRef {
    service.parse().expect("a service")
}

pub(crate) fn start(replica: u128, service: &str, slot: u32, generation: u64, node: u128) -> Step {
    Step::Start {
        replica: ReplicaId::from_u128(replica),
        service: at(service),
        slot,
        generation: Generation(generation),
        node: NodeId::from_u128(node),
        why: Reason::new("new", "it is wanted"),
    }
}

pub(crate) fn end(replica: u128, order: StopOrder) -> Step {
    Step::Stop { replica: ReplicaId::from_u128(replica), order, why: Reason::new("stopping", "it is not wanted") }
}

pub(crate) fn forget(replica: u128) -> Step {
    Step::Forget { replica: ReplicaId::from_u128(replica) }
}

pub(crate) fn in_phase(phase: Phase) -> ReplicaStatus {
    let address = Some("10.77.0.9".parse().expect("an address"));
    ReplicaStatus { phase, address, ..ReplicaStatus::pending(Timestamp(77)) }
}

pub(crate) const READY: Phase = Phase::Running(Health::Healthy);

pub(crate) fn workload(image: &str) -> Workload {
    Workload {
        command: Some(vec!["/api".into()]),
        env: BTreeMap::from([("LOG".into(), EnvValue::Literal("info".into()))]),
        resources: Resources { cpu: Some(Cpu(500)), memory: Some(Memory(256 << 20)) },
        stop_signal: Some(Signal::TERM),
        ..Workload::of(image)
    }
}

pub(crate) fn service(image: &str, path: &str, port: u16, replicas: u32) -> Service {
    Service {
        endpoints: vec![Endpoint {
            name: "http".parse().expect("a name"),
            protocol: Protocol::Http,
            port,
            path: path.into(),
            host: None,
        }],
        scale: orlop_model::spec::Scale::Fixed { replicas },
        ..Service::of(workload(image))
    }
}

/// A deployment whose service `api` answers under `/<name>`.
pub(crate) fn shop(name: &str, image: &str, replicas: u32) -> Deployment {
    with_services(name, [("api", service(image, &format!("/{name}"), 8080, replicas))])
}

pub(crate) fn with_services<const N: usize>(name: &str, services: [(&str, Service); N]) -> Deployment {
    let services = services.map(|(name, service)| (name.parse().expect("a name"), service));
    Deployment { name: name.parse().expect("a name"), services: services.into() }
}

/// A node's agent is not heard.
pub(crate) fn silent(node: NodeId) -> Kind {
    Kind::JudgeNodes(JudgeNodes::one(node, Verdict::Suspect))
}

/// The secrets that a node needs for the replicas that are placed there.
pub(crate) fn secrets_at(state: &State, node: NodeId) -> BTreeSet<orlop_model::trust::SecretName> {
    let assigned = orlop_state::view::snapshot(state, &View::Node(node));
    let workloads = assigned.into_iter().filter_map(|object| match object {
        Object::Assignment(assignment) => Some(assignment.workload),
        _ => None,
    });
    workloads.flat_map(|workload| workload.secrets().into_iter().cloned().collect::<Vec<_>>()).collect()
}
