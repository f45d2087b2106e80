//! What commands that come too late may not change, by the state before and after them.

use crate::violation::{Check, Violation};
use orlop_state::{Kind, State};

/// Is it one of those that are looked at?
pub(crate) fn is_guarded(kind: &Kind) -> bool {
    matches!(kind, Kind::SubmitPlan(_) | Kind::ReportReplicas(_))
}

pub(crate) fn look(kind: &Kind, before: &State, after: &State) -> Option<Violation> {
    match kind {
        Kind::SubmitPlan(plan) => {
            let fence = before.lease().map(|lease| lease.fence);
            let same = before.replicas().eq(after.replicas()) && before.services().eq(after.services());
            (fence != Some(plan.fence) && !same).then(|| {
                let what = format!("a plan with fence {} changed something, and the lease has {fence:?}", plan.fence);
                Violation::new(Check::OneWriter, what)
            })
        }
        Kind::ReportReplicas(reports) => reports.reports.iter().find_map(|report| {
            let replica = before.replica(report.replica).filter(|replica| replica.generation != report.generation)?;
            let others =
                reports.reports.iter().any(|o| o.replica == report.replica && o.generation == replica.generation);
            (!others && after.replica(report.replica) != Some(replica)).then(|| {
                let what = format!(
                    "{} of generation {} was changed by a report of generation {}",
                    replica.id, replica.generation, report.generation
                );
                Violation::new(Check::Generation, what)
            })
        }),
        _ => None,
    }
}
