//! The journal of a run.

use super::{Failure, Outcome, Payload, TaskOptions};
use crate::{TaskId, Timestamp, WorkflowRunId};
use std::collections::BTreeMap;
use std::fmt;

/// The place of an entry in its journal: 0, 1, 2 and so on without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

/// The number of a command: 1, 2, 3 in the order in which the workflow issued them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandNumber(pub u32);

impl fmt::Display for CommandNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One entry of a journal. Once written it never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub seq: Seq,
    /// When it was written.
    pub at: Timestamp,
    /// What it says.
    pub record: Record,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The first entry of every run.
    Started(Started),
    /// What the workflow asked for.
    Command(Command),
    /// What came of a task, a child, a timer.
    Answered {
        /// The command that it answers.
        command: CommandNumber,
        /// How it ended.
        outcome: Outcome,
    },
    /// Somebody gave it a signal.
    SignalReceived(Signal),
    /// Somebody wants it to end early.
    CancelRequested {
        /// Why.
        reason: String,
    },
}

/// A word from outside that waits until the workflow takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// Which one.
    pub name: String,
    /// With what.
    pub payload: Payload,
    /// By which the same signal is known when it comes again; empty for none.
    pub id: String,
}

/// What a run begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The name of the workflow.
    pub workflow: String,
    /// The version that the run is pinned to; empty for whatever a worker has.
    pub version: String,
    /// What the workflow is called with.
    pub input: Payload,
    /// The seed of what the workflow draws at random.
    pub seed: u64,
    /// The run that this one continues.
    pub continues: Option<WorkflowRunId>,
    /// The trace that it belongs to, as W3C `traceparent`; empty for none.
    pub traceparent: String,
}

/// Something that a workflow asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Which one it is; none for a [patch](CommandKind::PatchMarked), which old journals do not have, and for the end.
    pub number: Option<CommandNumber>,
    /// Where the workflow issued it, as `file:line`; for people.
    pub source: String,
    /// What it asks for.
    pub kind: CommandKind,
}

/// What a command asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandKind {
    /// A step ran inside the workflow's process, and ended.
    StepDone {
        /// What the workflow calls it.
        name: String,
        /// How it ended.
        outcome: Outcome,
        /// The attempt that ended it; the first is 1.
        attempt: u32,
        /// When that attempt began.
        began_at: Timestamp,
    },
    /// An attempt of a step failed, and there will be another one.
    StepFailed {
        /// What the workflow calls it.
        name: String,
        /// How it failed.
        failure: Failure,
        /// The attempt that failed; the first is 1.
        attempt: u32,
        /// When the next one begins.
        next_at: Timestamp,
    },
    /// Run a function through a queue.
    TaskScheduled {
        /// The task; chosen by who issued it.
        task: TaskId,
        /// The function.
        name: String,
        /// What it is called with.
        input: Payload,
        /// How and when.
        options: Box<TaskOptions>,
    },
    /// Start another workflow and wait for it.
    ChildStarted {
        /// The child; chosen by who issued it.
        run: WorkflowRunId,
        /// The workflow.
        workflow: String,
        /// Its version; empty for whatever a worker has.
        version: String,
        /// What it is called with.
        input: Payload,
        /// Under which one run at most is open; empty for none.
        key: String,
        /// It goes on when its parent ends.
        detached: bool,
    },
    /// Sleep.
    TimerSet {
        /// Until when.
        fires_at: Timestamp,
        /// What the workflow calls it.
        name: String,
    },
    /// Give another run a signal.
    SignalSent {
        /// To whom.
        run: WorkflowRunId,
        /// Which one.
        name: String,
        /// With what.
        payload: Payload,
    },
    /// Cancel what an earlier command of this run began.
    CommandCancelled(CommandNumber),
    /// Cancel another run.
    RunCancelled(WorkflowRunId),
    /// Behave in a new way from here on.
    PatchMarked {
        /// Which new way.
        id: String,
    },
    /// Set search attributes.
    AttributesSet(BTreeMap<String, String>),
    /// The workflow is over.
    Finished(Outcome),
    /// The workflow goes on as a new run with an empty journal.
    ContinuedAsNew {
        /// The new run; chosen by who issued it.
        run: WorkflowRunId,
        /// Its version; empty for whatever a worker has.
        version: String,
        /// What it is called with.
        input: Payload,
        /// Signals that this run did not take.
        carried: Vec<Signal>,
    },
}

impl CommandKind {
    /// One word for what it is.
    pub const fn word(&self) -> &'static str {
        match self {
            CommandKind::StepDone { .. } | CommandKind::StepFailed { .. } => "step",
            CommandKind::TaskScheduled { .. } => "task",
            CommandKind::ChildStarted { .. } => "child",
            CommandKind::TimerSet { .. } => "timer",
            CommandKind::SignalSent { .. } => "signal",
            CommandKind::CommandCancelled(_) | CommandKind::RunCancelled(_) => "cancel",
            CommandKind::PatchMarked { .. } => "patch",
            CommandKind::AttributesSet(_) => "attributes",
            CommandKind::Finished(_) => "end",
            CommandKind::ContinuedAsNew { .. } => "continue-as-new",
        }
    }

    /// What tells it from others of its kind: the name that the workflow's code gives it.
    pub fn name(&self) -> &str {
        match self {
            CommandKind::StepDone { name, .. }
            | CommandKind::StepFailed { name, .. }
            | CommandKind::TaskScheduled { name, .. }
            | CommandKind::TimerSet { name, .. }
            | CommandKind::SignalSent { name, .. } => name,
            CommandKind::ChildStarted { workflow, .. } => workflow,
            CommandKind::PatchMarked { id } => id,
            CommandKind::CommandCancelled(_)
            | CommandKind::RunCancelled(_)
            | CommandKind::AttributesSet(_)
            | CommandKind::Finished(_)
            | CommandKind::ContinuedAsNew { .. } => "",
        }
    }

    /// What must be equal when the workflow is run again: FNV-1a (Fowler, Noll, Vo; 64 bits) over word, a zero byte, and
    /// name.
    pub fn hash(&self) -> u64 {
        let bytes = self.word().bytes().chain([0]).chain(self.name().bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// Whether it has a [number](Command::number).
    pub const fn is_numbered(&self) -> bool {
        !matches!(self, CommandKind::PatchMarked { .. } | CommandKind::Finished(_) | CommandKind::ContinuedAsNew { .. })
    }

    /// Whether the command waits for an answer that the engine writes.
    pub const fn is_answered(&self) -> bool {
        matches!(
            self,
            CommandKind::TaskScheduled { .. } | CommandKind::ChildStarted { .. } | CommandKind::TimerSet { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_command_is_that_of_every_sdk() {
        let timer = |name: &str| CommandKind::TimerSet { fires_at: Timestamp(1), name: name.into() };
        assert_eq!(timer("").hash(), CommandKind::TimerSet { fires_at: Timestamp(2), name: String::new() }.hash());
        assert_ne!(timer("a").hash(), timer("b").hash());
        assert_ne!(timer("a").hash(), CommandKind::PatchMarked { id: "a".into() }.hash());
    }
}
