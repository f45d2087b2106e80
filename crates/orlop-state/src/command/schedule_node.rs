//! Says whether a node is to have replicas.
//!
//! While a node is drained, a replica on it and the one that takes over may share a slot. When the draining ends in the middle,
//! one of the two goes: the one that takes over, unless it is ready already.

use super::submit_plan::is_wanted;
use crate::answer::{Answer, Refusal};
use crate::command::Change;
use crate::entity::Entity;
use crate::history::of_node;
use crate::state::State;
use orlop_model::{Desired, Level, NodeId, Replica, ReplicaId, Scheduling, StopOrder};

/// Whether a node is to have replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleNode {
    /// Which node.
    pub node: NodeId,
    /// Is it?
    pub scheduling: Scheduling,
}

impl ScheduleNode {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        let Some(node) = change.state.nodes.get_mut(&self.node) else {
            return Err(Refusal::not_found("node_not_found", format!("there is no node {}", self.node)));
        };
        if node.scheduling == self.scheduling {
            return Ok(Answer::Done);
        }
        let drained = std::mem::replace(&mut node.scheduling, self.scheduling) == Scheduling::Draining;
        let (code, message) = match self.scheduling {
            Scheduling::Open => ("node_open", format!("node {} takes replicas again", node.name)),
            Scheduling::Cordoned => ("node_cordoned", format!("node {} gets no new replicas", node.name)),
            Scheduling::Draining => {
                ("node_draining", format!("node {} gets no new replicas, and its own move away", node.name))
            }
        };
        change.changed.insert(Entity::Node(self.node));
        change.tell(Level::Info, of_node(self.node), code, message);
        if drained {
            for id in superfluous(change.state, self.node) {
                change.edit(id, |replica| replica.desired = Desired::Stop(StopOrder::Graceful));
            }
        }
        Ok(Answer::Done)
    }
}

/// Of the replicas on a node and those that are about to take over from them, the ones that are not needed any more.
fn superfluous(state: &State, node: NodeId) -> Vec<ReplicaId> {
    let here = state.replicas.values().filter(|r| r.node == node && is_wanted(r));
    let pairs = here.filter_map(|own| {
        let same = |other: &&Replica| {
            other.id != own.id && other.slot == own.slot && other.generation == own.generation && is_wanted(other)
        };
        let heir = state.replicas_of(&own.service).find(same)?;
        Some(if heir.is_ready() { own.id } else { heir.id })
    });
    pairs.collect()
}
