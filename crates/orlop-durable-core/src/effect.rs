//! What an engine wants done.

use orlop_model::durable::{
    BlockCause, CallId, CommandNumber, EngineFrame, Entry, Failure, Outcome, Owner, Payload, TaskLog, TaskOptions,
};
use orlop_model::{TaskId, Timestamp, WorkerSessionId, WorkflowRunId};
use std::collections::BTreeMap;

use crate::{Refusal, Ticket};

/// What an engine wants done, in this order: write, then send and read.
#[derive(Debug, Default)]
pub struct Effects {
    /// Rows to write, all in one transaction.
    pub writes: Vec<Write>,
    /// What may be said once they are durable.
    pub messages: Vec<Message>,
    /// What is to be read once they are durable; each is answered with an [`Input`](crate::Input).
    pub loads: Vec<Load>,
}

impl Effects {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.messages.is_empty() && self.loads.is_empty()
    }
}

/// A change of the store.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// A new run; its journal is written by itself.
    RunNew(Box<RunRow>),
    /// Something about a run, other than its journal.
    RunChanged(WorkflowRunId, RunChange),
    /// The next entry of a journal.
    Entry(WorkflowRunId, Entry),
    /// A timer of a run.
    TimerNew {
        /// When it fires.
        at: Timestamp,
        /// Whose.
        run: WorkflowRunId,
        /// The command that set it.
        command: CommandNumber,
    },
    /// The timer fired, or nobody waits for it any more.
    TimerGone {
        /// When it was to fire.
        at: Timestamp,
        /// Whose.
        run: WorkflowRunId,
        /// The command that set it.
        command: CommandNumber,
    },
    /// A new task.
    TaskNew(Box<TaskRow>),
    /// Something about an open task.
    TaskChanged(TaskId, Box<TaskChange>),
    /// A task is over.
    TaskClosed(Box<ClosedTask>),
    /// What a task says.
    TaskSaid(TaskId, Vec<TaskLog>),
}

/// A task that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct ClosedTask {
    /// What it was.
    pub row: TaskRow,
    /// How it ended.
    pub status: TaskStatus,
    /// With what.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
    /// The attempt that ended it.
    pub attempt: u32,
}

/// A run, as it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// Which one.
    pub run: WorkflowRunId,
    /// The workflow.
    pub workflow: String,
    /// The version that it is pinned to; empty for none.
    pub version: String,
    /// Under which one run at most is open; empty for none.
    pub key: String,
    /// Who waits for it, or at least started it.
    pub owner: Option<Owner>,
    /// What that goes back to.
    pub root: Option<CallId>,
    /// It goes on when its owner ends.
    pub detached: bool,
    /// When it was made.
    pub created: Timestamp,
    /// What it can be found by.
    pub attributes: BTreeMap<String, String>,
}

/// Where a run stands, as the store knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunStatus {
    /// It goes on, or waits.
    Open,
    /// It waits for other code.
    Blocked,
    /// It ended with a value.
    Completed,
    /// It ended with a failure.
    Failed,
    /// It ended because it was asked to.
    Cancelled,
    /// Another run goes on in its place.
    Continued,
}

impl RunStatus {
    /// Whether more can become of it.
    pub const fn is_open(self) -> bool {
        matches!(self, RunStatus::Open | RunStatus::Blocked)
    }
}

/// A change of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunChange {
    /// It is over.
    Closed {
        /// What it was a run of.
        workflow: String,
        /// How.
        status: RunStatus,
        /// With what; none when another run goes on.
        outcome: Option<Outcome>,
        /// When.
        at: Timestamp,
    },
    /// It cannot go on with the code that workers have.
    Blocked {
        /// Why, in a word.
        cause: BlockCause,
        /// Why, in a sentence.
        message: String,
    },
    /// It is to be tried again.
    Unblocked,
    /// It waits, and the engine forgets it until something comes for it (`true`), or something came (`false`).
    Parked(bool),
    /// What it can be found by; added to what there is.
    Attributes(BTreeMap<String, String>),
}

/// An open task, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRow {
    /// Which one.
    pub task: TaskId,
    /// The function.
    pub name: String,
    /// What it is called with.
    pub input: Payload,
    /// How and when.
    pub options: TaskOptions,
    /// Under which one task at most is open; empty for none.
    pub key: String,
    /// Who waits for it, or at least submitted it.
    pub owner: Option<Owner>,
    /// What that goes back to.
    pub root: Option<CallId>,
    /// The trace that it belongs to, as W3C `traceparent`; empty for none.
    pub traceparent: String,
    /// When it was submitted.
    pub created: Timestamp,
    /// What changes of it.
    pub change: TaskChange,
}

/// What changes of an open task. Who holds it is not stored: a worker's stream is its sign of life.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TaskChange {
    /// When it can start, or start again.
    pub due: Timestamp,
    /// Attempts that failed.
    pub failures: u32,
    /// Attempts whose worker was lost.
    pub losses: u32,
    /// The last failure.
    pub last_failure: Option<Failure>,
    /// Where the next attempt may go on.
    pub checkpoint: Option<Payload>,
    /// Thousandths of the whole.
    pub progress_permille: Option<u32>,
    /// What it tells of itself.
    pub metadata: BTreeMap<String, String>,
    /// Somebody wants it to end early, and why.
    pub cancelled: Option<String>,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskStatus {
    /// With a value.
    Completed,
    /// With a failure. One that nobody waits for is a dead letter.
    Failed,
    /// Because it was asked to.
    Cancelled,
}

/// Something to say once everything before it is durable.
#[derive(Debug)]
pub enum Message {
    /// To a worker.
    ToWorker(WorkerSessionId, EngineFrame),
    /// The engine has no use for this stream any more.
    Close(WorkerSessionId, String),
    /// To who asked.
    Reply(Ticket, Result<Reply, Refusal>),
}

/// What a request is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A run was started, or found.
    Run(Requested<WorkflowRunId>),
    /// Tasks were submitted, or found.
    Tasks(Vec<Requested<TaskId>>),
    /// It is over.
    Outcome(Outcome),
    /// It was done. `over`: there was nothing to do any more.
    Done {
        /// It was over already.
        over: bool,
    },
}

/// Something that was asked for by a key, perhaps not for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requested<T> {
    /// What stands for the request.
    pub id: T,
    /// It was there already.
    pub found: bool,
}

/// Something to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// A run with its journal.
    Run(WorkflowRunId),
    /// A task that is not in memory.
    Task(TaskId),
}
