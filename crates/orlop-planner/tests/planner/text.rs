//! A cluster as text, and a plan as text.
//!
//! ```text
//! now 1000s
//! node alpha cpu=2 memory=4Gi disk=ssd suspect
//! service shop/api gen=3 workload=2 replicas=2 cpu=1 memory=256Mi surge=1 unavailable=0 min_healthy=10s changed=990s
//!         depends=db:healthy:5m:fail where=disk==ssd where=name!=beta stopping kill
//! replica a0 shop/api/0 gen=2 on=alpha healthy since=900s stop kill
//! ```
//! A line that begins with a space goes on with the one before. What is left out has a plain default.

use orlop_model::lifecycle::NODE_LOST;
use orlop_model::plan::{Plan, Step};
use orlop_model::spec::{Condition, Constraint, Dependency, NodeAttribute, OnFailure, Service, Update, Workload};
use orlop_model::{
    Cpu, Desired, Generation, Health, Liveness, Memory, Millis, Node, NodeId, Outcome, Phase, Reason, Replica,
    ReplicaId, ReplicaStatus, Resources, Revision, Scheduling, ServiceRef, ServiceState, ServiceStatus, StopOrder,
    Timestamp,
};
use orlop_planner::Cluster;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A cluster read from text, with the names that its replicas have there.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) now: Timestamp,
    names: BTreeMap<ReplicaId, String>,
}

pub(crate) fn millis(text: &str) -> Millis {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).expect("a unit"));
    let unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        other => panic!("unit {other}"),
    };
    Millis(number.parse::<u64>().expect("a number") * unit)
}

fn time(text: &str) -> Timestamp {
    Timestamp(millis(text).0)
}

fn cpu(text: &str) -> Cpu {
    Cpu((text.parse::<f64>().expect("cpu") * 1000.0) as u64)
}

fn memory(text: &str) -> Memory {
    let (number, unit) = text.split_at(text.len() - 2);
    let shift = match unit {
        "Mi" => 20,
        "Gi" => 30,
        other => panic!("unit {other}"),
    };
    Memory(number.parse::<u64>().expect("a number") << shift)
}

/// A service that asks for nothing.
pub(crate) fn plain_service() -> Service {
    Service {
        update: Update { max_surge: 1, max_unavailable: 0, min_healthy: Millis::from_secs(10) },
        ..Service::of(Workload::of("registry.example/app:1"))
    }
}

pub(crate) fn plain_node(id: u128, name: &str) -> Node {
    Node {
        id: NodeId::from_u128(id),
        name: name.parse().expect("a node's name"),
        cpu: Cpu(4000),
        memory: Memory(8 << 30),
        labels: BTreeMap::new(),
        subnet: "10.200.0.0/24".parse().expect("a subnet"),
        version: "0".into(),
        registered_at: Timestamp(0),
        address: None,
        liveness: Liveness::Alive,
        scheduling: Scheduling::Open,
    }
}

impl Scene {
    pub(crate) fn read(text: &str) -> Scene {
        let mut scene = Scene {
            cluster: Cluster { revision: Revision(7), ..Cluster::default() },
            now: time("1000s"),
            names: BTreeMap::new(),
        };
        let joined = text.replace("\n ", " ");
        for line in joined.lines().filter(|line| !line.trim().is_empty()) {
            let mut words = line.split_whitespace();
            match words.next().expect("a word") {
                "now" => scene.now = time(words.next().expect("a time")),
                "node" => scene.node(words),
                "service" => scene.service(words),
                "replica" => scene.replica(words),
                other => panic!("{other} in {line:?}"),
            }
        }
        scene
    }

    fn node<'a>(&mut self, mut words: impl Iterator<Item = &'a str>) {
        let name = words.next().expect("a name");
        let mut node = plain_node(self.cluster.nodes.len() as u128 + 1, name);
        for word in words {
            match word.split_once('=') {
                Some(("cpu", value)) => node.cpu = cpu(value),
                Some(("memory", value)) => node.memory = memory(value),
                Some((key, value)) => {
                    node.labels.insert(key.into(), value.into());
                }
                None if word == "suspect" => node.liveness = Liveness::Suspect(Timestamp(0)),
                None if word == "lost" => node.liveness = Liveness::Lost(Timestamp(0)),
                None if word == "cordoned" => node.scheduling = Scheduling::Cordoned,
                None if word == "draining" => node.scheduling = Scheduling::Draining,
                None => panic!("{word}"),
            }
        }
        self.cluster.nodes.insert(node.id, node);
    }

    fn service<'a>(&mut self, mut words: impl Iterator<Item = &'a str>) {
        let name: ServiceRef = words.next().expect("a name").parse().expect("deployment/service");
        let mut spec = plain_service();
        let mut resources = Resources::default();
        let mut state = ServiceState {
            name: name.clone(),
            generation: Generation(1),
            workload_generation: Generation(0),
            spec: Arc::new(plain_service()),
            replicas: 1,
            changed_at: self.now,
            stopping: None,
            status: ServiceStatus::default(),
            faults: Vec::new(),
        };
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "gen" => state.generation = Generation(value.parse().expect("a generation")),
                "workload" => state.workload_generation = Generation(value.parse().expect("a generation")),
                "replicas" => state.replicas = value.parse().expect("a number"),
                "changed" => state.changed_at = time(value),
                "stopping" => state.stopping = Some(StopOrder::Graceful),
                "kill" => state.stopping = Some(StopOrder::Forced),
                "cpu" => resources.cpu = Some(cpu(value)),
                "memory" => resources.memory = Some(memory(value)),
                "surge" => spec.update.max_surge = value.parse().expect("a number"),
                "unavailable" => spec.update.max_unavailable = value.parse().expect("a number"),
                "min_healthy" => spec.update.min_healthy = millis(value),
                "depends" => spec.depends.push(dependency(value)),
                "where" => spec.placement.constraints.push(constraint(value)),
                other => panic!("{other}"),
            }
        }
        if state.workload_generation == Generation(0) {
            state.workload_generation = state.generation;
        }
        Arc::make_mut(&mut spec.workload).resources = resources;
        state.spec = Arc::new(spec);
        self.cluster.services.insert(name, state);
    }

    fn replica<'a>(&mut self, mut words: impl Iterator<Item = &'a str>) {
        let id = ReplicaId::from_u128(self.cluster.replicas.len() as u128 + 1);
        self.names.insert(id, words.next().expect("a name").to_owned());
        let (service, slot) = words.next().expect("a slot").rsplit_once('/').expect("deployment/service/slot");
        let service: ServiceRef = service.parse().expect("deployment/service");
        let known = self.cluster.services.get(&service);
        let mut replica = Replica {
            id,
            slot: slot.parse().expect("a slot"),
            generation: known.map(|s| s.workload_generation).unwrap_or_default(),
            node: NodeId::from_u128(1),
            reserved: known.map(|s| s.spec.workload.resources).unwrap_or_default(),
            desired: Desired::Run,
            status: ReplicaStatus::pending(Timestamp(0)),
            service,
        };
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "gen" => replica.generation = Generation(value.parse().expect("a generation")),
                "since" => replica.status.since = time(value),
                "cpu" => replica.reserved.cpu = Some(cpu(value)),
                "on" => replica.node = self.node_named(value),
                "stop" => replica.desired = Desired::Stop(StopOrder::Graceful),
                "kill" => replica.desired = Desired::Stop(StopOrder::Forced),
                "given_up" => {
                    replica.status.phase = Phase::Finished(Outcome::Lost);
                    replica.status.reason = Some(Reason::new(NODE_LOST, "its node was silent for too long"));
                }
                "reason" => replica.status.reason = Some(Reason::new("told", value.replace('_', " "))),
                phase => replica.status.phase = self::phase(phase),
            }
        }
        self.cluster.replicas.insert(id, replica);
    }

    fn node_named(&self, name: &str) -> NodeId {
        self.cluster.nodes.values().find(|n| n.name.as_str() == name).map(|n| n.id).expect("a node above it")
    }

    /// The plan as text, one step per line.
    pub(crate) fn print(&mut self, plan: &Plan) -> String {
        let mut text = String::new();
        for step in &plan.steps {
            let line = match step {
                Step::Start { replica, service, slot, generation, node, why } => {
                    let name = format!("new{}", self.names.values().filter(|name| name.starts_with("new")).count());
                    self.names.insert(*replica, name.clone());
                    let node = &self.cluster.nodes[node].name;
                    format!("start {name} {service}/{slot} gen={generation} on={node}: {}, {}", why.code, why.message)
                }
                Step::Stop { replica, order, why } => {
                    let how = if *order == StopOrder::Forced { "kill" } else { "stop" };
                    format!("{how} {}: {}, {}", self.names[replica], why.code, why.message)
                }
                Step::Forget { replica } => format!("forget {}", self.names[replica]),
                Step::Note { service, status, .. } => {
                    let mut line = format!("note {service}:");
                    for reason in &status.blocked {
                        line.push_str(&format!(" {} ({})", reason.code, reason.message));
                    }
                    if let Some(fault) = &status.dependency_fault {
                        let what = if fault.failed { "failed" } else { "warned" };
                        line.push_str(&format!(" {what}: {} ({})", fault.reason.code, fault.reason.message));
                    }
                    if status.blocked.is_empty() && status.dependency_fault.is_none() {
                        line.push_str(" nothing");
                    }
                    line
                }
                Step::Remove { service } => format!("remove {service}"),
            };
            text.push_str(&line);
            text.push('\n');
        }
        if let Some(at) = plan.wake_at {
            text.push_str(&format!("wake {}s\n", at.0 as f64 / 1000.0));
        }
        for (id, name) in &self.names {
            text = text.replace(&id.to_string(), name);
        }
        text
    }
}

fn phase(word: &str) -> Phase {
    match word {
        "pending" => Phase::Pending,
        "preparing" => Phase::Preparing,
        "initializing" => Phase::Initializing,
        "starting" => Phase::Starting,
        "running" => Phase::Running(Health::Unchecked),
        "healthy" => Phase::Running(Health::Healthy),
        "unhealthy" => Phase::Running(Health::Unhealthy),
        "backing-off" => Phase::BackingOff(Timestamp(0)),
        "ending" => Phase::Stopping,
        "stopped" => Phase::Finished(Outcome::Stopped),
        "failed" => Phase::Finished(Outcome::Failed),
        "isolated" => Phase::Finished(Outcome::Isolated),
        "lost" => Phase::Finished(Outcome::Lost),
        other => panic!("phase {other}"),
    }
}

fn dependency(text: &str) -> Dependency {
    let mut parts = text.split(':');
    let service = parts.next().expect("a service").parse().expect("a name");
    let condition = match parts.next() {
        None | Some("started") => Condition::Started,
        Some("healthy") => Condition::Healthy,
        Some("ready") => Condition::Ready,
        Some(other) => panic!("condition {other}"),
    };
    let timeout = parts.next().map(millis);
    let on_timeout = match parts.next() {
        None | Some("fail") => OnFailure::Fail,
        Some("warn") => OnFailure::Warn,
        Some("continue") => OnFailure::Continue,
        Some(other) => panic!("on_timeout {other}"),
    };
    Dependency { service, condition, timeout, on_timeout }
}

fn constraint(text: &str) -> Constraint {
    let (key, value, equal) = match text.split_once("==") {
        Some((key, value)) => (key, value, true),
        None => text.split_once("!=").map(|(key, value)| (key, value, false)).expect("== or !="),
    };
    let attribute = if key == "name" { NodeAttribute::Name } else { NodeAttribute::Label(key.into()) };
    Constraint { attribute, equal, value: value.into() }
}
