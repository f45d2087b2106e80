//! What workers and engines say to each other, frame by frame.

use super::{Command, Entry, Failure, Outcome, Payload, QueueName, Seq};
use crate::{Millis, TaskId, Timestamp, WorkerSessionId, WorkflowRunId};
use std::collections::{BTreeMap, BTreeSet};

/// Under which a worker holds a run or a task. Greater with each assignment, also by an engine that took over; what is
/// written under another one is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fence(pub u64);

/// What a worker is and has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hello {
    /// What it is called; for people.
    pub name: String,
    /// The machine that it runs on.
    pub host: String,
    /// The SDK, as `name/version`.
    pub sdk: String,
    /// The version of the user's code.
    pub build: String,
    /// What tasks may ask for.
    pub labels: BTreeMap<String, String>,
    /// The queues that it takes tasks from.
    pub queues: BTreeSet<QueueName>,
    /// The tasks that it has.
    pub tasks: BTreeSet<String>,
    /// The workflows that it has, each with the versions that it can run; with none it runs those pinned to none.
    pub workflows: BTreeMap<String, BTreeSet<String>>,
    /// Tasks that it still runs from an earlier stream.
    pub held_tasks: Vec<(TaskId, Fence)>,
}

/// What a worker says after its [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerFrame {
    /// So many it holds at most at the same time.
    Credit {
        /// Tasks.
        tasks: u32,
        /// Runs.
        runs: u32,
    },
    /// It lives.
    Pong,
    /// It wants no more work, and ends when it has none.
    Leaving,
    /// What a workflow wants written.
    RunAdvanced {
        /// Which run.
        run: WorkflowRunId,
        /// Under which it is held.
        fence: Fence,
        /// In their order.
        commands: Vec<Command>,
        /// What the workflow waits for, if it waits for nothing in its worker.
        waiting: Option<Waiting>,
    },
    /// The worker gives the run back.
    RunReleased {
        /// Which run.
        run: WorkflowRunId,
        /// Under which it was held.
        fence: Fence,
    },
    /// The workflow cannot go on with this code.
    RunBlocked {
        /// Which run.
        run: WorkflowRunId,
        /// Under which it was held.
        fence: Fence,
        /// Why, in a word.
        cause: BlockCause,
        /// Why, in a sentence.
        message: String,
    },
    /// A workflow was asked something, and this is its answer.
    QueryAnswered {
        /// The number of the question.
        query: u64,
        /// The answer.
        outcome: Outcome,
    },
    /// An attempt of a task ended.
    TaskFinished {
        /// Which task.
        task: TaskId,
        /// Under which it is held.
        fence: Fence,
        /// How.
        outcome: Outcome,
    },
    /// A sign of life of a running task, and what it tells.
    TaskReported {
        /// Which task.
        task: TaskId,
        /// Under which it is held.
        fence: Fence,
        /// What it tells.
        report: TaskReport,
    },
    /// The worker gives the task back; the attempt does not count.
    TaskReturned {
        /// Which task.
        task: TaskId,
        /// Under which it was held.
        fence: Fence,
    },
}

/// What a workflow waits for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Waiting {
    /// It has taken all entries before this one into account; it waits only if nobody wrote more.
    pub seen: Seq,
    /// Commands whose answers it waits for.
    pub commands: Vec<super::CommandNumber>,
    /// Signals that it waits for.
    pub signals: Vec<String>,
}

/// What a running task tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaskReport {
    /// Thousandths of the whole.
    pub progress_permille: Option<u32>,
    /// Added to what there is.
    pub metadata: BTreeMap<String, String>,
    /// Where the next attempt may go on.
    pub checkpoint: Option<Payload>,
    /// What it says.
    pub log: Vec<TaskLog>,
}

/// A line that a task says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskLog {
    /// When.
    pub at: Timestamp,
    /// How grave.
    pub level: String,
    /// What.
    pub text: String,
}

/// Why a run cannot go on with the code that a worker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlockCause {
    /// The code issued another command than the journal has.
    Mismatch,
    /// The workflow's own code panicked.
    Panicked,
    /// It was woken by something that is not in the journal.
    ForeignWake,
    /// It did not yield in time.
    Stuck,
    /// Something in the journal could not be read by the code.
    Unreadable,
}

/// What an engine says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineFrame {
    /// The answer to [`Hello`].
    Welcome {
        /// The stream, by name.
        session: WorkerSessionId,
        /// How often the engine sends a ping.
        ping: Millis,
        /// A worker from which nothing came for so long is lost.
        lost_after: Millis,
        /// Of the tasks that the worker still ran, those that it may go on with.
        kept_tasks: Vec<(TaskId, Fence)>,
        /// No payload may be larger, in bytes.
        payload_bytes_max: u64,
    },
    /// Are you there?
    Ping,
    /// The engine is going to stop.
    Leaving,
    /// So many [`WorkerFrame::TaskFinished`] of this stream, from its first on, are taken for good.
    EndsTaken {
        /// How many.
        count: u64,
    },
    /// A run, from its beginning.
    RunAssigned {
        /// Which run.
        run: WorkflowRunId,
        /// Under which it is held from now on.
        fence: Fence,
        /// The workflow.
        workflow: String,
        /// The journal so far, or its first part.
        entries: Vec<Entry>,
        /// More of it follows.
        more: bool,
    },
    /// What came into the journal of a run, other than by its own commands.
    RunEntries {
        /// Which run.
        run: WorkflowRunId,
        /// Under which it is held.
        fence: Fence,
        /// In their order.
        entries: Vec<Entry>,
        /// More of the journal so far follows.
        more: bool,
    },
    /// The commands of one [`WorkerFrame::RunAdvanced`] are in the journal.
    RunAppended {
        /// Which run.
        run: WorkflowRunId,
        /// Under which it is held.
        fence: Fence,
        /// The place of the first.
        first: Seq,
        /// How many.
        count: u32,
        /// When.
        at: Timestamp,
    },
    /// The worker is to forget the run.
    RunEvicted {
        /// Which run.
        run: WorkflowRunId,
        /// Under which it was held.
        fence: Fence,
        /// Why.
        reason: String,
    },
    /// A question to a workflow.
    Query {
        /// The number of the question.
        query: u64,
        /// Which run.
        run: WorkflowRunId,
        /// What is asked.
        name: String,
        /// With what.
        input: Payload,
    },
    /// A task to run.
    TaskAssigned(Box<AssignedTask>),
    /// The running function is to stop.
    TaskCancelled {
        /// Which task.
        task: TaskId,
        /// Under which it is held.
        fence: Fence,
        /// Why.
        reason: String,
    },
}

/// A task as a worker gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignedTask {
    /// Which task.
    pub task: TaskId,
    /// Under which it is held.
    pub fence: Fence,
    /// The function.
    pub name: String,
    /// Where it waited.
    pub queue: QueueName,
    /// What it is called with.
    pub input: Payload,
    /// Which attempt this is; the first is 1.
    pub attempt: u32,
    /// What the last attempt left.
    pub checkpoint: Option<Payload>,
    /// Within which it is to end.
    pub start_to_close: Option<Millis>,
    /// How often it is to give a sign of life.
    pub heartbeat: Option<Millis>,
    /// What submitted it, as a printed id; empty for a client.
    pub parent: String,
    /// What that goes back to.
    pub root: String,
    /// The trace that it belongs to, as W3C `traceparent`; empty for none.
    pub traceparent: String,
    /// How the attempt before failed.
    pub last_failure: Option<Failure>,
}
