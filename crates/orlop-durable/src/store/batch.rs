//! Many writes as few rows: what was made and ended within one batch leaves only its end.

use orlop_durable_core::{ClosedTask, RunChange, RunRow, RunStatus, TaskChange, TaskRow, Write};
use orlop_model::durable::{BlockCause, CommandNumber, Entry, Outcome, TaskLog};
use orlop_model::{TaskId, Timestamp, WorkflowRunId};
use std::collections::{BTreeMap, BTreeSet};

/// A timer's key.
pub(super) type TimerKey = (Timestamp, WorkflowRunId, CommandNumber);

/// The rows of a batch.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) runs: BTreeMap<WorkflowRunId, RunRow>,
    /// Changes of runs, also of those in `runs`.
    pub(super) changes: BTreeMap<WorkflowRunId, Changes>,
    pub(super) entries: Vec<(WorkflowRunId, Entry)>,
    pub(super) timers: BTreeSet<TimerKey>,
    pub(super) timers_gone: Vec<TimerKey>,
    pub(super) tasks: BTreeMap<TaskId, TaskRow>,
    pub(super) task_changes: BTreeMap<TaskId, TaskChange>,
    /// Tasks whose rows go, of those that were written by an earlier batch.
    pub(super) tasks_gone: Vec<TaskId>,
    pub(super) tasks_closed: Vec<ClosedTask>,
    pub(super) task_logs: Vec<(TaskId, Vec<TaskLog>)>,
}

/// What changes of a run, all changes of a batch together.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) closed: Option<(RunStatus, Option<Outcome>, Timestamp)>,
    /// `None` is unblocked.
    pub(super) blocked: Option<Option<(BlockCause, String)>>,
    pub(super) parked: Option<bool>,
    pub(super) attributes: BTreeMap<String, String>,
}

impl Batch {
    pub(super) fn of(writes: Vec<Write>) -> Self {
        let mut batch = Self::default();
        for write in writes {
            batch.add(write);
        }
        batch
    }

    fn add(&mut self, write: Write) {
        match write {
            Write::RunNew(row) => {
                self.runs.insert(row.run, *row);
            }
            Write::RunChanged(run, change) => self.changes.entry(run).or_default().add(change),
            Write::Entry(run, entry) => self.entries.push((run, entry)),
            Write::TimerNew { at, run, command } => {
                self.timers.insert((at, run, command));
            }
            Write::TimerGone { at, run, command } => {
                if !self.timers.remove(&(at, run, command)) {
                    self.timers_gone.push((at, run, command));
                }
            }
            Write::TaskNew(row) => {
                self.tasks.insert(row.task, *row);
            }
            Write::TaskChanged(task, change) => match self.tasks.get_mut(&task) {
                Some(row) => row.change = *change,
                None => {
                    self.task_changes.insert(task, *change);
                }
            },
            Write::TaskClosed(closed) => {
                if self.tasks.remove(&closed.row.task).is_none() {
                    self.task_changes.remove(&closed.row.task);
                    self.tasks_gone.push(closed.row.task);
                }
                self.tasks_closed.push(*closed);
            }
            Write::TaskSaid(task, lines) => self.task_logs.push((task, lines)),
        }
    }
}

impl Changes {
    fn add(&mut self, change: RunChange) {
        match change {
            RunChange::Closed { status, outcome, at, .. } => self.closed = Some((status, outcome, at)),
            RunChange::Blocked { cause, message } => self.blocked = Some(Some((cause, message))),
            RunChange::Unblocked => self.blocked = Some(None),
            RunChange::Parked(parked) => self.parked = Some(parked),
            RunChange::Attributes(attributes) => self.attributes.extend(attributes),
        }
    }
}
