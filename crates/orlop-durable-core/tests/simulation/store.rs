//! The model of a store: it applies a batch as one, and refuses what no engine may write.

use crate::{Check, ensure};
use orlop_durable_core::{ClosedTask, Recovered, RunChange, RunStatus, StoredRun, TaskRow, Write};
use orlop_model::durable::{Command, CommandKind, CommandNumber, Entry, Outcome, Owner, Record};
use orlop_model::{TaskId, Timestamp, WorkflowRunId};
use std::collections::{BTreeMap, BTreeSet};

/// A run's command.
type Place = (WorkflowRunId, CommandNumber);

/// What is durable.
#[derive(Debug, Clone, Default)]
pub(crate) struct Store {
    pub(crate) epoch: u32,
    pub(crate) runs: BTreeMap<WorkflowRunId, StoredRun>,
    pub(crate) tasks: BTreeMap<TaskId, TaskRow>,
    pub(crate) done: BTreeMap<TaskId, ClosedTask>,
    pub(crate) timers: BTreeSet<(Timestamp, WorkflowRunId, CommandNumber)>,
    /// Commands that have their number for good.
    commands: BTreeSet<Place>,
    /// Commands that wait for an answer.
    pub(crate) open: BTreeMap<Place, CommandKind>,
    keys: BTreeMap<(String, String), WorkflowRunId>,
    task_keys: BTreeMap<(String, String), TaskId>,
}

/// What of a batch is looked at again when all of it is written.
#[derive(Default)]
struct Touched {
    runs_closed: Vec<WorkflowRunId>,
    tasks_closed: Vec<TaskId>,
    signals_sent: Vec<(Place, WorkflowRunId)>,
}

impl Store {
    /// What an engine that begins finds.
    pub(crate) fn take_over(&mut self) -> (u32, Recovered) {
        self.epoch += 1;
        let open = || self.runs.values().filter(|run| run.status.is_open());
        let key = |run: &StoredRun| (run.row.workflow.clone(), run.row.key.clone(), run.row.run);
        let recovered = Recovered {
            runs: open().filter(|run| !run.parked).map(|run| run.row.run).collect(),
            run_keys: open().filter(|run| !run.row.key.is_empty()).map(key).collect(),
            tasks: self.tasks.values().cloned().collect(),
            timers: self.timers.iter().copied().collect(),
        };
        (self.epoch, recovered)
    }

    /// How a task ended, if it is over.
    pub(crate) fn outcome_of(&self, task: TaskId) -> Option<Outcome> {
        self.done.get(&task).map(|closed| closed.outcome.clone())
    }

    /// The run, and those that went on in its place.
    pub(crate) fn chain_of(&self, run: WorkflowRunId) -> Vec<&StoredRun> {
        let goes_on = |run: &&StoredRun| match run.entries.last().map(|entry| &entry.record) {
            Some(Record::Command(Command { kind: CommandKind::ContinuedAsNew { run, .. }, .. })) => self.runs.get(run),
            _ => None,
        };
        std::iter::successors(self.runs.get(&run), goes_on).collect()
    }

    /// The run that goes on in the place of this one, or itself.
    pub(crate) fn last_of(&self, run: WorkflowRunId) -> Option<&StoredRun> {
        self.chain_of(run).pop()
    }

    /// A number that tells two histories apart.
    pub(crate) fn sum(&self) -> u64 {
        let text = format!("{self:?}");
        text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// Writes all of it, or says what is wrong with it.
    pub(crate) fn commit(&mut self, writes: &[Write]) -> Check {
        let mut touched = Touched::default();
        for write in writes {
            self.apply(write, &mut touched).map_err(|what| format!("{what}: {write:?}"))?;
        }
        self.nothing_is_owed(&touched)
    }

    fn apply(&mut self, write: &Write, touched: &mut Touched) -> Check {
        match write {
            Write::RunNew(row) => {
                ensure!(!self.runs.contains_key(&row.run), "a run begins twice");
                if !row.key.is_empty() {
                    let taken = self.keys.insert((row.workflow.clone(), row.key.clone()), row.run);
                    ensure!(taken.is_none(), "two open runs have a key");
                }
                let (entries, run) = (Vec::new(), row.run);
                let stored =
                    StoredRun { row: (**row).clone(), status: RunStatus::Open, parked: false, entries, outcome: None };
                self.runs.insert(run, stored);
            }
            Write::RunChanged(run, change) => self.change_run(*run, change.clone(), touched)?,
            Write::Entry(run, entry) => self.entry(*run, entry.clone(), touched)?,
            Write::TimerNew { at, run, command } => {
                ensure!(self.open.contains_key(&(*run, *command)), "a timer that nobody waits for");
                ensure!(self.timers.insert((*at, *run, *command)), "a timer is set twice");
            }
            Write::TimerGone { at, run, command } => {
                ensure!(self.timers.remove(&(*at, *run, *command)), "no such timer");
            }
            Write::TaskNew(row) => {
                let is_new = !self.tasks.contains_key(&row.task) && !self.done.contains_key(&row.task);
                ensure!(is_new, "a task begins twice");
                if !row.key.is_empty() {
                    let taken = self.task_keys.insert((row.name.clone(), row.key.clone()), row.task);
                    ensure!(taken.is_none(), "two open tasks have a key");
                }
                self.tasks.insert(row.task, (**row).clone());
            }
            Write::TaskChanged(task, change) => {
                let row = self.tasks.get_mut(task).ok_or("a task changes that is not open")?;
                let older = &row.change;
                ensure!(change.failures >= older.failures && change.losses >= older.losses, "a task goes back");
                ensure!(older.cancelled.is_none() || change.cancelled.is_some(), "a cancellation is forgotten");
                row.change = (**change).clone();
            }
            Write::TaskClosed(closed) => {
                let row = self.tasks.remove(&closed.row.task).ok_or("a task ends that is not open")?;
                if !row.key.is_empty() {
                    self.task_keys.remove(&(row.name, row.key));
                }
                touched.tasks_closed.push(row.task);
                self.done.insert(row.task, (**closed).clone());
            }
            Write::TaskSaid(task, _) => {
                ensure!(self.tasks.contains_key(task), "a task speaks that is not open");
            }
        }
        Ok(())
    }

    fn change_run(&mut self, run: WorkflowRunId, change: RunChange, touched: &mut Touched) -> Check {
        let stored = self.runs.get_mut(&run).ok_or("no such run")?;
        ensure!(stored.status.is_open(), "a run changes that is over");
        match change {
            RunChange::Closed { status, outcome, .. } => {
                let last = stored.entries.last().map(|entry| &entry.record);
                let ends = |kind: &CommandKind| match kind {
                    CommandKind::Finished(result) => outcome.as_ref() == Some(result),
                    CommandKind::ContinuedAsNew { .. } => outcome.is_none() && status == RunStatus::Continued,
                    _ => false,
                };
                let is_ended = matches!(last, Some(Record::Command(command)) if ends(&command.kind));
                ensure!(is_ended && !status.is_open(), "a run is closed and its journal is not");
                stored.status = status;
                stored.outcome = outcome;
                self.keys.retain(|_, holder| *holder != run);
                touched.runs_closed.push(run);
            }
            RunChange::Blocked { .. } => stored.status = RunStatus::Blocked,
            RunChange::Unblocked => stored.status = RunStatus::Open,
            RunChange::Parked(parked) => {
                ensure!(stored.parked != parked, "parked twice, or not at all");
                stored.parked = parked;
            }
            RunChange::Attributes(attributes) => stored.row.attributes.extend(attributes),
        }
        Ok(())
    }

    fn entry(&mut self, run: WorkflowRunId, entry: Entry, touched: &mut Touched) -> Check {
        let stored = self.runs.get_mut(&run).ok_or("no such run")?;
        ensure!(stored.status.is_open(), "an entry of a run that is over");
        ensure!(!stored.parked, "an entry of a run that nobody would take up");
        ensure!(entry.seq.0 == stored.entries.len() as u64, "the next place is {}", stored.entries.len());
        ensure!((entry.seq.0 == 0) == matches!(entry.record, Record::Started(_)), "the beginning is elsewhere");
        match &entry.record {
            Record::Command(Command { number, kind, .. }) => {
                ensure!(number.is_some() == kind.is_numbered(), "a number, or none");
                let Some(number) = number else {
                    stored.entries.push(entry);
                    return Ok(());
                };
                let place = (run, *number);
                let is_new = match kind {
                    CommandKind::StepFailed { .. } => !self.commands.contains(&place),
                    _ => self.commands.insert(place),
                };
                ensure!(is_new, "the command has its place already");
                if kind.is_answered() {
                    self.open.insert(place, kind.clone());
                }
                if let CommandKind::SignalSent { run: target, .. } = kind {
                    touched.signals_sent.push((place, *target));
                }
            }
            Record::Answered { command, .. } => {
                ensure!(self.open.remove(&(run, *command)).is_some(), "nobody waits for this answer");
            }
            Record::Started(_) | Record::SignalReceived(_) | Record::CancelRequested { .. } => {}
        }
        stored.entries.push(entry);
        Ok(())
    }

    /// Whatever dies now, what ended has told who waits for it: nobody would tell them later.
    fn nothing_is_owed(&self, touched: &Touched) -> Check {
        let is_open = |run: WorkflowRunId| self.runs.get(&run).is_some_and(|run| run.status.is_open());
        let is_owed = |owner: Option<Owner>| match owner {
            Some(Owner::Run(run, command)) => is_open(run) && self.open.contains_key(&(run, command)),
            _ => false,
        };
        for task in &touched.tasks_closed {
            let owner = self.done.get(task).and_then(|closed| closed.row.owner);
            ensure!(!is_owed(owner), "{task} is over, and {owner:?} does not know");
        }
        for run in &touched.runs_closed {
            let Some(stored) = self.runs.get(run) else { continue };
            let owner = stored.row.owner.filter(|_| stored.status != RunStatus::Continued);
            ensure!(!is_owed(owner), "{run} is over, and {owner:?} does not know");
            ensure!(!self.timers.iter().any(|(_, owner, _)| owner == run), "{run} is over, and has a timer");
            for (_, kind) in self.open.range((*run, CommandNumber(0))..=(*run, CommandNumber(u32::MAX))) {
                let CommandKind::ChildStarted { run: child, detached: false, .. } = kind else { continue };
                let last = self.last_of(*child);
                let is_told = |entry: &Entry| matches!(entry.record, Record::CancelRequested { .. });
                let lives_on = last.is_some_and(|last| last.status.is_open() && !last.entries.iter().any(is_told));
                ensure!(!lives_on, "{run} is over, and its child {child} does not know");
            }
        }
        for ((run, number), target) in &touched.signals_sent {
            let id = format!("{run}/{number}");
            let chain = self.chain_of(*target);
            let is_it = |entry: &Entry| matches!(&entry.record, Record::SignalReceived(signal) if signal.id == id);
            let is_there = chain.iter().any(|run| run.entries.iter().any(is_it));
            let is_over = chain.last().is_none_or(|last| !last.status.is_open());
            ensure!(is_there || is_over, "the signal {id} is not in the journal of {target}");
        }
        Ok(())
    }
}
