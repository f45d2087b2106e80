//! A deploy of what is there already is an operator saying "try again".
//!
//! Replicas of the present generation that failed for good, or that wait for their next attempt, are told to stop; the
//! planner forgets them and starts others in their slots. A dependency that did not come up in time is waited for anew.
//! What runs is not touched, and no generation grows: nothing else is wanted than before.

use crate::command::Change;
use crate::entity::Entity;
use crate::history::of_service;
use orlop_model::{
    ChangeKind, DeploymentName, Desired, Level, Outcome, Phase, Replica, ReplicaId, ServiceChange, ServiceRef,
    StopOrder,
};

/// Characters of a reason that are repeated.
const REASON_CHARS_MAX: usize = 200;

/// Tries again what had failed of a service that a deploy leaves as it is, and says so in the verdict on it.
pub(super) fn again(change: &mut Change<'_>, deployment: &DeploymentName, verdict: &mut ServiceChange) {
    if !matches!(verdict.kind, ChangeKind::Unchanged | ChangeKind::Updated) {
        return;
    }
    let name = ServiceRef { deployment: deployment.clone(), service: verdict.service.clone() };
    let Some(record) = change.state.services.get(&name) else { return };
    let generation = record.state.workload_generation;
    let had_failed = |replica: &&Replica| {
        replica.desired == Desired::Run
            && replica.generation == generation
            && matches!(
                replica.status.phase,
                Phase::BackingOff(_) | Phase::Finished(Outcome::Failed | Outcome::Isolated)
            )
    };
    let failed: Vec<(ReplicaId, String)> =
        change.state.replicas_of(&name).filter(had_failed).map(|replica| (replica.id, what(replica))).collect();
    let fault = record.state.status.dependency_fault.clone().filter(|fault| fault.failed);
    let mut tried: Vec<String> = failed.iter().map(|(_, what)| what.clone()).collect();
    tried.extend(fault.iter().map(|fault| format!("tried again: {}", fault.reason.message)));
    if tried.is_empty() {
        return;
    }
    change.tell(Level::Info, of_service(&name), "retried", format!("{name}: {}", tried.join(", ")));
    for (id, _) in failed {
        change.edit(id, |replica| replica.desired = Desired::Stop(StopOrder::Graceful));
    }
    let now = change.now;
    if fault.is_some()
        && let Some(record) = change.state.services.get_mut(&name)
    {
        record.state.status.dependency_fault = None;
        record.state.changed_at = now;
        change.changed.insert(Entity::Service(name));
    }
    if verdict.kind == ChangeKind::Unchanged {
        verdict.kind = ChangeKind::Retried;
    }
    verdict.fields.extend(tried);
}

fn what(replica: &Replica) -> String {
    let cause = replica.status.reason.as_ref().map(|reason| {
        let short: String = reason.message.chars().take(REASON_CHARS_MAX).collect();
        format!(" ({short})")
    });
    format!("tried again: replica {}, {}{}", replica.slot, replica.status.phase.word(), cause.unwrap_or_default())
}
