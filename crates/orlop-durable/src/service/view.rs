//! Runs, tasks, queues and workers as clients see them.

use crate::store::{RunSummary, TaskSummary};
use orlop_durable_core::{QueueView, RunStatus, RunView, TaskStatus, TaskView, WorkerView};
use orlop_model::Timestamp;
use orlop_model::durable::QueueName;
use orlop_proto::engine::v1 as pb;

fn at(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

fn text(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

pub(super) fn run(run: RunSummary, live: Option<RunView>) -> pb::Run {
    let waits = live.as_ref().is_some_and(|live| live.waiting.is_some()) || (live.is_none() && run.parked);
    let status = match run.status {
        RunStatus::Open if waits => pb::RunStatus::Waiting,
        RunStatus::Open => pb::RunStatus::Running,
        RunStatus::Blocked => pb::RunStatus::Blocked,
        RunStatus::Completed => pb::RunStatus::Completed,
        RunStatus::Failed => pb::RunStatus::Failed,
        RunStatus::Cancelled => pb::RunStatus::Cancelled,
        RunStatus::Continued => pb::RunStatus::Continued,
    };
    let reason = match &live {
        _ if !run.reason.is_empty() => run.reason,
        Some(RunView { worker: None, unserved: true, waiting: None }) if run.status == RunStatus::Open => {
            format!("no worker that is connected has the workflow {}", run.workflow)
        }
        Some(RunView { waiting: Some(waiting), .. }) => {
            let commands = waiting.commands.iter().map(|number| format!("command {number}"));
            let signals = waiting.signals.iter().map(|name| format!("signal {name}"));
            let all: Vec<String> = commands.chain(signals).collect();
            if all.is_empty() { String::new() } else { format!("waits for {}", all.join(", ")) }
        }
        _ => String::new(),
    };
    pb::Run {
        run: run.run.to_string(),
        workflow: run.workflow,
        version: run.version,
        key: run.key,
        status: status.into(),
        created_at_ms: at(run.created),
        closed_at_ms: run.closed.map(at).unwrap_or_default(),
        parent: text(run.parent),
        root: text(run.root),
        reason,
        entries: run.entries,
        attributes: run.attributes,
        worker: live.and_then(|live| live.worker).unwrap_or_default(),
    }
}

/// Which statuses a client means, as the store knows them.
pub(super) fn run_statuses(wanted: &[i32]) -> Result<Vec<RunStatus>, tonic::Status> {
    let mut found = Vec::new();
    for number in wanted {
        found.push(match pb::RunStatus::try_from(*number) {
            Ok(pb::RunStatus::Running | pb::RunStatus::Waiting) => RunStatus::Open,
            Ok(pb::RunStatus::Blocked) => RunStatus::Blocked,
            Ok(pb::RunStatus::Completed) => RunStatus::Completed,
            Ok(pb::RunStatus::Failed) => RunStatus::Failed,
            Ok(pb::RunStatus::Cancelled) => RunStatus::Cancelled,
            Ok(pb::RunStatus::Continued) => RunStatus::Continued,
            Ok(pb::RunStatus::Unspecified) | Err(_) => {
                return Err(tonic::Status::invalid_argument(format!("statuses: {number} is not known")));
            }
        });
    }
    Ok(found)
}

pub(super) fn task(summary: TaskSummary, live: Option<&TaskView>) -> pb::Task {
    let row = summary.row;
    let change = row.change;
    let status = match (&summary.ended, live) {
        (Some(ended), _) => match ended.status {
            TaskStatus::Completed => pb::TaskStatus::Completed,
            TaskStatus::Failed => pb::TaskStatus::Failed,
            TaskStatus::Cancelled => pb::TaskStatus::Cancelled,
        },
        (None, Some(TaskView::Running { .. })) => pb::TaskStatus::Running,
        (None, Some(TaskView::Delayed)) if change.failures > 0 => pb::TaskStatus::Retrying,
        (None, Some(TaskView::Delayed)) => pb::TaskStatus::Delayed,
        (None, Some(TaskView::Ready { .. }) | None) => pb::TaskStatus::Ready,
    };
    let worker = match live {
        Some(TaskView::Running { worker }) => worker.clone(),
        _ => String::new(),
    };
    let failure = summary.ended.as_ref().and_then(|ended| ended.failure().cloned()).or(change.last_failure);
    pb::Task {
        task: row.task.to_string(),
        name: row.name,
        queue: row.options.queue.to_string(),
        status: status.into(),
        attempt: summary.ended.as_ref().map_or(change.failures + 1, |ended| ended.attempt),
        created_at_ms: at(row.created),
        due_at_ms: at(change.due),
        closed_at_ms: summary.ended.as_ref().map(|ended| at(ended.at)).unwrap_or_default(),
        parent: text(row.owner.map(|owner| owner.call())),
        root: text(row.root),
        worker,
        last_failure: failure.map(Into::into),
        progress_permille: change.progress_permille,
        metadata: change.metadata,
        key: row.key,
        priority: row.options.priority.get(),
    }
}

pub(super) fn queue(name: &QueueName, view: &QueueView) -> pb::Queue {
    pb::Queue {
        name: name.to_string(),
        ready: view.ready,
        running: view.running,
        delayed: view.delayed,
        oldest_ready_at_ms: view.oldest_ready.map(at).unwrap_or_default(),
    }
}

pub(super) fn worker(view: WorkerView) -> pb::ConnectedWorker {
    let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
    // A session's id begins with when it was made (version 7 of RFC 9562).
    let since = i64::try_from(view.session.as_u128() >> 80).unwrap_or_default();
    pb::ConnectedWorker {
        session: view.session.to_string(),
        name: view.hello.name,
        host: view.hello.host,
        sdk: view.hello.sdk,
        build: view.hello.build,
        queues: view.hello.queues.iter().map(ToString::to_string).collect(),
        tasks: view.hello.tasks.into_iter().collect(),
        workflows: view.hello.workflows.into_keys().collect(),
        tasks_running: count(view.tasks),
        runs_held: count(view.runs),
        since_ms: since,
    }
}
