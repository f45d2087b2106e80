//! What a run and its context share.

use super::ids::{self, Random};
use super::machine::Blocked;
use super::mismatch;
use super::step::{StepToRun, StepWork};
use super::waker::Wakes;
use crate::failure::Failure;
use orlop_model::durable::{BlockCause, Command, CommandKind, CommandNumber, Entry, Payload, Record, Signal};
use orlop_model::{TaskId, Timestamp, WorkflowRunId};
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::Location;
use std::sync::Arc;
use std::task::Waker;

/// Where the workflow's code issued something.
pub(crate) type Source = &'static Location<'static>;

/// A run's state. It is never locked while code of the user runs or is dropped.
#[derive(Clone)]
pub(crate) struct Shared {
    state: Arc<Mutex<State>>,
    pub(super) wakes: Arc<Wakes>,
}

impl Shared {
    pub(super) fn new(state: State, wakes: Arc<Wakes>) -> Self {
        Self { state: Arc::new(Mutex::new(state)), wakes }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The state, for what belongs into the journal; none if the run is over, or if it is not the workflow that asks, which
    /// blocks it.
    pub(crate) fn issuing(&self, source: Source) -> Option<MutexGuard<'_, State>> {
        let mut state = self.state.lock();
        if state.is_over() {
            return None;
        }
        if !self.wakes.is_delivering_here() {
            state.block(BlockCause::ForeignWake, mismatch::elsewhere(source));
            drop(state);
            self.wakes.tell();
            return None;
        }
        Some(state)
    }
}

/// A command as the journal has it.
pub(super) struct Recorded {
    pub(super) hash: u64,
    pub(super) word: &'static str,
    pub(super) name: String,
    pub(super) source: String,
}

impl Recorded {
    pub(super) fn of(command: &Command) -> Self {
        let kind = &command.kind;
        Self { hash: kind.hash(), word: kind.word(), name: kind.name().to_owned(), source: command.source.clone() }
    }
}

/// What a command began, and whoever waits for it.
pub(crate) struct Slot {
    pub(crate) kind: SlotKind,
    pub(crate) name: String,
    pub(crate) source: Source,
    /// Cancellation does not touch it.
    pub(crate) shielded: bool,
    pub(crate) answer: Option<Result<Payload, Failure>>,
    pub(crate) waker: Option<Waker>,
}

pub(crate) enum SlotKind {
    Step(StepWork),
    Task(TaskId),
    Child { run: WorkflowRunId, detached: bool },
    Timer,
}

impl SlotKind {
    /// Whether the engine is to be told that nobody waits for it.
    const fn is_cancelled_by_command(&self) -> bool {
        matches!(self, SlotKind::Task(_) | SlotKind::Child { detached: false, .. } | SlotKind::Timer)
    }
}

/// Who waits for signals or for cancellation.
pub(crate) struct Listener {
    /// None for cancellation.
    pub(crate) signal: Option<String>,
    pub(crate) waker: Waker,
}

pub(crate) struct State {
    pub(crate) run: WorkflowRunId,
    pub(crate) version: String,
    pub(crate) now: Timestamp,
    pub(crate) random: Random,
    /// The last number that was given to a command, and where.
    pub(super) last: Option<(u32, Source)>,
    pub(super) recorded: BTreeMap<u32, Recorded>,
    marked: BTreeSet<String>,
    /// What the workflow was told, which stays.
    patches: BTreeMap<String, bool>,
    /// More of the journal is to come.
    pub(super) replaying: bool,
    pub(crate) slots: BTreeMap<u32, Slot>,
    pub(super) outbox: Vec<Command>,
    /// Steps that begin, or try again, as soon as the journal is through.
    pub(super) due_steps: BTreeSet<u32>,
    /// Steps that nobody waits for any more.
    pub(super) abandoned: Vec<CommandNumber>,
    /// Those that the workflow did not take.
    pub(crate) signals: VecDeque<Signal>,
    pub(crate) listeners: BTreeMap<u64, Listener>,
    next_listener: u64,
    /// Why the run is to end early.
    pub(crate) cancelled: Option<String>,
    /// So many shields are around what is polled now.
    pub(crate) shields: u32,
    pub(super) blocked: Option<Blocked>,
    /// How the run goes on as a new one.
    pub(super) continued: Option<Command>,
    /// Nothing that the code does counts any more.
    pub(super) closed: bool,
    /// No payload is larger, in bytes.
    pub(crate) payload_bytes_max: u64,
}

impl State {
    pub(super) fn new(run: WorkflowRunId, payload_bytes_max: u64) -> Self {
        Self {
            run,
            version: String::new(),
            now: Timestamp::default(),
            random: Random::new(0),
            last: None,
            recorded: BTreeMap::new(),
            marked: BTreeSet::new(),
            patches: BTreeMap::new(),
            replaying: false,
            slots: BTreeMap::new(),
            outbox: Vec::new(),
            due_steps: BTreeSet::new(),
            abandoned: Vec::new(),
            signals: VecDeque::new(),
            listeners: BTreeMap::new(),
            next_listener: 0,
            cancelled: None,
            shields: 0,
            blocked: None,
            continued: None,
            closed: false,
            payload_bytes_max,
        }
    }

    /// Notes what the journal has before any of it is delivered.
    pub(super) fn note(&mut self, entry: &Entry) {
        let Record::Command(command) = &entry.record else { return };
        if let CommandKind::PatchMarked { id } = &command.kind {
            self.marked.insert(id.clone());
        }
        if let Some(number) = command.number {
            self.recorded.insert(number.0, Recorded::of(command));
        }
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.closed || self.blocked.is_some() || self.continued.is_some()
    }

    /// The first reason counts.
    pub(crate) fn block(&mut self, cause: BlockCause, message: String) {
        self.blocked.get_or_insert(Blocked { cause, message });
    }

    /// Why an await that begins now ends at once.
    pub(crate) fn refusal(&self) -> Option<Failure> {
        self.cancelled.as_ref().filter(|_| self.shields == 0).map(Failure::cancelled)
    }

    /// Gives the next command its number, and notes it for the engine unless the journal has it. None when the journal has
    /// another one there.
    pub(crate) fn issue(&mut self, source: Source, make: impl FnOnce(&Self, u32) -> CommandKind) -> Option<u32> {
        let (number, is_new, kind) = self.number(source, make)?;
        if is_new {
            self.outbox.push(Command { number: Some(CommandNumber(number)), source: source.to_string(), kind });
        }
        Some(number)
    }

    /// The same for a command with an answer.
    pub(crate) fn open(
        &mut self,
        source: Source,
        kind: SlotKind,
        make: impl FnOnce(&Self, u32) -> CommandKind,
    ) -> Option<u32> {
        let (number, is_new, command) = self.number(source, make)?;
        let (name, shielded) = (command.name().to_owned(), self.shields > 0);
        if matches!(kind, SlotKind::Step(_)) {
            // What is in the journal of it will be delivered, and then it is due no more.
            self.due_steps.insert(number);
        } else if is_new {
            let number = Some(CommandNumber(number));
            self.outbox.push(Command { number, source: source.to_string(), kind: command });
        }
        self.slots.insert(number, Slot { kind, name, source, shielded, answer: None, waker: None });
        Some(number)
    }

    fn number(
        &mut self,
        source: Source,
        make: impl FnOnce(&Self, u32) -> CommandKind,
    ) -> Option<(u32, bool, CommandKind)> {
        let number = self.next_number();
        let kind = make(self, number);
        self.last = Some((number, source));
        match self.recorded.get(&number) {
            Some(recorded) if recorded.hash != kind.hash() => {
                let message = mismatch::other(number, recorded, &kind, source);
                self.block(BlockCause::Mismatch, message);
                None
            }
            recorded => Some((number, recorded.is_none(), kind)),
        }
    }

    /// What the next command will be.
    pub(crate) fn next_number(&self) -> u32 {
        self.last.map_or(1, |(last, _)| last + 1)
    }

    pub(crate) fn task_of(&self, number: u32) -> TaskId {
        ids::task_of(self.run, number)
    }

    pub(crate) fn child_of(&self, number: u32) -> WorkflowRunId {
        ids::child_of(self.run, number)
    }

    /// Whether the code is to behave in the new way.
    pub(crate) fn patched(&mut self, id: &str, source: Source) -> bool {
        if let Some(told) = self.patches.get(id) {
            return *told;
        }
        let is_marked = self.marked.contains(id);
        let told = is_marked || !self.replaying;
        if told && !is_marked {
            let kind = CommandKind::PatchMarked { id: id.to_owned() };
            self.outbox.push(Command { number: None, source: source.to_string(), kind });
        }
        self.patches.insert(id.to_owned(), told);
        told
    }

    /// The run is to go on as a new one.
    pub(crate) fn continue_as_new(&mut self, source: Source, version: String, input: Payload) {
        let run = ids::continuation_of(self.run);
        let kind = CommandKind::ContinuedAsNew { run, version, input, carried: Vec::new() };
        self.continued = Some(Command { number: None, source: source.to_string(), kind });
    }

    /// The last command of a run that goes on as a new one, with all signals that nobody took, those included that came
    /// after the code said so.
    pub(super) fn take_continuation(&mut self) -> Option<Command> {
        let mut command = self.continued.clone()?;
        if let CommandKind::ContinuedAsNew { carried, .. } = &mut command.kind {
            carried.extend(self.signals.drain(..));
        }
        Some(command)
    }

    /// What a command began has an answer; whom to wake.
    pub(super) fn answer(&mut self, number: CommandNumber, result: Result<Payload, Failure>) -> Option<Waker> {
        self.due_steps.remove(&number.0);
        let slot = self.slots.get_mut(&number.0)?;
        if slot.answer.is_none() {
            slot.answer = Some(result);
            return slot.waker.take();
        }
        None
    }

    /// The run is to end early: everything outside of a shield ends now; whom to wake.
    pub(super) fn cancel(&mut self, reason: String) -> Vec<Waker> {
        if self.cancelled.is_some() {
            return Vec::new();
        }
        let is_touched = |slot: &Slot| slot.answer.is_none() && !slot.shielded;
        let touched: Vec<u32> =
            self.slots.iter().filter(|(_, slot)| is_touched(slot)).map(|(number, _)| *number).collect();
        let mut woken = Vec::new();
        for number in touched {
            woken.extend(self.answer(CommandNumber(number), Err(Failure::cancelled(reason.clone()))));
            self.call_off(number);
        }
        woken.extend(self.listeners.values().map(|listener| listener.waker.clone()));
        self.cancelled = Some(reason);
        woken
    }

    /// Nobody waits for the answer of a command any more.
    pub(crate) fn forget(&mut self, number: u32) {
        if self.slots.get(&number).is_some_and(|slot| slot.answer.is_none()) {
            self.call_off(number);
        }
        self.slots.remove(&number);
        self.due_steps.remove(&number);
    }

    fn call_off(&mut self, number: u32) {
        let Some(slot) = self.slots.get(&number) else { return };
        let source = slot.source;
        if slot.kind.is_cancelled_by_command() {
            self.issue(source, |_, _| CommandKind::CommandCancelled(CommandNumber(number)));
        } else if matches!(slot.kind, SlotKind::Step(_)) {
            self.abandoned.push(CommandNumber(number));
        }
    }

    pub(crate) fn listen(&mut self, signal: Option<String>, waker: Waker) -> u64 {
        self.next_listener += 1;
        self.listeners.insert(self.next_listener, Listener { signal, waker });
        self.next_listener
    }

    /// The oldest signal of the name.
    pub(crate) fn take_signal(&mut self, name: &str) -> Option<Signal> {
        let place = self.signals.iter().position(|signal| signal.name == name)?;
        self.signals.remove(place)
    }

    /// The steps that are to run now.
    pub(super) fn take_due_steps(&mut self) -> Vec<StepToRun> {
        let due = std::mem::take(&mut self.due_steps);
        let to_run = |number: u32| {
            let slot = self.slots.get(&number).filter(|slot| slot.answer.is_none())?;
            let SlotKind::Step(work) = &slot.kind else { return None };
            Some(StepToRun {
                number: CommandNumber(number),
                name: slot.name.clone(),
                attempt: work.attempt,
                not_before: work.not_before,
                body: work.body.clone(),
            })
        };
        due.into_iter().filter_map(to_run).collect()
    }
}
