//! Takes what a node says of its replicas, in order.
//!
//! Reports of replicas that are not known, or not at this node, are named as unknown; those of another generation than
//! the one placed, as stale. Identical reports change nothing, and a time that alone differs is no difference: an agent
//! that starts again repeats what it finds. What is finished stays finished, but for a replica whose node was given up:
//! when the node is back before another replica took the place, it goes on.

use super::submit_plan::is_wanted;
use crate::answer::{Answer, Refusal};
use crate::command::Change;
use crate::history::of_replica;
use crate::limit::REPORTS_MAX;
use crate::state::State;
use orlop_model::{
    Desired, Generation, Health, Level, Liveness, NodeId, Outcome, Phase, Replica, ReplicaId, ReplicaStatus,
};

/// What a node says of its replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportReplicas {
    /// Which node.
    pub node: NodeId,
    /// In the order of what happened; at most [`REPORTS_MAX`].
    pub reports: Vec<ReplicaReport>,
}

/// What several nodes say of their replicas, so that many that speak at once cost one entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportMany {
    /// In the order of arrival; of at most [`REPORTS_MAX`] replicas together. Nodes that are not known are passed over.
    pub nodes: Vec<ReportReplicas>,
}

/// What a node says of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaReport {
    /// Which replica.
    pub replica: ReplicaId,
    /// The workload generation that the node runs.
    pub generation: Generation,
    /// How it is.
    pub status: ReplicaStatus,
}

impl ReportReplicas {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        bounded(self.reports.len())?;
        if !change.state.nodes.contains_key(&self.node) {
            let message = format!("there is no node {}; it must register first", self.node);
            return Err(Refusal::not_found("node_not_found", message));
        }
        let (mut unknown, mut stale) = (Vec::new(), Vec::new());
        self.take_all(change, &mut unknown, &mut stale);
        Ok(Answer::Reported { unknown, stale })
    }

    fn take_all(self, change: &mut Change<'_>, unknown: &mut Vec<ReplicaId>, stale: &mut Vec<ReplicaId>) {
        for report in self.reports {
            match change.state.replicas.get(&report.replica) {
                Some(replica) if replica.node == self.node => {
                    if replica.generation == report.generation {
                        take(change, report);
                    } else {
                        stale.push(report.replica);
                    }
                }
                _ => unknown.push(report.replica),
            }
        }
    }
}

impl ReportMany {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        bounded(self.nodes.iter().map(|node| node.reports.len()).sum())?;
        let (mut unknown, mut stale) = (Vec::new(), Vec::new());
        for node in self.nodes {
            if change.state.nodes.contains_key(&node.node) {
                node.take_all(change, &mut unknown, &mut stale);
            }
        }
        Ok(Answer::Reported { unknown, stale })
    }
}

fn bounded(reports: usize) -> Result<(), Refusal> {
    if reports > REPORTS_MAX {
        let message = format!("{reports} reports at once; send at most {REPORTS_MAX}");
        return Err(Refusal::invalid("too_many_reports", message));
    }
    Ok(())
}

fn take(change: &mut Change<'_>, report: ReplicaReport) {
    let Some(replica) = change.state.replicas.get(&report.replica) else { return };
    let old = &replica.status;
    let same = ReplicaStatus { since: old.since, ..report.status.clone() } == *old;
    let over = match old.phase {
        // Another may have its slot by now.
        Phase::Finished(Outcome::Stopped) => true,
        Phase::Finished(Outcome::Lost) => !may_go_on(change.state, replica),
        phase => phase.is_finished() && !report.status.phase.is_finished(),
    };
    if same || over {
        return;
    }
    let news = news(replica, &report.status);
    let subject = of_replica(replica);
    let at = report.status.since;
    change.edit(report.replica, |replica| replica.status = report.status);
    if let Some((level, code, message)) = news {
        change.tell_at(at, level, subject, orlop_model::Reason::new(code, message));
    }
}

/// Has its node come back before anything took its place?
fn may_go_on(state: &State, replica: &Replica) -> bool {
    let back = state.nodes.get(&replica.node).is_some_and(|node| node.liveness == Liveness::Alive);
    replica.status.is_given_up()
        && back
        && !state.replicas_of(&replica.service).any(|r| r.slot == replica.slot && is_wanted(r))
}

/// What of a transition is worth telling.
fn news(replica: &Replica, new: &ReplicaStatus) -> Option<(Level, &'static str, String)> {
    let old = &replica.status;
    let who = format!("{} slot {}", replica.service, replica.slot);
    let because = |fallback: &str| match (&new.reason, &new.last_exit) {
        (Some(reason), _) => reason.message.clone(),
        (None, Some(exit)) => exit.to_string(),
        (None, None) => fallback.to_owned(),
    };
    let wanted = replica.desired == Desired::Run;
    match new.phase {
        Phase::BackingOff(until) if old.phase != new.phase => {
            let wait = (until - new.since).rounded();
            Some((Level::Warning, "restarting", format!("{who}: {}; tries again in {wait}", because("it failed"))))
        }
        Phase::Finished(outcome) if old.phase != new.phase => Some(match outcome {
            Outcome::Stopped if wanted => (
                Level::Warning,
                "stopped",
                format!("{who} was stopped by somebody else: {}", because("no reason given")),
            ),
            Outcome::Stopped => (Level::Info, "stopped", format!("{who} stopped")),
            Outcome::Failed => (Level::Error, "failed", format!("{who} failed: {}", because("no reason given"))),
            Outcome::Isolated => {
                (Level::Error, "isolated", format!("{who} was isolated: {}", because("no reason given")))
            }
            Outcome::Lost => (Level::Warning, "lost", format!("{who} was lost: {}", because("no reason given"))),
        }),
        Phase::Running(Health::Unhealthy) if old.phase != new.phase => {
            Some((Level::Warning, "unhealthy", format!("{who} is unhealthy: {}", because("its check failed"))))
        }
        // Most ends were told when the wait for the next attempt began.
        _ if new.restarts > old.restarts && (new.last_exit.is_none() || new.last_exit != old.last_exit) => {
            let cause = new.last_exit.map_or_else(|| because("its container was gone"), |exit| exit.to_string());
            Some((Level::Warning, "restarted", format!("{who} was started again: {cause}")))
        }
        phase if phase.is_ready() && !old.phase.is_ready() => {
            let again = if new.restarts > 0 { " again" } else { "" };
            Some((Level::Info, "ready", format!("{who} is ready{again}")))
        }
        _ => None,
    }
}
