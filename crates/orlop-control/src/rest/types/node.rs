//! Nodes.

use super::Time;
use orlop_client::ClusterState;
use orlop_model::Liveness;
use orlop_proto::cluster::v1 as pb;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A machine with an agent.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct Node {
    pub(in crate::rest) id: String,
    pub(in crate::rest) name: String,
    state: NodeState,
    /// Since when its agent is silent, when it is.
    silent_since: Option<Time>,
    /// What it can give to replicas, in cores.
    cpu: f64,
    /// What its replicas hold of that, in cores.
    cpu_reserved: f64,
    /// What it can give to replicas, in bytes.
    memory: u64,
    /// What its replicas hold of that, in bytes.
    memory_reserved: u64,
    /// Finished ones not counted.
    replicas: u64,
    labels: BTreeMap<String, String>,
    /// The part of the cluster's address range that its replicas live in.
    subnet: String,
    /// Its agent's version.
    version: String,
    registered_at: Time,
    /// Where other nodes reach it; null while that is not known.
    address: Option<String>,
    scheduling: Scheduling,
}

/// Whether a node is to have replicas.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::rest) enum Scheduling {
    /// It takes replicas.
    Open,
    /// It gets no new ones, and keeps those that it has.
    Cordoned,
    /// It gets no new ones, and those that it has are replaced elsewhere.
    Draining,
}

impl From<orlop_model::Scheduling> for Scheduling {
    fn from(scheduling: orlop_model::Scheduling) -> Self {
        match scheduling {
            orlop_model::Scheduling::Open => Scheduling::Open,
            orlop_model::Scheduling::Cordoned => Scheduling::Cordoned,
            orlop_model::Scheduling::Draining => Scheduling::Draining,
        }
    }
}

impl From<Scheduling> for pb::NodeScheduling {
    fn from(scheduling: Scheduling) -> Self {
        match scheduling {
            Scheduling::Open => pb::NodeScheduling::Open,
            Scheduling::Cordoned => pb::NodeScheduling::Cordoned,
            Scheduling::Draining => pb::NodeScheduling::Draining,
        }
    }
}

/// Whether a node shall have replicas.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct ScheduleNode {
    pub(in crate::rest) scheduling: Scheduling,
}

/// What was done to a node.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct NodeChanged {
    pub(in crate::rest) node: String,
    /// The revision at which it was applied.
    pub(in crate::rest) revision: u64,
}

/// Whether a node's agent is connected.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum NodeState {
    /// Its agent holds a connection.
    Alive,
    /// Its agent is silent; its work is believed to run on.
    Suspect,
    /// Its agent has been silent for so long that its work is given up, and replaced elsewhere.
    Lost,
}

impl Node {
    pub(in crate::rest) fn of(state: &ClusterState, node: &orlop_model::Node) -> Self {
        let (mut replicas, mut cpu, mut memory) = (0, 0u64, 0u64);
        for replica in state.replicas.values().filter(|r| r.node == node.id && !r.status.phase.is_finished()) {
            replicas += 1;
            cpu = cpu.saturating_add(replica.reserved.cpu.unwrap_or_default().0);
            memory = memory.saturating_add(replica.reserved.memory.unwrap_or_default().0);
        }
        let (liveness, silent_since) = match node.liveness {
            Liveness::Alive => (NodeState::Alive, None),
            Liveness::Suspect(since) => (NodeState::Suspect, Some(since.into())),
            Liveness::Lost(since) => (NodeState::Lost, Some(since.into())),
        };
        Self {
            id: node.id.to_string(),
            name: node.name.to_string(),
            state: liveness,
            silent_since,
            cpu: cores(node.cpu.0),
            cpu_reserved: cores(cpu),
            memory: node.memory.0,
            memory_reserved: memory,
            replicas,
            labels: node.labels.clone(),
            subnet: node.subnet.to_string(),
            version: node.version.clone(),
            registered_at: node.registered_at.into(),
            address: node.address.map(|address| address.to_string()),
            scheduling: node.scheduling.into(),
        }
    }
}

fn cores(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

/// A page of nodes, by id.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct Nodes {
    /// The revision of the state that this is of.
    pub(in crate::rest) revision: u64,
    pub(in crate::rest) nodes: Vec<Node>,
    /// There are more: ask with `after` set to this.
    pub(in crate::rest) next: Option<String>,
}
