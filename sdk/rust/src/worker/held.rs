//! The tasks that the worker holds, over all its streams.

use super::outgoing::Outgoing;
use crate::failure::{Failure, outcome};
use crate::task::{Chain, Invocation, InvocationKind, TaskCode, TaskContext, TaskNews};
use orlop_model::TaskId;
use orlop_model::durable::{AssignedTask, Fence, Outcome, TaskReport, WorkerFrame};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem::take;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;

/// Lines that wait for a stream; those before the last so many are dropped.
const LINES_MAX: usize = 1000;

/// The tasks that the worker holds.
pub(super) struct HeldTasks {
    news: UnboundedSender<TaskNews>,
    chain: Chain,
    cancel_grace: Duration,
    tasks: BTreeMap<TaskId, Held>,
    /// Those with something to send.
    changed: BTreeSet<TaskId>,
    /// Those whose end was sent on this stream, in that order, from the one after the last that the engine has taken.
    sent: VecDeque<(TaskId, Fence)>,
    /// So many ends of this stream the engine has taken.
    taken: u64,
}

struct Held {
    fence: Fence,
    context: TaskContext,
    running: AbortHandle,
    report: Option<TaskReport>,
    end: Option<Outcome>,
    is_sent: bool,
}

impl HeldTasks {
    pub(super) fn new(news: UnboundedSender<TaskNews>, chain: Chain, cancel_grace: Duration) -> Self {
        Self {
            news,
            chain,
            cancel_grace,
            tasks: BTreeMap::new(),
            changed: BTreeSet::new(),
            sent: VecDeque::new(),
            taken: 0,
        }
    }

    /// Whether any task still runs, or its end is not sent.
    pub(super) fn is_busy(&self) -> bool {
        self.tasks.values().any(|held| !held.is_sent)
    }

    /// What a new stream is told.
    pub(super) fn announced(&self) -> Vec<(TaskId, Fence)> {
        self.tasks.iter().map(|(task, held)| (*task, held.fence)).collect()
    }

    /// What the engine says of what was announced: the rest is not ours any more.
    pub(super) fn keep(&mut self, kept: &[(TaskId, Fence)]) {
        let kept: BTreeSet<_> = kept.iter().copied().collect();
        self.tasks.retain(|task, held| {
            let is_kept = kept.contains(&(*task, held.fence));
            if !is_kept {
                held.context.cancel("the engine has given it to another worker, or it is over".into());
            }
            held.is_sent = false;
            is_kept
        });
        self.changed = self.tasks.keys().copied().collect();
        self.sent.clear();
        self.taken = 0;
    }

    /// Begins a task, which ends in any case.
    pub(super) fn begin(&mut self, mut assigned: AssignedTask, code: Option<TaskCode>, payload_bytes_max: u64) {
        let input = take(&mut assigned.input);
        let (task, fence) = (assigned.task, assigned.fence);
        let invocation = Invocation {
            kind: InvocationKind::Task,
            name: assigned.name.clone(),
            id: task.to_string(),
            attempt: assigned.attempt,
            input,
            traceparent: assigned.traceparent.clone(),
        };
        let context = TaskContext::new(assigned, self.news.clone(), payload_bytes_max);
        let (chain, within, grace) = (self.chain.clone(), context.clone(), self.cancel_grace);
        let running = tokio::spawn(async move {
            let Some(code) = code else {
                let message = format!("this worker has no task {:?}", invocation.name);
                return within.end(outcome(Err(Failure::new(message))));
            };
            let inner = within.clone();
            let result = tokio::select! {
                result = chain.run(invocation, move |input| code.run(inner, input)) => result,
                reason = overstayed(&within, grace) => Err(Failure::cancelled(reason)),
            };
            let result = result.and_then(|payload| crate::payload::bounded(payload, payload_bytes_max));
            within.end(outcome(result));
        });
        let running = running.abort_handle();
        let held = Held { fence, context, running, report: None, end: None, is_sent: false };
        if let Some(before) = self.tasks.insert(task, held) {
            before.context.cancel("it was assigned anew".into());
        }
    }

    /// Somebody wants the task to stop.
    pub(super) fn cancel(&mut self, task: TaskId, fence: Fence, reason: String) {
        if let Some(held) = self.tasks.get(&task).filter(|held| held.fence == fence) {
            held.context.cancel(reason);
        }
    }

    /// Notes what a task said, for the next [`flush`](Self::flush).
    pub(super) fn note(&mut self, news: TaskNews) {
        let held = self.tasks.get_mut(&news.task).filter(|held| held.fence == news.fence && held.end.is_none());
        let Some(held) = held else { return };
        match news.what {
            Ok(report) => merge(held.report.get_or_insert_default(), report),
            Err(outcome) => held.end = Some(outcome),
        }
        self.changed.insert(news.task);
    }

    /// Sends what was noted: of each task its reports, and then its end.
    pub(super) fn flush(&mut self, outgoing: &mut Outgoing) {
        for task in take(&mut self.changed) {
            let Some(held) = self.tasks.get_mut(&task) else { continue };
            let fence = held.fence;
            if let Some(report) = held.report.take() {
                outgoing.push(WorkerFrame::TaskReported { task, fence, report });
            }
            if !held.is_sent
                && let Some(outcome) = held.end.clone()
            {
                outgoing.push(WorkerFrame::TaskFinished { task, fence, outcome });
                held.is_sent = true;
                self.sent.push_back((task, fence));
            }
        }
    }

    /// Forgets the results that the engine has for good: so many of this stream.
    pub(super) fn forget_taken(&mut self, count: u64) {
        while self.taken < count
            && let Some((task, fence)) = self.sent.pop_front()
        {
            self.taken += 1;
            if self.tasks.get(&task).is_some_and(|held| held.fence == fence) {
                self.tasks.remove(&task);
            }
        }
    }

    /// Gives back all that still runs.
    pub(super) fn give_back(&mut self, outgoing: &mut Outgoing) {
        for (task, held) in take(&mut self.tasks) {
            held.running.abort();
            if held.end.is_none() {
                outgoing.push(WorkerFrame::TaskReturned { task, fence: held.fence });
            }
        }
    }
}

impl Drop for HeldTasks {
    fn drop(&mut self) {
        self.tasks.values().for_each(|held| held.running.abort());
    }
}

/// Why a task that was to stop is given up: it did not, for so long.
async fn overstayed(context: &TaskContext, grace: Duration) -> String {
    let reason = context.cancelled().await;
    tokio::time::sleep(grace).await;
    format!("{reason} (and it did not stop by itself within {grace:?})")
}

/// One report that says what both say.
fn merge(report: &mut TaskReport, later: TaskReport) {
    report.progress_permille = later.progress_permille.or(report.progress_permille);
    report.metadata.extend(later.metadata);
    if later.checkpoint.is_some() {
        report.checkpoint = later.checkpoint;
    }
    report.log.extend(later.log);
    let surplus = report.log.len().saturating_sub(LINES_MAX);
    report.log.drain(..surplus);
}
