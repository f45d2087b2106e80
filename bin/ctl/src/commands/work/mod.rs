//! `workflow`, `task`, `queue`, `worker`.

mod task;
mod timeline;
mod workflow;

pub(crate) use task::task;
pub(crate) use workflow::workflow;

use crate::args::work::{EngineAddress, InputArgs};
use crate::context::Context;
use crate::failure::{FAILED, Failure, TIMED_OUT};
use crate::output::time;
use crate::render::table::table;
use orlop_client::EngineClient;
use orlop_model::{Millis, Timestamp};
use orlop_proto::engine::v1 as pb;
use serde::Serialize;
use serde_json::Value;

fn client(engine: &EngineAddress) -> Result<EngineClient, Failure> {
    Ok(EngineClient::new(&engine.engine)?)
}

/// What a call is given: JSON, checked here because the engine does not look into it.
fn input(args: &InputArgs) -> Result<pb::Payload, Failure> {
    let text = args.input.as_deref().unwrap_or("null");
    let value: Value =
        serde_json::from_str(text).map_err(|error| Failure::usage(format!("--input is no JSON: {error}")))?;
    Ok(pb::Payload { data: value.to_string().into(), encoding: String::new() })
}

/// A payload as a value: JSON as it is, anything else as a text that says what it is.
fn value(payload: Option<&pb::Payload>) -> Value {
    let Some(payload) = payload else { return Value::Null };
    if !payload.encoding.is_empty() {
        return Value::String(format!("{} bytes of {}", payload.data.len(), payload.encoding));
    }
    if payload.data.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(&payload.data)
        .unwrap_or_else(|_| Value::String(format!("{} bytes that are no JSON", payload.data.len())))
}

fn at(ms: i64) -> Option<String> {
    (ms > 0).then(|| time(Timestamp(ms.unsigned_abs())))
}

/// The name of an enum of the wire without its prefix: `RUN_STATUS_WAITING` is `waiting`.
fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}

fn run_state(run: &pb::Run) -> String {
    word(run.status().as_str_name(), "RUN_STATUS_")
}

fn task_state(task: &pb::Task) -> String {
    word(task.status().as_str_name(), "TASK_STATUS_")
}

#[derive(Debug, Serialize)]
struct FailureOut {
    message: String,
    category: Option<String>,
    cause: String,
    details: Value,
}

impl FailureOut {
    fn of(failure: &pb::Failure) -> Self {
        Self {
            message: failure.message.clone(),
            category: (!failure.category.is_empty()).then(|| failure.category.clone()),
            cause: word(failure.cause().as_str_name(), "FAILURE_CAUSE_"),
            details: value(failure.details.as_ref()),
        }
    }
}

#[derive(Debug, Serialize)]
struct OutcomeOut {
    id: String,
    result: Value,
    failure: Option<FailureOut>,
}

/// Waits for the end, prints what it gave, and fails as it failed.
async fn print_outcome(context: &Context, client: &EngineClient, id: &str, timeout: Millis) -> Result<(), Failure> {
    use pb::outcome::Kind;
    let outcome = client.wait(id, timeout.into()).await?;
    let Some(outcome) = outcome else {
        return Err(Failure::new(TIMED_OUT, format!("{id} is not over after {timeout}; it goes on")));
    };
    match outcome.kind {
        Some(Kind::Ok(payload)) => {
            let result = value(Some(&payload));
            let out = OutcomeOut { id: id.to_owned(), result: result.clone(), failure: None };
            context.print(|| format!("{result:#}"), out)
        }
        Some(Kind::Failed(failure)) => {
            let shown = FailureOut::of(&failure);
            let message = format!("{id} failed ({}): {}", shown.cause, shown.message);
            context.print(String::new, OutcomeOut { id: id.to_owned(), result: Value::Null, failure: Some(shown) })?;
            Err(Failure::new(FAILED, message))
        }
        None => Err(Failure::new(FAILED, format!("{id} ended in a way that this version does not know"))),
    }
}

#[derive(Debug, Serialize)]
struct CancelOut {
    id: String,
    over: bool,
}

async fn cancel(context: &Context, args: &crate::args::work::CancelArgs) -> Result<(), Failure> {
    let over = client(&args.engine)?.cancel(&args.id, &args.reason).await?;
    let id = &args.id;
    let text = || if over { format!("{id} was over already.") } else { format!("{id} is asked to end.") };
    context.print(text, CancelOut { id: id.clone(), over })
}

#[derive(Debug, Serialize)]
struct QueueOut {
    name: String,
    ready: u64,
    running: u64,
    delayed: u64,
    oldest_ready_at: Option<String>,
}

/// Lists the queues that have tasks.
pub(crate) async fn queues(context: &Context, engine: &EngineAddress) -> Result<(), Failure> {
    let found = client(engine)?.queues().await?;
    let out: Vec<QueueOut> = found
        .into_iter()
        .map(|queue| QueueOut {
            name: queue.name,
            ready: queue.ready,
            running: queue.running,
            delayed: queue.delayed,
            oldest_ready_at: at(queue.oldest_ready_at_ms),
        })
        .collect();
    let row = |queue: &QueueOut| {
        let oldest = queue.oldest_ready_at.clone().unwrap_or_else(|| "-".into());
        vec![queue.name.clone(), queue.ready.to_string(), queue.running.to_string(), queue.delayed.to_string(), oldest]
    };
    let rows: Vec<_> = out.iter().map(row).collect();
    context.print(|| table(&["QUEUE", "READY", "RUNNING", "DELAYED", "OLDEST READY"], &rows), &out)
}

#[derive(Debug, Serialize)]
struct WorkerOut {
    session: String,
    name: String,
    host: String,
    sdk: String,
    build: String,
    queues: Vec<String>,
    tasks: Vec<String>,
    workflows: Vec<String>,
    tasks_running: u32,
    runs_held: u32,
    since: Option<String>,
}

/// Lists the workers that are connected.
pub(crate) async fn workers(context: &Context, engine: &EngineAddress) -> Result<(), Failure> {
    let found = client(engine)?.workers().await?;
    let out: Vec<WorkerOut> = found
        .into_iter()
        .map(|worker| WorkerOut {
            session: worker.session,
            name: worker.name,
            host: worker.host,
            sdk: worker.sdk,
            build: worker.build,
            queues: worker.queues,
            tasks: worker.tasks,
            workflows: worker.workflows,
            tasks_running: worker.tasks_running,
            runs_held: worker.runs_held,
            since: at(worker.since_ms),
        })
        .collect();
    let row = |worker: &WorkerOut| {
        vec![
            worker.name.clone(),
            worker.host.clone(),
            worker.build.clone(),
            worker.queues.join(","),
            worker.tasks_running.to_string(),
            worker.runs_held.to_string(),
            worker.since.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = out.iter().map(row).collect();
    context.print(|| table(&["WORKER", "HOST", "BUILD", "QUEUES", "TASKS", "RUNS", "SINCE"], &rows), &out)
}
