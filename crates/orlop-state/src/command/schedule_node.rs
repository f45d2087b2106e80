//! Says whether a node is to have replicas.

use crate::answer::{Answer, Refusal};
use crate::command::Change;
use crate::entity::Entity;
use crate::history::of_node;
use orlop_model::{Level, NodeId, Scheduling};

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
        node.scheduling = self.scheduling;
        let (code, message) = match self.scheduling {
            Scheduling::Open => ("node_open", format!("node {} takes replicas again", node.name)),
            Scheduling::Cordoned => ("node_cordoned", format!("node {} gets no new replicas", node.name)),
            Scheduling::Draining => {
                ("node_draining", format!("node {} gets no new replicas, and its own move away", node.name))
            }
        };
        change.changed.insert(Entity::Node(self.node));
        change.tell(Level::Info, of_node(self.node), code, message);
        Ok(Answer::Done)
    }
}
