//! What a deploy changes, and what the scheduler would do at once.

use super::table::plain;
use orlop_client::{ClusterState, Planned};
use orlop_model::plan::Step;
use orlop_model::{ChangeKind, DeploymentName, ReplicaId, ServiceChange, StopOrder};

/// The whole plan.
pub(crate) fn plan(state: &ClusterState, deployment: &DeploymentName, planned: &Planned) -> String {
    let head = match planned.generation.0 {
        0 => format!("Deployment {deployment} is new.\n"),
        generation => format!("Deployment {deployment} is at generation {generation}.\n"),
    };
    if planned.changes.iter().all(|change| change.kind == ChangeKind::Unchanged) {
        return format!("{head}A deploy would change nothing.\n");
    }
    let steps: String = planned.steps.iter().filter_map(|step| step_line(state, step)).collect();
    let steps = match steps.is_empty() {
        true => "\nThe scheduler would do nothing at once.\n".to_owned(),
        false => format!("\nThe scheduler would at once:\n{steps}"),
    };
    format!("{head}A deploy would change:\n{}{steps}", changes(&planned.changes))
}

/// One line for each service that changes, and one for each field of it.
pub(crate) fn changes(changes: &[ServiceChange]) -> String {
    let width = changes.iter().map(|change| change.service.as_str().len()).max().unwrap_or(0);
    let mut text = String::new();
    for change in changes {
        let (mark, words) = match change.kind {
            ChangeKind::Unchanged => ('=', "unchanged"),
            ChangeKind::Added => ('+', "added"),
            ChangeKind::Removed => ('-', "removed: its replicas are stopped"),
            ChangeKind::Replaced => ('~', "changed: its replicas are replaced"),
            ChangeKind::Updated => ('~', "changed: its replicas run on"),
            ChangeKind::Retried => ('!', "unchanged, but for what had failed"),
        };
        text.push_str(&format!("  {mark} {:<width$}  {words}\n", change.service.as_str()));
        for field in &change.fields {
            text.push_str(&format!("      {}\n", plain(field)));
        }
    }
    text
}

fn step_line(state: &ClusterState, step: &Step) -> Option<String> {
    let named = |id: &ReplicaId| match state.replicas.get(id) {
        Some(replica) => format!("{}/{}", replica.service, replica.slot),
        None => id.to_string(),
    };
    Some(match step {
        Step::Start { service, slot, node, why, .. } => {
            format!("  start   {service}/{slot} on {}: {why}\n", state.node_name(*node))
        }
        Step::Stop { replica, order: StopOrder::Graceful, why } => format!("  stop    {}: {why}\n", named(replica)),
        Step::Stop { replica, order: StopOrder::Forced, why } => format!("  kill    {}: {why}\n", named(replica)),
        Step::Forget { replica } => format!("  forget  {}\n", named(replica)),
        Step::Remove { service } => format!("  forget  {service}\n"),
        Step::Note { status, .. } if status.blocked.is_empty() => return None,
        Step::Note { service, status, .. } => {
            status.blocked.iter().map(|reason| format!("  wait    {service}: {reason}\n")).collect()
        }
    })
}
