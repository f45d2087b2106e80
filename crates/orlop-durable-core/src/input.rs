//! What an engine is told.

use crate::{RunRow, RunStatus, TaskRow};
use orlop_model::durable::{
    CallId, Command, CommandKind, Entry, Hello, Outcome, Payload, Record, Signal, TaskOptions, WorkerFrame,
};
use orlop_model::{TaskId, Timestamp, WorkerSessionId, WorkflowRunId};
use std::collections::BTreeMap;

/// By which a request and its answer belong together; chosen by who drives the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What an engine is told.
#[derive(Debug)]
pub enum Input {
    /// A worker opened a stream.
    Connected(WorkerSessionId, Box<Hello>),
    /// A worker said something.
    Frame(WorkerSessionId, WorkerFrame),
    /// A stream ended, or nothing came of it for too long.
    Disconnected(WorkerSessionId),
    /// A client wants something.
    Request(Ticket, Request),
    /// A client does not wait for the answer any more.
    Abandoned(Ticket),
    /// What [`Load::Run`](crate::Load::Run) found.
    RunLoaded(WorkflowRunId, Option<Box<StoredRun>>),
    /// How a task ended that is not open, if there was one.
    TaskLoaded(TaskId, Option<Outcome>),
    /// Time passed.
    Tick,
}

/// What a client wants.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Begin a run.
    Start(Box<NewRun>),
    /// Put tasks into queues.
    Submit(Vec<NewTask>),
    /// Say how it ends.
    Await(CallId),
    /// Give a run a signal.
    Signal(WorkflowRunId, Signal),
    /// End it early.
    Cancel(CallId, String),
    /// Try a blocked run again.
    Retry(WorkflowRunId),
}

/// A run that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// Its id, unless one is found by the key.
    pub run: WorkflowRunId,
    /// The workflow.
    pub workflow: String,
    /// Its version; empty for whatever a worker has.
    pub version: String,
    /// What it is called with.
    pub input: Payload,
    /// Under which one run at most is open; empty for none.
    pub key: String,
    /// What it can be found by.
    pub attributes: BTreeMap<String, String>,
    /// The seed of what it draws at random.
    pub seed: u64,
    /// The trace that it belongs to; empty for none.
    pub traceparent: String,
}

/// A task that is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTask {
    /// Its id, unless one is found by the key.
    pub task: TaskId,
    /// The function.
    pub name: String,
    /// What it is called with.
    pub input: Payload,
    /// How and when.
    pub options: TaskOptions,
    /// Under which one task at most is open; empty for none.
    pub key: String,
    /// The running task that submits it.
    pub parent: Option<TaskId>,
    /// The trace that it belongs to; empty for none.
    pub traceparent: String,
}

/// A run, as the store has it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRun {
    /// As it began.
    pub row: RunRow,
    /// Where it stands.
    pub status: RunStatus,
    /// It was parked.
    pub parked: bool,
    /// Its journal, whole.
    pub entries: Vec<Entry>,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

impl StoredRun {
    /// The run that goes on in its place, if there is one.
    pub(crate) fn goes_on(&self) -> Option<WorkflowRunId> {
        match self.entries.last().map(|entry| &entry.record) {
            Some(Record::Command(Command { kind: CommandKind::ContinuedAsNew { run, .. }, .. })) => Some(*run),
            _ => None,
        }
    }
}

/// What an engine that begins finds in the store.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Open runs that were not parked.
    pub runs: Vec<WorkflowRunId>,
    /// Keys of all open runs, with the workflow's name.
    pub run_keys: Vec<(String, String, WorkflowRunId)>,
    /// Open tasks.
    pub tasks: Vec<TaskRow>,
    /// Timers of runs.
    pub timers: Vec<(Timestamp, WorkflowRunId, orlop_model::durable::CommandNumber)>,
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such run or task.
    #[error("there is no {0}")]
    Unknown(String),
    /// It is over already.
    #[error("{0} is over")]
    Over(WorkflowRunId),
    /// It is not blocked.
    #[error("{0} is not blocked")]
    NotBlocked(WorkflowRunId),
    /// Something of it is used already, or is too large.
    #[error("{0}")]
    Invalid(String),
}
