//! `workflow`.

use super::timeline::{self, EntryOut};
use super::{at, cancel, client, input, print_outcome, run_state};
use crate::args::work::{OneOf, RunState, SignalArgs, WorkflowCommand, WorkflowLsArgs, WorkflowStartArgs};
use crate::context::Context;
use crate::failure::Failure;
use crate::render::table::{fields, table};
use orlop_proto::engine::v1 as pb;
use serde::Serialize;
use std::collections::BTreeMap;

/// Runs the command.
pub(crate) async fn workflow(context: &Context, command: WorkflowCommand) -> Result<(), Failure> {
    match command {
        WorkflowCommand::Start(args) => start(context, args).await,
        WorkflowCommand::Ls(args) => ls(context, args).await,
        WorkflowCommand::Show(args) => show(context, &args).await,
        WorkflowCommand::Wait(args) => print_outcome(context, &client(&args.engine)?, &args.id, args.timeout).await,
        WorkflowCommand::Cancel(args) => cancel(context, &args).await,
        WorkflowCommand::Retry(args) => {
            client(&args.engine)?.retry(&args.id).await?;
            context.print(|| format!("{} goes on.", args.id), IdOut { id: args.id.clone() })
        }
        WorkflowCommand::Signal(args) => signal(context, args).await,
    }
}

#[derive(Debug, Serialize)]
struct IdOut {
    id: String,
}

#[derive(Debug, Serialize)]
struct StartedOut {
    run: String,
    found: bool,
}

async fn start(context: &Context, args: WorkflowStartArgs) -> Result<(), Failure> {
    let client = client(&args.engine)?;
    let request = pb::StartWorkflowRequest {
        workflow: args.workflow,
        version: args.version,
        input: Some(input(&args.input)?),
        key: args.key,
        attributes: args.attributes.into_iter().collect(),
        traceparent: String::new(),
    };
    let started = client.start(request).await?;
    if args.outcome.wait {
        eprintln!("{}", started.run);
        return print_outcome(context, &client, &started.run, args.outcome.timeout).await;
    }
    let out = StartedOut { run: started.run.clone(), found: started.found };
    context.print(|| started.run.clone(), out)
}

async fn signal(context: &Context, args: SignalArgs) -> Result<(), Failure> {
    let request = pb::SignalRunRequest {
        run: args.run.clone(),
        name: args.name.clone(),
        payload: Some(input(&args.input)?),
        id: args.id,
    };
    client(&args.engine)?.signal(request).await?;
    context.print(|| format!("{} has the signal {}.", args.run, args.name), IdOut { id: args.run.clone() })
}

#[derive(Debug, Serialize)]
struct RunOut {
    run: String,
    workflow: String,
    version: Option<String>,
    key: Option<String>,
    status: String,
    reason: Option<String>,
    worker: Option<String>,
    created_at: Option<String>,
    closed_at: Option<String>,
    parent: Option<String>,
    root: Option<String>,
    entries: u64,
    attributes: BTreeMap<String, String>,
}

impl RunOut {
    fn of(run: pb::Run) -> Self {
        let some = |text: String| (!text.is_empty()).then_some(text);
        Self {
            status: run_state(&run),
            run: run.run,
            workflow: run.workflow,
            version: some(run.version),
            key: some(run.key),
            reason: some(run.reason),
            worker: some(run.worker),
            created_at: at(run.created_at_ms),
            closed_at: at(run.closed_at_ms),
            parent: some(run.parent),
            root: some(run.root),
            entries: run.entries,
            attributes: run.attributes,
        }
    }
}

async fn ls(context: &Context, args: WorkflowLsArgs) -> Result<(), Failure> {
    let status = |state: &RunState| {
        let status = match state {
            RunState::Running => pb::RunStatus::Running,
            RunState::Waiting => pb::RunStatus::Waiting,
            RunState::Blocked => pb::RunStatus::Blocked,
            RunState::Completed => pb::RunStatus::Completed,
            RunState::Failed => pb::RunStatus::Failed,
            RunState::Cancelled => pb::RunStatus::Cancelled,
            RunState::Continued => pb::RunStatus::Continued,
        };
        i32::from(status)
    };
    let request = pb::ListRunsRequest {
        statuses: args.status.iter().map(status).collect(),
        workflow: args.workflow,
        attributes: args.attributes.into_iter().collect(),
        limit: args.limit,
        page: String::new(),
    };
    let found = client(&args.engine)?.runs(request).await?;
    let out: Vec<RunOut> = found.runs.into_iter().map(RunOut::of).collect();
    let row = |run: &RunOut| {
        vec![
            run.run.clone(),
            run.workflow.clone(),
            run.status.clone(),
            run.created_at.clone().unwrap_or_default(),
            run.reason.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = out.iter().map(row).collect();
    context.print(|| table(&["RUN", "WORKFLOW", "STATUS", "CREATED", "REASON"], &rows), &out)
}

#[derive(Debug, Serialize)]
struct ShownOut {
    #[serde(flatten)]
    run: RunOut,
    timeline: Vec<EntryOut>,
}

async fn show(context: &Context, args: &OneOf) -> Result<(), Failure> {
    let (run, entries) = client(&args.engine)?.run(&args.id).await?;
    let out = ShownOut { run: RunOut::of(run), timeline: timeline::of(&entries) };
    let text = || {
        let run = &out.run;
        let head = fields(&[
            ("run", Some(run.run.clone())),
            ("workflow", Some(run.workflow.clone())),
            ("version", run.version.clone()),
            ("key", run.key.clone()),
            ("status", Some(run.status.clone())),
            ("reason", run.reason.clone()),
            ("worker", run.worker.clone()),
            ("parent", run.parent.clone()),
            ("created", run.created_at.clone()),
            ("closed", run.closed_at.clone()),
        ]);
        format!("{head}\n{}", timeline::text(&out.timeline))
    };
    context.print(text, &out)
}
