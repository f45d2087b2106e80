//! Makes a node known, or known again with what has changed, and gives it its subnet, always the same one.
//!
//! Names are unique. A machine that lost its agent's directory comes back with the same name and another id: when the
//! node that had the name is silent, the new one takes its place, its name and its subnet, and the old one's replicas are
//! lost. While the node that has the name is alive, nobody else gets it.

use super::judge_nodes::{forget_node, welcome};
use crate::answer::{Answer, Refusal};
use crate::command::Change;
use crate::entity::Entity;
use crate::history::of_node;
use crate::limit::NODE_PREFIX;
use crate::state::State;
use orlop_model::{Cpu, Level, Liveness, Memory, Node, NodeId, NodeName, Reason};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Makes a node known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterNode {
    /// The id that its agent made.
    pub node: NodeId,
    /// Its name, unique in the cluster.
    pub name: NodeName,
    /// What it can give to replicas.
    pub cpu: Cpu,
    /// What it can give to replicas.
    pub memory: Memory,
    /// What placement constraints see.
    pub labels: BTreeMap<String, String>,
    /// The agent's version.
    pub version: String,
    /// Where other nodes reach it.
    pub address: Option<IpAddr>,
}

impl RegisterNode {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        let namesake = change.state.nodes.values().find(|n| n.name == self.name && n.id != self.node).cloned();
        if let Some(other) = namesake.as_ref().filter(|n| n.liveness == Liveness::Alive) {
            let message = format!(
                "the name {} belongs to {}, which is connected; give this node a name of its own",
                self.name, other.id
            );
            return Err(Refusal::precondition("node_name_taken", message));
        }
        let known = change.state.nodes.get(&self.node);
        let subnet = match (known, &namesake) {
            (Some(known), _) => known.subnet,
            (None, Some(other)) => other.subnet,
            (None, None) => free_subnet(change.state)?,
        };
        // What an operator said of the machine holds for whoever has its name.
        let scheduling = known.or(namesake.as_ref()).map(|node| node.scheduling).unwrap_or_default();
        let given_up = known.is_some_and(|node| matches!(node.liveness, Liveness::Lost(_)));
        let news = match known {
            None => Some(("node_registered", format!("node {} joined with subnet {subnet}", self.name))),
            Some(known) if known.liveness != Liveness::Alive => {
                Some(("node_returned", format!("node {} is back", self.name)))
            }
            Some(known) if known.name != self.name => {
                Some(("node_renamed", format!("node {} is now called {}", known.name, self.name)))
            }
            Some(known) if known.version != self.version => Some((
                "agent_changed",
                format!("the agent of {} went from version {} to {}", self.name, known.version, self.version),
            )),
            Some(_) => None,
        };
        if let Some(other) = namesake {
            replace(change, &other);
        }
        if let Some((code, message)) = news {
            change.tell(Level::Info, of_node(self.node), code, message);
        }
        change.changed.insert(Entity::Node(self.node));
        let node = Node {
            id: self.node,
            name: self.name,
            cpu: self.cpu,
            memory: self.memory,
            labels: self.labels,
            subnet,
            version: self.version,
            registered_at: change.now,
            address: self.address,
            liveness: Liveness::Alive,
            scheduling,
        };
        change.state.nodes.insert(self.node, node);
        if given_up {
            welcome(change, self.node);
        }
        Ok(Answer::Registered { subnet })
    }
}

fn free_subnet(state: &State) -> Result<ipnet::Ipv4Net, Refusal> {
    let taken: BTreeSet<ipnet::Ipv4Net> = state.nodes.values().map(|n| n.subnet).collect();
    let all = state.cluster.iter().flat_map(|c| c.range.subnets(NODE_PREFIX).ok()).flatten();
    all.into_iter().find(|subnet| !taken.contains(subnet)).ok_or_else(|| {
        let range = state.cluster.map(|c| c.range.to_string()).unwrap_or_default();
        let message = format!("all {} subnets of the cluster's range {range} are given to nodes", taken.len());
        Refusal::exhausted("no_subnet_left", message)
    })
}

/// Forgets a silent node whose name another one takes. What ran there is lost.
fn replace(change: &mut Change<'_>, old: &Node) {
    let reason = Reason::new("node_replaced", format!("its node {} came back as another one", old.name));
    let lost = forget_node(change, old, reason);
    let message = format!("node {} came back as another one; {lost} replicas were lost with it", old.name);
    change.tell(Level::Warning, of_node(old.id), "node_replaced", message);
}
