//! Reports of many nodes, carried together: what arrives while a command is being written is the next command.

use crate::control::Control;
use orlop_model::Revision;
use orlop_state::command::{ReportMany, ReportReplicas};
use orlop_state::{Answer, Kind};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

/// Reports that may wait for the one that is being written; more wait with their nodes.
const WAITING_MAX: usize = 1024;

/// The most parts of reports that are put together: a command has a bound in bytes, and a part may have a long reason.
const TOGETHER_MAX: usize = 1_000;

/// A node's report, and who waits for the revision at which it is taken.
#[derive(Debug)]
pub(crate) struct Waiting {
    report: ReportReplicas,
    taken: oneshot::Sender<Result<Revision, Status>>,
}

/// Where reports are left to be carried.
pub(crate) fn queue() -> (mpsc::Sender<Waiting>, mpsc::Receiver<Waiting>) {
    mpsc::channel(WAITING_MAX)
}

impl Control {
    /// Has a report written, together with others that wait; gives the revision. It must not have more parts than a
    /// command may have.
    pub(crate) async fn report(&self, report: ReportReplicas) -> Result<Revision, Status> {
        let stopping = || Status::unavailable("the control plane is stopping");
        let (taken, answer) = oneshot::channel();
        self.reports.send(Waiting { report, taken }).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    /// Carries reports until the control plane stops.
    pub(crate) async fn carry_reports(&self, mut queue: mpsc::Receiver<Waiting>) {
        let mut left = None;
        loop {
            let first = match left.take() {
                Some(first) => first,
                None => tokio::select! {
                    Some(first) = queue.recv() => first,
                    () = self.stop.cancelled() => return,
                },
            };
            let batch = fill(first, &mut queue, &mut left);
            let (reports, waiting): (Vec<_>, Vec<_>) = batch.into_iter().map(|w| (w.report, w.taken)).unzip();
            let outcome = self.submit(together(reports)).await.map(|(revision, answer)| {
                if let Answer::Reported { unknown, stale } = answer
                    && (!unknown.is_empty() || !stale.is_empty())
                {
                    tracing::debug!(?unknown, ?stale, "reports of replicas that are not placed so were not taken");
                }
                revision
            });
            for taken in waiting {
                // Whoever asked may be gone; what is written stays written.
                let _ = taken.send(outcome.clone());
            }
        }
    }
}

/// What waits, as far as it fits into one command; what does not fit is `left`.
fn fill(first: Waiting, queue: &mut mpsc::Receiver<Waiting>, left: &mut Option<Waiting>) -> Vec<Waiting> {
    let (mut parts, mut batch) = (first.report.reports.len(), vec![first]);
    while let Ok(next) = queue.try_recv() {
        parts += next.report.reports.len();
        if parts > TOGETHER_MAX {
            *left = Some(next);
            break;
        }
        batch.push(next);
    }
    batch
}

fn together(mut reports: Vec<ReportReplicas>) -> Kind {
    match (reports.len(), reports.pop()) {
        (1, Some(only)) => Kind::ReportReplicas(only),
        (_, last) => {
            reports.extend(last);
            Kind::ReportMany(ReportMany { nodes: reports })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_model::{Generation, NodeId, ReplicaId, ReplicaStatus, Timestamp};
    use orlop_state::command::ReplicaReport;

    fn waiting(node: u128, parts: usize) -> Waiting {
        let report = ReplicaReport {
            replica: ReplicaId::from_u128(1),
            generation: Generation(1),
            status: ReplicaStatus::pending(Timestamp(0)),
        };
        let report = ReportReplicas { node: NodeId::from_u128(node), reports: vec![report; parts] };
        Waiting { report, taken: oneshot::channel().0 }
    }

    #[test]
    fn what_waits_goes_together_in_order_and_within_the_bound() {
        let (sender, mut queue) = queue();
        for (node, parts) in [(2, 3), (3, TOGETHER_MAX - 5), (4, 2), (5, 1)] {
            sender.try_send(waiting(node, parts)).unwrap();
        }
        let nodes = |batch: &[Waiting]| batch.iter().map(|w| w.report.node.as_u128()).collect::<Vec<_>>();
        let mut left = None;
        let batch = fill(waiting(1, 2), &mut queue, &mut left);
        assert_eq!(nodes(&batch), [1, 2, 3]);
        let batch = fill(left.take().unwrap(), &mut queue, &mut left);
        assert_eq!(nodes(&batch), [4, 5]);
        assert!(left.is_none());
    }

    #[test]
    fn one_report_is_written_as_ever() {
        let one = waiting(1, 1).report;
        assert_eq!(together(vec![one.clone()]), Kind::ReportReplicas(one.clone()));
        let nodes = vec![one.clone(), waiting(2, 1).report];
        assert_eq!(together(nodes.clone()), Kind::ReportMany(ReportMany { nodes }));
    }
}
