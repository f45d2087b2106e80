//! A node's agent fell silent, or is heard again, as the leader judges. Its replicas are believed to run on.

use crate::answer::{Answer, Refusal};
use crate::command::Change;
use crate::entity::Entity;
use crate::history::of_node;
use orlop_model::{Level, Liveness, NodeId};

/// A node's agent is not heard any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSilent {
    /// Which node.
    pub node: NodeId,
}

/// A node's agent is heard again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAlive {
    /// Which node.
    pub node: NodeId,
}

impl NodeSilent {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        set(change, self.node, false)
    }
}

impl NodeAlive {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        set(change, self.node, true)
    }
}

fn set(change: &mut Change<'_>, id: NodeId, alive: bool) -> Result<Answer, Refusal> {
    let now = change.now;
    let Some(node) = change.state.nodes.get_mut(&id) else {
        return Err(Refusal::not_found("node_not_found", format!("there is no node {id}; it must register first")));
    };
    if alive == (node.liveness == Liveness::Alive) {
        return Ok(Answer::Done);
    }
    node.liveness = if alive { Liveness::Alive } else { Liveness::Silent(now) };
    let name = node.name.clone();
    change.changed.insert(Entity::Node(id));
    if alive {
        change.tell(Level::Info, of_node(id), "node_returned", format!("node {name} is back"));
    } else {
        let message = format!("the agent of node {name} is silent; its replicas are believed to run on");
        change.tell(Level::Warning, of_node(id), "node_silent", message);
    }
    Ok(Answer::Done)
}
