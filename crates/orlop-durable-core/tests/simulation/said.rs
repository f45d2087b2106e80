//! What is decided and said, against what may be.

use crate::store::Store;
use crate::{Check, ensure};
use orlop_durable_core::{Effects, Message, TaskChange, TaskRow, Write};
use orlop_model::durable::{EngineFrame, Entry, Fence, Outcome, Record};
use orlop_model::{Millis, TaskId, Timestamp, WorkerSessionId, WorkflowRunId};
use std::collections::{BTreeMap, BTreeSet};

/// Who holds what, as the engine said.
#[derive(Default)]
pub(crate) struct Said {
    fence: Fence,
    /// The newest fence of each run, over all engines.
    newest: BTreeMap<WorkflowRunId, Fence>,
    pub(crate) runs: BTreeMap<WorkflowRunId, (WorkerSessionId, Fence)>,
    pub(crate) tasks: BTreeMap<TaskId, (WorkerSessionId, Fence)>,
    /// Tasks that are to end early.
    cancelled: BTreeSet<TaskId>,
    /// When this engine began.
    began: Timestamp,
    /// How often an attempt of a task ended and the task did not, over all engines.
    tried: BTreeMap<TaskId, u32>,
    /// Ends that the engine took, which may take time to be written.
    ended: BTreeSet<(TaskId, Fence)>,
    /// Failures that count.
    failed: BTreeSet<(TaskId, Fence)>,
    /// What sessions may hold: tasks, of them kept from earlier, and runs.
    credit: BTreeMap<WorkerSessionId, (usize, usize, usize)>,
}

/// Under which fence a task ended, by what its worker wrote into the outcome.
fn fence_of(outcome: &Outcome) -> Option<Fence> {
    let text = match outcome {
        Outcome::Ok(payload) => std::str::from_utf8(&payload.data).ok()?,
        Outcome::Failed(failure) => failure.message.strip_prefix("under ")?,
    };
    text.parse().ok().map(Fence)
}

impl Said {
    /// A new engine has not said anything.
    pub(crate) fn begin_anew(&mut self, store: &Store, now: Timestamp) {
        let is_cancelled = |row: &&TaskRow| row.change.cancelled.is_some();
        let cancelled = store.tasks.values().filter(is_cancelled).map(|row| row.task).collect();
        let (newest, tried) = (std::mem::take(&mut self.newest), std::mem::take(&mut self.tried));
        *self = Self { fence: self.fence, newest, tried, cancelled, began: now, ..Self::default() };
    }

    pub(crate) fn gave_credit(&mut self, session: WorkerSessionId, tasks: u32, runs: u32) {
        let credit = self.credit.entry(session).or_default();
        (credit.0, credit.2) = (tasks as usize, runs as usize);
    }

    pub(crate) fn left(&mut self, session: WorkerSessionId) {
        self.runs.retain(|_, (holder, _)| *holder != session);
    }

    /// The engine took the end of a task, or said that it is nobody's business any more.
    pub(crate) fn heard_end(&mut self, task: TaskId, under: Fence, effects: &Effects) {
        let refuses = |message: &Message| matches!(message, Message::ToWorker(_, EngineFrame::TaskCancelled { task: it, fence, .. }) if *it == task && *fence == under);
        if !effects.messages.iter().any(refuses) {
            self.ended.insert((task, under));
        } else if !self.ended.contains(&(task, under)) {
            self.tasks.retain(|held, (_, fence)| *held != task || *fence != under);
        }
    }

    /// What the engine decided in one go: only who holds something writes about it.
    pub(crate) fn decided(&mut self, effects: &Effects) -> Check {
        for write in &effects.writes {
            self.wrote(write)?;
        }
        for message in &effects.messages {
            let Message::ToWorker(session, frame) = message else { continue };
            match frame {
                EngineFrame::Welcome { kept_tasks, .. } => {
                    self.credit.entry(*session).or_default().1 += kept_tasks.len();
                    self.tasks.extend(kept_tasks.iter().map(|(task, fence)| (*task, (*session, *fence))));
                }
                EngineFrame::RunAssigned { run, fence, .. } => {
                    // The fence was drawn when the journal began to be read.
                    self.runs.insert(*run, (*session, *fence));
                    let before = self.newest.insert(*run, *fence);
                    ensure!(before.is_none_or(|before| before < *fence), "{run}: {fence:?} comes after {before:?}");
                }
                EngineFrame::TaskAssigned(assigned) => {
                    ensure!(self.fence < assigned.fence, "{} is assigned under an old fence", assigned.task);
                    let is_wanted = !self.cancelled.contains(&assigned.task);
                    ensure!(is_wanted, "{} is cancelled, and assigned", assigned.task);
                    self.fence = assigned.fence;
                    self.tasks.insert(assigned.task, (*session, assigned.fence));
                }
                EngineFrame::RunEvicted { run, fence, .. } => {
                    self.runs.retain(|held, (_, under)| held != run || under != fence);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn wrote(&mut self, write: &Write) -> Check {
        match write {
            Write::Entry(run, Entry { record: Record::Command(command), .. }) => {
                let holder = self.runs.get(run);
                let is_held = holder.is_some_and(|(_, fence)| fence.0.to_string() == command.source);
                ensure!(is_held, "{run} is held by {holder:?}, and written by another one: {command:?}");
            }
            Write::TaskClosed(closed) => {
                let (task, by) = (closed.row.task, fence_of(&closed.outcome));
                let holder = self.tasks.get(&task).map(|(_, fence)| *fence);
                ensure!(by.is_none() || by == holder, "{task} is held by {holder:?}, and ended by {by:?}");
                let is_early = |patience: Millis| closed.at < closed.row.change.due.max(self.began) + patience;
                let is_impatient = closed.row.options.schedule_to_start.is_some_and(is_early);
                let message =
                    matches!(&closed.outcome, Outcome::Failed(failure) if failure.message.contains("to start"));
                ensure!(!(is_impatient && message), "{task} was not given the time to start");
            }
            Write::TaskChanged(task, change) => {
                if change.cancelled.is_some() {
                    self.cancelled.insert(*task);
                }
                let tried = change.failures + change.losses;
                if self.tried.insert(*task, tried).unwrap_or_default() < tried {
                    self.tasks.remove(task);
                }
                let TaskChange { last_failure: Some(failure), .. } = &**change else { return Ok(()) };
                let by = fence_of(&Outcome::Failed(failure.clone()));
                let is_new = by.is_none_or(|by| self.failed.insert((*task, by)));
                let counted = self.failed.iter().filter(|(failed, _)| failed == task).count();
                ensure!(is_new || counted <= change.failures as usize, "a failure of {task} counts twice: {change:?}");
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends of tasks are said to be taken for good: those with a value are in the store.
    pub(crate) fn takes(&self, store: &Store, by: WorkerSessionId, ends: Vec<(TaskId, Fence)>) -> Check {
        for (task, fence) in ends {
            let counts = self.tasks.get(&task) == Some(&(by, fence)) && !self.failed.contains(&(task, fence));
            ensure!(!counts || store.done.contains_key(&task), "the end of {task} is taken, and not written");
        }
        Ok(())
    }

    /// What workers hold, as the engine sees it.
    pub(crate) fn within_credit(&self, engine: &orlop_durable_core::Engine) -> Check {
        for worker in engine.workers() {
            let (tasks, kept, runs) = self.credit.get(&worker.session).copied().unwrap_or_default();
            let (held_tasks, held_runs) = (worker.tasks, worker.runs);
            ensure!(held_tasks <= tasks.max(kept), "{} holds {held_tasks} tasks of {tasks}", worker.hello.name);
            ensure!(held_runs <= runs, "{} holds {held_runs} runs of {runs}", worker.hello.name);
        }
        Ok(())
    }
}

/// What is said to a worker is durable.
pub(crate) fn is_durable(store: &Store, frame: &EngineFrame) -> Check {
    let written = |run: &WorkflowRunId, entries: &[Entry]| {
        let stored = store.runs.get(run).map(|run| run.entries.as_slice()).unwrap_or_default();
        let from = entries.first().map_or(0, |entry| entry.seq.0 as usize);
        stored.get(from..from + entries.len()) == Some(entries)
    };
    match frame {
        EngineFrame::RunAssigned { run, entries, .. } => {
            ensure!(entries.first().is_some_and(|entry| entry.seq.0 == 0), "{run} is assigned without its beginning");
            ensure!(written(run, entries), "{run} is assigned with a journal that is not in the store: {entries:?}");
        }
        EngineFrame::RunEntries { run, entries, .. } => {
            ensure!(written(run, entries), "{run} is told of entries that are not in the store: {entries:?}");
        }
        EngineFrame::RunAppended { run, fence, first, count, at } => {
            let stored = store.runs.get(run).map(|run| run.entries.as_slice()).unwrap_or_default();
            let is_own = |entry: &&Entry| is_command(entry, *at, *fence);
            let own = stored.iter().skip(first.0 as usize).filter(is_own).count();
            ensure!(own >= *count as usize, "{run} is told that {count} commands from {first:?} on are written");
        }
        EngineFrame::TaskAssigned(assigned) => {
            let task = assigned.task;
            let is_there = store.tasks.contains_key(&task) || store.done.contains_key(&task);
            ensure!(is_there, "{task} is assigned, and not in the store");
        }
        _ => {}
    }
    Ok(())
}

fn is_command(entry: &Entry, at: Timestamp, fence: Fence) -> bool {
    let by = fence.0.to_string();
    entry.at == at && matches!(&entry.record, Record::Command(command) if command.source == by)
}
