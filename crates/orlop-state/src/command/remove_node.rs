//! Forgets a node that is gone for good. Its subnet may be given to another.

use super::RevokeIdentity;
use super::judge_nodes::forget_node;
use crate::answer::{Answer, Refusal};
use crate::command::Change;
use crate::history::of_node;
use orlop_model::{Level, Liveness, NodeId, Reason};

/// Forgets a node, and refuses it until it joins again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoveNode {
    /// Which node.
    pub node: NodeId,
    /// Whose certificates are refused from now on: what stands in those of the node.
    pub identity: Option<String>,
}

impl RemoveNode {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        let Some(node) = change.state.nodes.get(&self.node).cloned() else {
            return Err(Refusal::not_found("node_not_found", format!("there is no node {}", self.node)));
        };
        if node.liveness == Liveness::Alive {
            let message = format!("node {} is alive: stop its agent first, or it would join again", node.name);
            return Err(Refusal::precondition("node_alive", message));
        }
        let replicas = change.state.replicas.values();
        let running = replicas.filter(|r| r.node == self.node && !r.status.phase.is_finished()).count();
        if !matches!(node.liveness, Liveness::Lost(_)) && running > 0 {
            let message = format!(
                "node {} is not given up yet, and {running} replicas are believed to run there: drain it, or wait until it \
                 is lost",
                node.name
            );
            return Err(Refusal::precondition("node_in_use", message));
        }
        if let Some(identity) = self.identity {
            RevokeIdentity { identity }.apply(change)?;
        }
        forget_node(change, &node, Reason::new("node_removed", format!("its node {} was removed", node.name)));
        change.tell(Level::Info, of_node(self.node), "node_removed", format!("node {} was removed", node.name));
        Ok(Answer::Done)
    }
}
