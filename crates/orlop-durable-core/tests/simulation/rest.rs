//! Nothing goes wrong any more: everything comes to its end.

use crate::client::{Asked, has_id};
use crate::machine::Machine;
use crate::worker::rests;
use crate::world::World;
use crate::{Check, ensure};
use orlop_durable_core::{RunStatus, StoredRun};
use orlop_model::durable::{CallId, Command, CommandKind, CommandNumber, Record, Signal};
use orlop_model::{TaskId, WorkflowRunId};
use std::collections::BTreeSet;

/// What happens without anybody doing anything new is over within so many rounds.
const ROUNDS: usize = 20_000;
/// Signals are given so often at most, to runs that wait for them.
const TURNS: usize = 100;

impl World {
    pub(crate) fn rest(&mut self) -> Check {
        for number in 0..self.workers.len() {
            let session = self.workers[number].session;
            if self.workers[number].leaving && session.is_some_and(|session| self.life.sessions.contains_key(&session))
            {
                self.break_stream(number);
            }
            self.workers[number].session = session.filter(|session| self.life.sessions.contains_key(session));
        }
        // One of them can do everything, and they can hold all that is needed.
        for _ in 0..TURNS {
            self.until_nothing_happens()?;
            let open: Vec<WorkflowRunId> =
                self.store.runs.values().filter(|run| run.status.is_open()).map(|run| run.row.run).collect();
            if open.is_empty() {
                return self.all_is_over();
            }
            for run in open {
                self.nudge(run)?;
            }
        }
        Err("signals do not bring the runs to their end".into())
    }

    fn until_nothing_happens(&mut self) -> Check {
        for _ in 0..ROUNDS {
            let mut happens = self.say_who_is_gone();
            for number in 0..self.workers.len() {
                if self.workers[number].session.is_none() {
                    self.connect(number);
                    happens = true;
                }
                happens |= self.carry(number);
                while let Some(frame) = self.workers[number].hears.pop_front() {
                    self.tell(|| format!("worker {number} hears {frame:?}"));
                    self.workers[number].hear(frame)?;
                    happens = true;
                }
                let now = self.now;
                happens |= self.workers[number].work(now, &mut self.chance);
            }
            happens |= self.take(16)?;
            happens |= self.commit(16)?;
            happens |= self.read();
            if !happens {
                let Some(deadline) = self.life.engine.next_deadline() else { return Ok(()) };
                self.now = self.now.max(deadline);
            }
        }
        Err("there is no end to what happens".into())
    }

    /// Nothing happens, and the run is open: it waits for something that is still to come, and here it comes.
    fn nudge(&mut self, run: WorkflowRunId) -> Check {
        let Some(stored) = self.store.runs.get(&run) else { return Ok(()) };
        if stored.status == RunStatus::Blocked {
            self.ask(Asked::Retry(run));
            return Ok(());
        }
        let mut machine = rests(run, &stored.entries)?;
        let waiting = machine.waiting();
        let commands = machine.advance().map(|advance| advance.commands).unwrap_or_default();
        ensure!(commands.is_empty(), "nobody runs {run}, which would say {commands:?}: {:?}", stored.entries);
        ensure!(machine.steps.is_empty(), "nobody runs the steps {:?} of {run}", machine.steps);
        let is_waiting = self.life.engine.run_view(run).is_some_and(|view| view.waiting.is_some());
        ensure!(stored.parked || is_waiting, "{run} is open, and the engine does not know that it waits");
        for number in &waiting.commands {
            ensure!(self.is_to_come(run, *number), "{run} waits for {number}, which is over: {:?}", stored.entries);
        }
        if let Some(name) = waiting.signals.first() {
            ensure!(name == "a" || name == "b", "{run} waits for the signal {name}, which it gave itself");
            let number = self.chance.next() << 1 | u64::from(name == "b");
            self.ask(Asked::Signal { run, number, by_id: has_id(number) });
        }
        Ok(())
    }

    /// Whether what the command began goes on.
    fn is_to_come(&self, run: WorkflowRunId, number: CommandNumber) -> bool {
        match self.store.open.get(&(run, number)) {
            // All timers have fired, and workers are there for all tasks.
            Some(CommandKind::ChildStarted { run: child, .. }) => {
                self.store.last_of(*child).is_some_and(|last| last.status.is_open())
            }
            _ => false,
        }
    }

    fn all_is_over(&mut self) -> Check {
        let runs: Vec<_> = self.store.runs.keys().copied().collect();
        let tasks: Vec<_> = self.store.done.keys().copied().collect();
        runs.iter().for_each(|run| self.ask(Asked::Await(CallId::Run(*run))));
        tasks.iter().for_each(|task| self.ask(Asked::Await(CallId::Task(*task))));
        self.until_nothing_happens()?;
        let store = &self.store;
        ensure!(store.tasks.is_empty(), "all is over, but for {:?}", store.tasks.keys());
        ensure!(store.timers.is_empty(), "all is over, but for the timers {:?}", store.timers);
        ensure!(self.clients.waiting.is_empty(), "nobody answers {:?}", self.clients.waiting);
        let lost_runs: Vec<_> = self.clients.runs.iter().filter(|run| !store.runs.contains_key(run)).collect();
        ensure!(lost_runs.is_empty(), "{lost_runs:?} were started, and are not there");
        let is_lost = |task: &&TaskId| !store.done.contains_key(task);
        let lost_tasks: Vec<_> = self.clients.tasks.iter().filter(is_lost).collect();
        ensure!(lost_tasks.is_empty(), "{lost_tasks:?} were submitted, and are not there");
        let mut taken = BTreeSet::new();
        for run in &runs {
            self.signals_passed_on(*run, &mut taken)?;
        }
        for (number, run) in &self.clients.signals {
            ensure!(!self.journals_with(*run, *number).is_empty(), "the signal {number} to {run} was acknowledged");
        }
        self.tally();
        Ok(())
    }

    /// Each signal is taken once, or passed on to the run that goes on, or left at the end.
    fn signals_passed_on(&self, run: WorkflowRunId, taken: &mut BTreeSet<String>) -> Check {
        let Some(stored) = self.store.runs.get(&run) else { return Ok(()) };
        let machine: Machine = rests(run, &stored.entries)?;
        for signal in &machine.taken {
            let is_known = signal.payload.data.is_empty() || taken.insert(format!("{:?}", signal.payload.data));
            ensure!(is_known, "{signal:?} is taken twice, at last by {run}");
        }
        let signals = |run: &StoredRun| -> Vec<Signal> {
            let signal = |record: &Record| match record {
                Record::SignalReceived(signal) => Some(signal.clone()),
                _ => None,
            };
            run.entries.iter().filter_map(|entry| signal(&entry.record)).collect()
        };
        let last = stored.entries.last().map(|entry| &entry.record);
        if let Some(Record::Command(Command { kind: CommandKind::ContinuedAsNew { run: next, .. }, .. })) = last {
            let goes_on = self.store.runs.get(next).map(signals).unwrap_or_default();
            let left: Vec<Signal> = machine.signals.iter().cloned().collect();
            ensure!(goes_on.starts_with(&left), "{run} leaves {left:?}, and {next} begins with {goes_on:?}");
            let is_known =
                |signal: &Signal| !signal.id.is_empty() && signals(stored).iter().any(|it| it.id == signal.id);
            let again = goes_on.iter().skip(left.len()).find(|signal| is_known(signal));
            ensure!(again.is_none(), "{again:?} comes to {next}, and {run} had it before");
        }
        let mut ids: Vec<_> = signals(stored).into_iter().map(|signal| signal.id).filter(|id| !id.is_empty()).collect();
        let count = ids.len();
        ids.sort();
        ids.dedup();
        ensure!(ids.len() == count, "{run} has a signal twice: {:?}", stored.entries);
        Ok(())
    }

    /// What the journals are made of.
    fn tally(&mut self) {
        let words = |run: &StoredRun| -> Vec<&'static str> {
            let word = |record: &Record| match record {
                Record::Started(_) => "run",
                Record::Command(command) => command.kind.word(),
                Record::Answered { .. } => "answer",
                Record::SignalReceived(_) => "signal received",
                Record::CancelRequested { .. } => "cancel requested",
            };
            run.entries.iter().map(|entry| word(&entry.record)).collect()
        };
        let words: Vec<_> = self.store.runs.values().flat_map(words).collect();
        words.into_iter().for_each(|word| self.did(word));
    }
}
