//! The machine: a workflow's future, and its journal.

use super::mismatch;
use super::state::{Shared, SlotKind, State};
use super::step::{StepEnd, StepToRun};
use super::waker::Wakes;
use crate::failure::{self, Failure, outcome, panic_message};
use crate::replay::ids::Random;
use crate::workflow::{Definition, WorkflowBody, WorkflowContext};
use orlop_model::durable::{
    BlockCause, Command, CommandKind, CommandNumber, Entry, Outcome, Payload, Record, Seq, Started, Waiting,
};
use orlop_model::{Timestamp, WorkflowRunId};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};

/// A workflow that wakes itself so often without any news is stuck.
const POLLS_MAX: u32 = 10_000;

/// Why a run cannot go on with this code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// In a word.
    pub cause: BlockCause,
    /// In a sentence.
    pub message: String,
}

/// What came of what a machine was told.
#[derive(Debug, Default)]
pub struct Advance {
    /// To be written, in this order, as one.
    pub commands: Vec<Command>,
    /// To be run.
    pub steps: Vec<StepToRun>,
    /// Steps that need not run on: nobody waits for them.
    pub abandoned: Vec<CommandNumber>,
    /// What the workflow waits for, if that is news and it waits for nothing in this worker.
    pub waiting: Option<Waiting>,
    /// The last command is in `commands`; the machine does nothing more.
    pub ended: bool,
    /// The run cannot go on; the machine does nothing more.
    pub blocked: Option<Blocked>,
}

impl Advance {
    /// Whether there is anything for the engine.
    pub fn is_for_engine(&self) -> bool {
        !self.commands.is_empty() || self.waiting.is_some()
    }
}

/// What has a place in the journal.
enum Arrived {
    Entry(Record),
    /// A command of this machine.
    Own(Sent),
}

/// A command that the engine has been given and has not written yet.
enum Sent {
    StepDone(CommandNumber, Outcome),
    Other,
}

/// One run of a workflow.
pub struct Machine {
    shared: Shared,
    waker: Waker,
    definition: Definition,
    /// None before the beginning and after the end.
    future: Option<WorkflowBody>,
    result: Option<Result<Payload, Failure>>,
    /// All before this place is delivered.
    next: u64,
    /// What came ahead of something that is to be delivered before it.
    arrived: BTreeMap<u64, (Timestamp, Arrived)>,
    sent: VecDeque<Sent>,
    told: Option<Waiting>,
    is_over: bool,
}

impl Machine {
    /// A run before its beginning. `foreign` is called, on any thread, when the workflow is woken by something that is not
    /// in its journal; [`foreign_wake`](Self::foreign_wake) is to be called then.
    pub fn new(
        run: WorkflowRunId,
        definition: Definition,
        payload_bytes_max: u64,
        foreign: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let wakes = Wakes::new(Box::new(foreign));
        Self {
            waker: wakes.waker(),
            shared: Shared::new(State::new(run, payload_bytes_max), wakes),
            definition,
            future: None,
            result: None,
            next: 0,
            arrived: BTreeMap::new(),
            sent: VecDeque::new(),
            told: None,
            is_over: false,
        }
    }

    /// Runs over the whole journal, from its first entry. What the code issues and the journal does not have is in what is
    /// answered, after all of the journal.
    pub fn replay(&mut self, journal: Vec<Entry>) -> Advance {
        let mut state = self.shared.lock();
        journal.iter().for_each(|entry| state.note(entry));
        state.replaying = true;
        drop(state);
        self.entries(journal)
    }

    /// Entries that the engine wrote, in their order.
    pub fn entries(&mut self, entries: Vec<Entry>) -> Advance {
        for entry in entries {
            self.arrive(entry.seq.0, entry.at, Arrived::Entry(entry.record));
        }
        self.deliver_all();
        self.advance()
    }

    /// The commands of one [`Advance`] are written: in the places from `first` on that are not those of entries.
    pub fn appended(&mut self, first: Seq, count: u32, at: Timestamp) -> Advance {
        let mut place = first.0;
        for _ in 0..count {
            let Some(sent) = self.sent.pop_front() else { break };
            while self.arrived.contains_key(&place) {
                place += 1;
            }
            self.arrive(place, at, Arrived::Own(sent));
            place += 1;
        }
        self.deliver_all();
        self.advance()
    }

    /// An attempt of a step ended at `now`. `chance` is any number of 32 bits.
    pub fn step_ended(&mut self, end: StepEnd, now: Timestamp, chance: u32) -> Advance {
        let mut state = self.shared.lock();
        let StepEnd { number, attempt, began_at, result } = end;
        let bytes_max = state.payload_bytes_max;
        let is_awaited = !state.is_over();
        if let Some(slot) = state.slots.get_mut(&number.0).filter(|slot| is_awaited && slot.answer.is_none())
            && let SlotKind::Step(work) = &mut slot.kind
            && work.attempt == attempt
        {
            let result = result.and_then(|payload| crate::payload::bounded(payload, bytes_max));
            let wait = match &result {
                Ok(_) => None,
                Err(failure) => work.retry.wait_after(attempt, failure, chance),
            };
            let (name, source) = (slot.name.clone(), slot.source.to_string());
            let kind = match (result, wait) {
                (Err(failure), Some(wait)) => {
                    let next_at = now + wait;
                    (work.attempt, work.not_before) = (attempt.saturating_add(1), next_at);
                    state.due_steps.insert(number.0);
                    CommandKind::StepFailed { name, failure: failure.into_domain(), attempt, next_at }
                }
                (result, _) => CommandKind::StepDone { name, outcome: outcome(result), attempt, began_at },
            };
            state.outbox.push(Command { number: Some(number), source, kind });
        }
        drop(state);
        self.advance()
    }

    /// The workflow was woken by something that is not in its journal.
    pub fn foreign_wake(&mut self) -> Advance {
        self.advance()
    }

    /// Whether the workflow waits for what comes through the engine, and for nothing in this worker.
    pub fn is_waiting(&self) -> bool {
        self.waiting(&[]).is_some()
    }

    fn arrive(&mut self, place: u64, at: Timestamp, arrived: Arrived) {
        if place >= self.next {
            self.arrived.insert(place, (at, arrived));
        }
    }

    fn deliver_all(&mut self) {
        self.shared.wakes.enter();
        while !self.is_over
            && let Some(first) = self.arrived.first_entry().filter(|first| *first.key() == self.next)
        {
            let (at, arrived) = first.remove();
            self.next += 1;
            let mut state = self.shared.lock();
            // Once live, always live.
            state.replaying &= !self.arrived.is_empty();
            drop(state);
            self.deliver(at, arrived);
            if self.shared.lock().blocked.is_some() {
                break;
            }
        }
        self.shared.wakes.leave();
    }

    fn deliver(&mut self, at: Timestamp, arrived: Arrived) {
        let shared = self.shared.clone();
        let mut state = shared.lock();
        let mut woken = Vec::new();
        match arrived {
            Arrived::Entry(Record::Started(started)) => {
                state.now = at;
                drop(state);
                return self.begin(started);
            }
            Arrived::Entry(Record::Command(command)) => {
                drop(state);
                return self.command(at, command);
            }
            Arrived::Own(Sent::Other) => return,
            Arrived::Own(Sent::StepDone(command, outcome)) | Arrived::Entry(Record::Answered { command, outcome }) => {
                woken.extend(state.answer(command, failure::result(outcome)));
            }
            Arrived::Entry(Record::SignalReceived(signal)) => {
                let waits = |name: &Option<String>| name.as_ref() == Some(&signal.name);
                let waiting = state.listeners.values().filter(|listener| waits(&listener.signal));
                woken.extend(waiting.map(|listener| listener.waker.clone()));
                state.signals.push_back(signal);
            }
            Arrived::Entry(Record::CancelRequested { reason }) => woken = state.cancel(reason),
        }
        state.now = at;
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        self.poll();
    }

    fn begin(&mut self, started: Started) {
        let mut state = self.shared.lock();
        state.random = Random::new(started.seed);
        state.version = started.version;
        drop(state);
        let context = WorkflowContext::new(self.shared.clone());
        match catch_unwind(AssertUnwindSafe(|| self.definition.begin(context, &started.input))) {
            Ok(Ok(future)) => {
                self.future = Some(future);
                self.shared.wakes.wake_own();
                self.poll();
            }
            Ok(Err(failure)) => self.result = Some(Err(failure)),
            Err(panic) => self.panicked(&*panic),
        }
    }

    /// A command of the journal is reached: the code must have issued it.
    fn command(&mut self, at: Timestamp, command: Command) {
        let mut state = self.shared.lock();
        if let Some(number) = command.number.filter(|number| number.0 >= state.next_number()) {
            let last = state.last.map(|(last, source)| (last, source.to_string()));
            let last = last.as_ref().map(|(last, source)| (*last, source.as_str()));
            let recorded = super::state::Recorded::of(&command);
            let message = mismatch::missing(number.0, &recorded, last, self.future.is_none());
            return state.block(BlockCause::Mismatch, message);
        }
        match (command.kind, command.number) {
            (CommandKind::StepDone { outcome, .. }, Some(number)) => {
                drop(state);
                self.deliver(at, Arrived::Own(Sent::StepDone(number, outcome)));
            }
            (CommandKind::StepFailed { attempt, next_at, .. }, Some(number)) => {
                let slot = state.slots.get_mut(&number.0);
                if let Some(SlotKind::Step(work)) = slot.map(|slot| &mut slot.kind) {
                    (work.attempt, work.not_before) = (attempt.saturating_add(1), next_at);
                }
            }
            _ => {}
        }
    }

    /// Polls the workflow until nothing of its own wakes it.
    fn poll(&mut self) {
        let mut polls = 0;
        while self.shared.wakes.take_woken() && !self.shared.lock().is_over() {
            polls += 1;
            if polls > POLLS_MAX {
                let message = format!("the workflow woke itself {POLLS_MAX} times without any news; does it loop?");
                return self.shared.lock().block(BlockCause::Stuck, message);
            }
            let Some(future) = &mut self.future else { return };
            let mut context = Context::from_waker(&self.waker);
            match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context))) {
                Ok(Poll::Pending) => {}
                Ok(Poll::Ready(result)) => {
                    let bytes_max = self.shared.lock().payload_bytes_max;
                    self.result = Some(result.and_then(|payload| crate::payload::bounded(payload, bytes_max)));
                    self.drop_future();
                }
                Err(panic) => self.panicked(&*panic),
            }
        }
    }

    fn panicked(&mut self, panic: &(dyn std::any::Any + Send)) {
        let message = format!("the workflow's own code panicked: {}", panic_message(panic));
        self.shared.lock().block(BlockCause::Panicked, message);
    }

    /// Drops what is left of the workflow; what that does counts as little as a panic in it.
    fn drop_future(&mut self) {
        let future = self.future.take();
        // The future takes the blame for all that it does when dropped.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
    }

    /// What is to be done now.
    fn advance(&mut self) -> Advance {
        if self.is_over {
            return Advance::default();
        }
        let mut state = self.shared.lock();
        if self.shared.wakes.is_foreign() {
            state.block(BlockCause::ForeignWake, mismatch::FOREIGN.to_owned());
        }
        if let Some(blocked) = state.blocked.clone() {
            drop(state);
            self.close();
            return Advance { blocked: Some(blocked), ended: true, ..Advance::default() };
        }
        let mut commands = std::mem::take(&mut state.outbox);
        let abandoned = std::mem::take(&mut state.abandoned);
        let last = match self.result.take() {
            Some(result) => {
                let kind = CommandKind::Finished(outcome(result));
                Some(Command { number: None, source: String::new(), kind })
            }
            None => state.take_continuation(),
        };
        if let Some(last) = last {
            commands.push(last);
            drop(state);
            // Which signals it has seen, and so passes on, is known by the place.
            let seen = Seq(self.next + self.sent.len() as u64);
            self.close();
            let waiting = Some(Waiting { seen, ..Waiting::default() });
            return Advance { commands, abandoned, waiting, ended: true, ..Advance::default() };
        }
        let steps = state.take_due_steps();
        drop(state);
        let waiting =
            self.waiting(&commands).filter(|waiting| !commands.is_empty() || self.told.as_ref() != Some(waiting));
        if let Some(waiting) = &waiting {
            // That its own commands get their places is no news.
            let seen = Seq(waiting.seen.0 + commands.len() as u64);
            self.told = Some(Waiting { seen, ..waiting.clone() });
        }
        self.sent.extend(commands.iter().map(|command| match (&command.kind, command.number) {
            (CommandKind::StepDone { outcome, .. }, Some(number)) => Sent::StepDone(number, outcome.clone()),
            _ => Sent::Other,
        }));
        Advance { commands, steps, abandoned, waiting, ..Advance::default() }
    }

    /// What the workflow waits for once `commands` are written.
    fn waiting(&self, commands: &[Command]) -> Option<Waiting> {
        let state = self.shared.lock();
        let is_live = self.future.is_some() && !self.is_over && !state.is_over() && self.arrived.is_empty();
        let is_step = |command: &Command| matches!(command.kind, CommandKind::StepDone { .. });
        let step_unwritten =
            self.sent.iter().any(|sent| matches!(sent, Sent::StepDone(..))) || commands.iter().any(is_step);
        let open = || state.slots.iter().filter(|(_, slot)| slot.answer.is_none());
        let step_open = || open().any(|(_, slot)| matches!(slot.kind, SlotKind::Step(_)));
        if !is_live || step_unwritten || step_open() {
            return None;
        }
        let mut signals: Vec<String> =
            state.listeners.values().filter_map(|listener| listener.signal.clone()).collect();
        signals.sort();
        signals.dedup();
        let commands = open().map(|(number, _)| CommandNumber(*number)).collect();
        Some(Waiting { seen: Seq(self.next + self.sent.len() as u64), commands, signals })
    }

    fn close(&mut self) {
        self.is_over = true;
        self.shared.lock().closed = true;
        self.drop_future();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.close();
    }
}
