//! Machines.

use crate::id::NodeId;
use crate::name::NodeName;
use crate::quantity::{Cpu, Memory};
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// A machine with an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its id, made by its agent.
    pub id: NodeId,
    /// Its name, unique in the cluster.
    pub name: NodeName,
    /// What it can give to replicas.
    pub cpu: Cpu,
    /// What it can give to replicas.
    pub memory: Memory,
    /// `key=value` pairs that placement constraints see.
    pub labels: BTreeMap<String, String>,
    /// The part of the cluster's address range that its replicas live in; given out at registration.
    pub subnet: ipnet::Ipv4Net,
    /// The agent's version.
    pub version: String,
    /// When it registered last.
    pub registered_at: Timestamp,
    /// Is it there?
    pub liveness: Liveness,
}

/// Whether a node's agent is connected, as judged by the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Liveness {
    /// Its agent holds a connection.
    Alive,
    /// Its agent has been silent since the time given; its work is believed to run on.
    Silent(Timestamp),
}
