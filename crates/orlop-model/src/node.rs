//! Machines.

use crate::id::NodeId;
use crate::name::NodeName;
use crate::quantity::{Cpu, Memory};
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::net::IpAddr;

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
    /// Where other nodes reach it; without one, they do not reach its replicas.
    pub address: Option<IpAddr>,
    /// Is it there?
    pub liveness: Liveness,
    /// Is it to have replicas?
    pub scheduling: Scheduling,
}

impl Node {
    /// May new replicas be placed on it?
    pub fn takes_replicas(&self) -> bool {
        self.liveness == Liveness::Alive && self.scheduling == Scheduling::Open
    }
}

/// Whether a node's agent is connected, as judged by the leader: `alive → suspect → lost`, and back to alive from either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Liveness {
    /// Its agent holds a connection.
    Alive,
    /// Its agent has been silent since the time given; its work is believed to run on.
    Suspect(Timestamp),
    /// Its agent has been silent since the time given, and so long that its work is given up: it is replaced elsewhere.
    Lost(Timestamp),
}

impl Liveness {
    /// Since when its agent is silent.
    pub fn silent_since(self) -> Option<Timestamp> {
        match self {
            Liveness::Alive => None,
            Liveness::Suspect(since) | Liveness::Lost(since) => Some(since),
        }
    }

    /// The word for it, as shown to people.
    pub fn word(self) -> &'static str {
        match self {
            Liveness::Alive => "alive",
            Liveness::Suspect(_) => "suspect",
            Liveness::Lost(_) => "lost",
        }
    }
}

/// Whether a node is to have replicas, as an operator said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Scheduling {
    /// It takes replicas.
    #[default]
    Open,
    /// It gets no new ones, and keeps those that it has.
    Cordoned,
    /// It gets no new ones, and those that it has are replaced elsewhere.
    Draining,
}

impl Scheduling {
    /// The word for it, as shown to people.
    pub fn word(self) -> &'static str {
        match self {
            Scheduling::Open => "open",
            Scheduling::Cordoned => "cordoned",
            Scheduling::Draining => "draining",
        }
    }
}
