//! The command line of durable work: engines, workflows, tasks.

use clap::{Args, Subcommand, ValueEnum};
use orlop_client::ENGINE_ADDRESS_DEFAULT;
use orlop_model::Millis;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct EngineAddress {
    /// Where the engine listens; several with commas between them are tried in turn.
    #[arg(long, env = "ORLOP_ENGINE", default_value = ENGINE_ADDRESS_DEFAULT, value_name = "ADDRESS")]
    pub(crate) engine: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EngineCommand {
    /// Run an engine in this process, with SQLite in a directory unless told otherwise; needs nothing else.
    Dev(EngineDevArgs),
}

#[derive(Debug, Args)]
pub(crate) struct EngineDevArgs {
    /// Where workers and clients connect; loopback only, port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7420", value_name = "ADDRESS")]
    pub(crate) listen: std::net::SocketAddr,
    /// Where the store is, if it is SQLite; made if need be.
    #[arg(long, default_value = ".orlop-engine", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// The store: sqlite:DIR, or postgres://USER@HOST/DATABASE with the password in PGPASSWORD or PGPASSFILE
    /// [default: SQLite in --data].
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    pub(crate) store: Option<orlop_durable::StoreConfig>,
    /// What to log: a level (error, warn, info, debug, trace) or levels by target.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub(crate) log: String,
    /// How log lines look: json or text.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkflowCommand {
    /// Begin a run of a workflow.
    Start(WorkflowStartArgs),
    /// List runs, newest first.
    Ls(WorkflowLsArgs),
    /// Show a run with its timeline.
    Show(OneOf),
    /// Wait until a run is over, and print what it gave.
    Wait(WaitFor),
    /// Ask a run to end early; its code may clean up first.
    Cancel(CancelArgs),
    /// Let a blocked run go on with the code that workers have now.
    Retry(OneOf),
    /// Give a run a signal, which waits until the workflow takes it.
    Signal(SignalArgs),
}

#[derive(Debug, Args)]
pub(crate) struct OneOf {
    /// wfr_… or task_…
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) engine: EngineAddress,
}

#[derive(Debug, Args)]
pub(crate) struct WaitFor {
    /// wfr_… or task_…
    pub(crate) id: String,
    /// How long to wait: 90s, 5m, 1h.
    #[arg(long, value_parser = super::span, default_value = "5m", value_name = "SPAN")]
    pub(crate) timeout: Millis,
    #[command(flatten)]
    pub(crate) engine: EngineAddress,
}

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// wfr_… or task_…
    pub(crate) id: String,
    /// Why; the run or the task sees it.
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) engine: EngineAddress,
}

#[derive(Debug, Args)]
pub(crate) struct InputArgs {
    /// What it is called with, as JSON [default: null].
    #[arg(long, value_name = "JSON")]
    pub(crate) input: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct OutcomeArgs {
    /// Wait until it is over, and print what it gave.
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait: 90s, 5m, 1h.
    #[arg(long, value_parser = super::span, default_value = "5m", requires = "wait", value_name = "SPAN")]
    pub(crate) timeout: Millis,
}

#[derive(Debug, Args)]
pub(crate) struct WorkflowStartArgs {
    /// The workflow's name.
    pub(crate) workflow: String,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// At most one run of the workflow with this key is open at a time; that one is found.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) key: String,
    /// Pins the run to this version of the workflow.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) version: String,
    /// What it can be found by; may be given several times.
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) attributes: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) outcome: OutcomeArgs,
    #[command(flatten)]
    pub(crate) engine: EngineAddress,
}

#[derive(Debug, Args)]
pub(crate) struct WorkflowLsArgs {
    /// Only runs of this workflow.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) workflow: String,
    /// Only runs in this state; may be given several times.
    #[arg(long, value_enum)]
    pub(crate) status: Vec<RunState>,
    /// Only runs with this attribute; may be given several times.
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) attributes: Vec<(String, String)>,
    /// At most so many, up to 1000.
    #[arg(long, default_value_t = 100)]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) engine: EngineAddress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RunState {
    Running,
    Waiting,
    Blocked,
    Completed,
    Failed,
    Cancelled,
    Continued,
}

#[derive(Debug, Args)]
pub(crate) struct SignalArgs {
    /// wfr_…
    pub(crate) run: String,
    /// The signal's name.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Given again with the same id, it is the same signal.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) engine: EngineAddress,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Put a task into a queue.
    Submit(TaskSubmitArgs),
    /// List tasks, newest first; those that are not over, unless asked otherwise.
    Ls(TaskLsArgs),
    /// Show a task, and why it does not run.
    Show(OneOf),
    /// Wait until a task is over, and print what it gave.
    Wait(WaitFor),
    /// Ask a task to end early; at once, if no worker has it.
    Cancel(CancelArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TaskSubmitArgs {
    /// The task's name.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Where it waits.
    #[arg(long, default_value = "default")]
    pub(crate) queue: String,
    /// Who goes first: −100 to 100, greater before less.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) priority: i32,
    /// Tasks with different keys take turns.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) fair_key: String,
    /// At most one task of the name with this key is open at a time; that one is found.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) key: String,
    /// Not before: 90s, 5m, 1h from now.
    #[arg(long, value_parser = super::span, value_name = "SPAN")]
    pub(crate) delay: Option<Millis>,
    /// All attempts together [default: 10].
    #[arg(long, value_name = "N")]
    pub(crate) attempts: Option<u32>,
    #[command(flatten)]
    pub(crate) outcome: OutcomeArgs,
    #[command(flatten)]
    pub(crate) engine: EngineAddress,
}

#[derive(Debug, Args)]
pub(crate) struct TaskLsArgs {
    /// Only tasks of this queue.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) queue: String,
    /// Only tasks of this name.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) name: String,
    /// Only tasks in this state; may be given several times.
    #[arg(long, value_enum)]
    pub(crate) status: Vec<TaskState>,
    /// At most so many, up to 1000.
    #[arg(long, default_value_t = 100)]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) engine: EngineAddress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TaskState {
    Delayed,
    Ready,
    Running,
    Retrying,
    Completed,
    Failed,
    Cancelled,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// List the queues that have tasks.
    Ls(EngineAddress),
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkerCommand {
    /// List the workers that are connected.
    Ls(EngineAddress),
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}
