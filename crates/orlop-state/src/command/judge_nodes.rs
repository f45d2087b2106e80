//! What the leader finds of the nodes' agents: there, silent, or silent for so long that their work is given up.
//!
//! The leader alone measures how long an agent was silent; only what follows from it comes here, of many nodes at once. The
//! replicas of a suspect node are believed to run on. Those of a lost one are lost, so that others take their place.

use crate::answer::{Answer, Refusal};
use crate::command::Change;
use crate::entity::Entity;
use crate::history::{of_node, of_replica};
use orlop_model::lifecycle::NODE_LOST;
use orlop_model::{Level, Liveness, Node, NodeId, Outcome, Phase, Reason, ReplicaId};
use std::collections::BTreeMap;

/// What the leader finds of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgeNodes {
    /// One verdict for each; nodes that are not known are passed over.
    pub verdicts: BTreeMap<NodeId, Verdict>,
}

/// What the leader finds of a node's agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It is connected.
    Alive,
    /// It is silent.
    Suspect,
    /// It was silent for too long.
    Lost,
}

impl JudgeNodes {
    /// A verdict about one node.
    pub fn one(node: NodeId, verdict: Verdict) -> Self {
        Self { verdicts: [(node, verdict)].into() }
    }

    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        for (id, verdict) in self.verdicts {
            let Some(node) = change.state.nodes.get(&id) else { continue };
            let (name, before) = (node.name.clone(), node.liveness);
            let after = match (before, verdict) {
                (Liveness::Alive, Verdict::Alive) | (Liveness::Lost(_), Verdict::Lost) => continue,
                // The way back from lost leads over alive.
                (Liveness::Suspect(_) | Liveness::Lost(_), Verdict::Suspect) => continue,
                (_, Verdict::Alive) => Liveness::Alive,
                (Liveness::Alive, Verdict::Suspect) => Liveness::Suspect(change.now),
                (before, Verdict::Lost) => Liveness::Lost(before.silent_since().unwrap_or(change.now)),
            };
            if let Some(node) = change.state.nodes.get_mut(&id) {
                node.liveness = after;
            }
            change.changed.insert(Entity::Node(id));
            let (level, code, message) = match after {
                Liveness::Alive => (Level::Info, "node_returned", format!("node {name} is back")),
                Liveness::Suspect(_) => {
                    let message = format!("the agent of node {name} is silent; its replicas are believed to run on");
                    (Level::Warning, "node_silent", message)
                }
                Liveness::Lost(since) => {
                    let count = unfinished(change, id).len();
                    let span = change.now - since;
                    let message = format!("node {name} is given up after {span} of silence, with its {count} replicas");
                    (Level::Error, "node_lost", message)
                }
            };
            change.tell(level, of_node(id), code, message);
            if let (Liveness::Lost(_), Liveness::Alive) = (before, after) {
                welcome(change, id);
            }
            if let Liveness::Lost(_) = after {
                let reason = Reason::new(NODE_LOST, format!("its node {name} was silent for too long"));
                lose(change, id, reason);
            }
        }
        Ok(Answer::Done)
    }
}

/// Tells a node that is back which of its replicas were given up and not replaced yet: it says how they are.
pub(super) fn welcome(change: &mut Change<'_>, node: NodeId) {
    let here = change.state.replicas.values().filter(|r| r.node == node);
    let lost: Vec<_> = here.filter(|r| r.status.is_given_up()).cloned().collect();
    lost.iter().for_each(|replica| change.touch(replica));
}

fn unfinished(change: &Change<'_>, node: NodeId) -> Vec<ReplicaId> {
    let there = change.state.replicas.values().filter(|r| r.node == node && !r.status.phase.is_finished());
    there.map(|r| r.id).collect()
}

/// Gives up what is not over of a node's replicas; tells how many they were.
pub(super) fn lose(change: &mut Change<'_>, node: NodeId, reason: Reason) -> usize {
    let (now, lost) = (change.now, unfinished(change, node));
    for id in &lost {
        change.edit(*id, |replica| {
            replica.status.phase = Phase::Finished(Outcome::Lost);
            replica.status.since = now;
            replica.status.reason = Some(reason.clone());
        });
        if let Some(subject) = change.state.replicas.get(id).map(of_replica) {
            change.tell_at(now, Level::Warning, subject, reason.clone());
        }
    }
    lost.len()
}

/// Forgets a node. What ran there is lost.
pub(super) fn forget_node(change: &mut Change<'_>, node: &Node, reason: Reason) -> usize {
    let lost = lose(change, node.id, reason);
    change.state.nodes.remove(&node.id);
    change.changed.insert(Entity::Node(node.id));
    lost
}
