//! `orlop.cluster.v1`: nodes, and what they say of their replicas.

use super::enums;
use crate::cluster::v1 as pb;
use crate::invalid::{choice, counted, parsed, text, word};
use crate::node::v1::{ReplicaReport, ReportRequest};
use crate::{InvalidWire, Within};
use orlop_model::{
    Cpu, Generation, Liveness, Memory, Node, NodeId, ReplicaId, ReplicaStatus, Scheduling, Timestamp, limit,
};
use std::collections::BTreeMap;
use std::net::IpAddr;

enums! {
    pb::NodeScheduling = Scheduling { Open, Cordoned, Draining }
}

impl From<&Node> for pb::Node {
    fn from(node: &Node) -> Self {
        Self {
            id: node.id.to_string(),
            name: node.name.to_string(),
            cpu_millis: node.cpu.0,
            memory_bytes: node.memory.0,
            labels: node.labels.clone(),
            subnet: node.subnet.to_string(),
            version: node.version.clone(),
            registered_at_ms: node.registered_at.0,
            silent_since_ms: node.liveness.silent_since().map(|since| since.0),
            lost: matches!(node.liveness, Liveness::Lost(_)),
            address: node.address.as_ref().map(ToString::to_string).unwrap_or_default(),
            scheduling: match node.scheduling {
                Scheduling::Open => pb::NodeScheduling::Unspecified,
                other => other.into(),
            }
            .into(),
        }
    }
}

impl TryFrom<pb::Node> for Node {
    type Error = InvalidWire;

    fn try_from(wire: pb::Node) -> Result<Self, InvalidWire> {
        Ok(Self {
            id: parsed("id", &wire.id)?,
            name: parsed("name", &wire.name)?,
            cpu: Cpu(wire.cpu_millis),
            memory: Memory(wire.memory_bytes),
            labels: labels_of(wire.labels).within("labels")?,
            subnet: parsed("subnet", &wire.subnet)?,
            version: text("version", wire.version, limit::WORD_BYTES_MAX)?,
            registered_at: Timestamp(wire.registered_at_ms),
            address: address_of("address", &wire.address)?,
            liveness: match wire.silent_since_ms.map(Timestamp) {
                None => Liveness::Alive,
                Some(since) if wire.lost => Liveness::Lost(since),
                Some(since) => Liveness::Suspect(since),
            },
            scheduling: scheduling_of("scheduling", wire.scheduling)?,
        })
    }
}

/// What a node says of its replicas.
pub fn report_of(node: NodeId, replicas: &[(ReplicaId, (Generation, ReplicaStatus))]) -> ReportRequest {
    let replicas = replicas.iter().map(|(replica, (generation, status))| ReplicaReport {
        replica: replica.to_string(),
        generation: generation.0,
        status: Some(status.into()),
    });
    ReportRequest { node: node.to_string(), replicas: replicas.collect() }
}

/// The IP address of a node; none of an empty text. One that no other machine can have is refused.
pub fn address_of(field: &str, wire: &str) -> Result<Option<IpAddr>, InvalidWire> {
    if wire.is_empty() {
        return Ok(None);
    }
    let address: IpAddr = parsed(field, wire)?;
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return Err(InvalidWire::new(field, format!("found {address}, at which no other node reaches this one")));
    }
    Ok(Some(address))
}

/// Whether a node takes replicas; unspecified is open.
pub fn scheduling_of(field: &str, wire: i32) -> Result<Scheduling, InvalidWire> {
    if wire == pb::NodeScheduling::Unspecified as i32 {
        return Ok(Scheduling::Open);
    }
    choice::<pb::NodeScheduling, _>(field, wire)
}

/// Checks a node's labels: at most [`limit::ITEMS_MAX`], keys not empty, keys and values short and without control
/// characters.
pub fn labels_of(wire: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, InvalidWire> {
    counted("", wire.len(), limit::ITEMS_MAX)?;
    for (key, value) in &wire {
        word("", key.clone(), limit::WORD_BYTES_MAX)?;
        if !value.is_empty() {
            word(key, value.clone(), limit::WORD_BYTES_MAX)?;
        }
    }
    Ok(wire)
}
