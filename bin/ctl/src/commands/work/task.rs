//! `task`.

use super::{FailureOut, at, cancel, client, input, print_outcome, task_state, value};
use crate::args::work::{OneOf, TaskCommand, TaskLsArgs, TaskState, TaskSubmitArgs};
use crate::context::Context;
use crate::failure::Failure;
use crate::render::table::{fields, table};
use orlop_model::Timestamp;
use orlop_model::durable::RetryPolicy;
use orlop_proto::engine::v1 as pb;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Runs the command.
pub(crate) async fn task(context: &Context, command: TaskCommand) -> Result<(), Failure> {
    match command {
        TaskCommand::Submit(args) => submit(context, args).await,
        TaskCommand::Ls(args) => ls(context, args).await,
        TaskCommand::Show(args) => show(context, &args).await,
        TaskCommand::Wait(args) => print_outcome(context, &client(&args.engine)?, &args.id, args.timeout).await,
        TaskCommand::Cancel(args) => cancel(context, &args).await,
    }
}

#[derive(Debug, Serialize)]
struct SubmittedOut {
    task: String,
    found: bool,
}

async fn submit(context: &Context, args: TaskSubmitArgs) -> Result<(), Failure> {
    let client = client(&args.engine)?;
    let run_at_ms = args.delay.map_or(0, |delay| {
        i64::try_from(Timestamp::from(SystemTime::now()).0.saturating_add(delay.0)).unwrap_or(i64::MAX)
    });
    let retry = args.attempts.map(|attempts| RetryPolicy { attempts_max: Some(attempts), ..RetryPolicy::default() });
    let task = pb::NewTask {
        name: args.name,
        input: Some(input(&args.input)?),
        options: Some(pb::TaskOptions {
            queue: args.queue,
            priority: args.priority,
            fair_key: args.fair_key,
            run_at_ms,
            retry: retry.map(Into::into),
            ..pb::TaskOptions::default()
        }),
        key: args.key,
        ..pb::NewTask::default()
    };
    let answer = client.submit(vec![task]).await?;
    let submitted = answer.tasks.into_iter().next().unwrap_or_default();
    if args.outcome.wait {
        eprintln!("{}", submitted.task);
        return print_outcome(context, &client, &submitted.task, args.outcome.timeout).await;
    }
    let out = SubmittedOut { task: submitted.task.clone(), found: submitted.found };
    context.print(|| submitted.task.clone(), out)
}

#[derive(Debug, Serialize)]
struct TaskOut {
    task: String,
    name: String,
    queue: String,
    status: String,
    attempt: u32,
    priority: i32,
    key: Option<String>,
    created_at: Option<String>,
    due_at: Option<String>,
    closed_at: Option<String>,
    parent: Option<String>,
    root: Option<String>,
    worker: Option<String>,
    last_failure: Option<FailureOut>,
    progress: Option<f64>,
    metadata: BTreeMap<String, String>,
}

impl TaskOut {
    fn of(task: pb::Task) -> Self {
        let some = |text: String| (!text.is_empty()).then_some(text);
        Self {
            status: task_state(&task),
            last_failure: task.last_failure.as_ref().map(FailureOut::of),
            task: task.task,
            name: task.name,
            queue: task.queue,
            attempt: task.attempt,
            priority: task.priority,
            key: some(task.key),
            created_at: at(task.created_at_ms),
            due_at: at(task.due_at_ms),
            closed_at: at(task.closed_at_ms),
            parent: some(task.parent),
            root: some(task.root),
            worker: some(task.worker),
            progress: task.progress_permille.map(|permille| f64::from(permille) / 1000.0),
            metadata: task.metadata,
        }
    }
}

async fn ls(context: &Context, args: TaskLsArgs) -> Result<(), Failure> {
    let status = |state: &TaskState| {
        let status = match state {
            TaskState::Delayed => pb::TaskStatus::Delayed,
            TaskState::Ready => pb::TaskStatus::Ready,
            TaskState::Running => pb::TaskStatus::Running,
            TaskState::Retrying => pb::TaskStatus::Retrying,
            TaskState::Completed => pb::TaskStatus::Completed,
            TaskState::Failed => pb::TaskStatus::Failed,
            TaskState::Cancelled => pb::TaskStatus::Cancelled,
        };
        i32::from(status)
    };
    let request = pb::ListTasksRequest {
        statuses: args.status.iter().map(status).collect(),
        queue: args.queue,
        name: args.name,
        limit: args.limit,
        page: String::new(),
    };
    let found = client(&args.engine)?.tasks(request).await?;
    let out: Vec<TaskOut> = found.tasks.into_iter().map(TaskOut::of).collect();
    let row = |task: &TaskOut| {
        vec![
            task.task.clone(),
            task.name.clone(),
            task.queue.clone(),
            task.status.clone(),
            task.attempt.to_string(),
            task.created_at.clone().unwrap_or_default(),
            task.worker.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = out.iter().map(row).collect();
    context.print(|| table(&["TASK", "NAME", "QUEUE", "STATUS", "ATTEMPT", "CREATED", "WORKER"], &rows), &out)
}

#[derive(Debug, Serialize)]
struct ShownOut {
    #[serde(flatten)]
    task: TaskOut,
    reason: Option<String>,
    input: Value,
    result: Value,
}

async fn show(context: &Context, args: &OneOf) -> Result<(), Failure> {
    let found = client(&args.engine)?.task(&args.id).await?;
    let result = match found.outcome.and_then(|outcome| outcome.kind) {
        Some(pb::outcome::Kind::Ok(payload)) => value(Some(&payload)),
        _ => Value::Null,
    };
    let out = ShownOut {
        task: TaskOut::of(found.task.unwrap_or_default()),
        reason: (!found.reason.is_empty()).then_some(found.reason),
        input: value(found.input.as_ref()),
        result,
    };
    let text = || {
        let task = &out.task;
        let shown = |value: &Value| (!value.is_null()).then(|| value.to_string());
        fields(&[
            ("task", Some(task.task.clone())),
            ("name", Some(task.name.clone())),
            ("queue", Some(task.queue.clone())),
            ("status", Some(task.status.clone())),
            ("reason", out.reason.clone()),
            ("attempt", Some(task.attempt.to_string())),
            ("worker", task.worker.clone()),
            ("progress", task.progress.map(|progress| format!("{:.0} %", progress * 100.0))),
            ("parent", task.parent.clone()),
            ("created", task.created_at.clone()),
            ("due", task.due_at.clone()),
            ("closed", task.closed_at.clone()),
            ("last failure", task.last_failure.as_ref().map(|failure| failure.message.clone())),
            ("input", shown(&out.input)),
            ("result", shown(&out.result)),
        ])
    };
    context.print(text, &out)
}
