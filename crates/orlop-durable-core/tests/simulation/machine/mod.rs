//! What an SDK does: a program, run over a journal.
//!
//! The program is a function of the entries that wake it. Whatever it issues must be what the journal has, if the journal
//! has anything there; so whoever can run a machine over a journal knows that it can be replayed.

mod issue;

use crate::script::{Begin, End, Input, Op, Script};
use crate::{Check, ensure};
use orlop_model::durable::{
    Command, CommandKind, CommandNumber, Entry, Failure, FailureCause, Fence, Outcome, Record, Seq, Signal, Waiting,
};
use orlop_model::{Millis, Timestamp, WorkflowRunId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What has a place in the journal.
#[derive(Debug)]
enum Arrived {
    Entry(Record),
    Own(Sent),
}

/// A command that the engine has been given and has not written yet.
#[derive(Debug)]
enum Sent {
    StepDone(u32),
    Other,
}

/// What an advance leaves for the engine.
#[derive(Debug)]
pub(crate) struct Advance {
    pub(crate) commands: Vec<Command>,
    pub(crate) waiting: Option<Waiting>,
    pub(crate) ended: bool,
}

/// A step that runs, by its number: attempts that failed, and how often it is to fail.
pub(crate) type Steps = BTreeMap<u32, (u32, u32)>;

/// One run of a program.
#[derive(Debug)]
pub(crate) struct Machine {
    run: WorkflowRunId,
    /// Under which it is held; its commands say so.
    fence: Fence,
    input: Input,
    script: Script,
    at: usize,
    now: Timestamp,
    /// The command of each register.
    registers: Vec<u32>,
    last: u32,
    began: BTreeMap<u32, Begin>,
    answered: BTreeSet<u32>,
    pub(crate) signals: VecDeque<Signal>,
    /// What it took, in its order.
    pub(crate) taken: Vec<Signal>,
    cancelled: bool,
    end: Option<End>,
    is_over: bool,

    next: u64,
    arrived: BTreeMap<u64, (Timestamp, Arrived)>,
    sent: VecDeque<Sent>,
    recorded: BTreeMap<u32, CommandKind>,
    marked: BTreeSet<String>,
    patches: BTreeMap<&'static str, bool>,
    replaying: bool,
    outbox: Vec<Command>,
    pub(crate) steps: Steps,
    told: Option<Waiting>,
}

impl Machine {
    /// Runs over a whole journal.
    pub(crate) fn replay(run: WorkflowRunId, fence: Fence, journal: &[Entry]) -> Check<Self> {
        let Some(Entry { record: Record::Started(started), .. }) = journal.first() else {
            return Err(format!("the journal of {run} does not begin: {journal:?}"));
        };
        let input = Input::of(&started.input);
        let mut machine = Self {
            run,
            fence,
            input,
            script: Script::of(&input),
            at: 0,
            now: Timestamp::default(),
            registers: Vec::new(),
            last: 0,
            began: BTreeMap::new(),
            answered: BTreeSet::new(),
            signals: VecDeque::new(),
            taken: Vec::new(),
            cancelled: false,
            end: None,
            is_over: false,
            next: 0,
            arrived: BTreeMap::new(),
            sent: VecDeque::new(),
            recorded: BTreeMap::new(),
            marked: BTreeSet::new(),
            patches: BTreeMap::new(),
            replaying: true,
            outbox: Vec::new(),
            steps: Steps::new(),
            told: None,
        };
        for entry in journal {
            if let Record::Command(command) = &entry.record {
                if let CommandKind::PatchMarked { id } = &command.kind {
                    machine.marked.insert(id.clone());
                }
                if let Some(number) = command.number {
                    machine.recorded.insert(number.0, command.kind.clone());
                }
            }
        }
        let whole = machine.entries(journal.to_vec());
        whole.map_err(|what| format!("{run} cannot be replayed: {what}; {journal:?}"))?;
        ensure!(machine.arrived.is_empty(), "the journal of {run} has gaps: {journal:?}");
        Ok(machine)
    }

    /// Entries that the engine wrote.
    pub(crate) fn entries(&mut self, entries: Vec<Entry>) -> Check {
        for entry in entries {
            self.arrive(entry.seq.0, entry.at, Arrived::Entry(entry.record));
        }
        self.deliver_all()
    }

    /// The commands of one advance are written: in the places from `first` on that are not those of entries.
    pub(crate) fn appended(&mut self, first: Seq, count: u32, at: Timestamp) -> Check {
        let mut place = first.0;
        for _ in 0..count {
            let sent = self.sent.pop_front().ok_or("more was written than sent")?;
            while self.arrived.contains_key(&place) {
                place += 1;
            }
            self.arrive(place, at, Arrived::Own(sent));
            place += 1;
        }
        self.deliver_all()
    }

    /// An attempt of a step ended.
    pub(crate) fn step_ended(&mut self, number: u32, now: Timestamp) {
        let Some((failed, fails)) = self.steps.get_mut(&number) else { return };
        let (name, attempt) = (format!("step {number}"), *failed + 1);
        let kind = if *failed < *fails {
            *failed += 1;
            let failure = Failure::new(FailureCause::Returned, "not yet");
            CommandKind::StepFailed { name, failure, attempt, next_at: now + Millis(10) }
        } else {
            self.steps.remove(&number);
            CommandKind::StepDone { name, outcome: Outcome::Ok(Default::default()), attempt, began_at: now }
        };
        self.say(Some(number), kind);
    }

    fn say(&mut self, number: Option<u32>, kind: CommandKind) {
        let source = self.fence.0.to_string();
        self.outbox.push(Command { number: number.map(CommandNumber), source, kind });
    }

    fn arrive(&mut self, place: u64, at: Timestamp, arrived: Arrived) {
        if place >= self.next {
            self.arrived.insert(place, (at, arrived));
        }
    }

    fn deliver_all(&mut self) -> Check {
        while let Some(first) = self.arrived.first_entry().filter(|first| *first.key() == self.next) {
            let (at, arrived) = first.remove();
            self.next += 1;
            // Once live, always live.
            self.replaying &= !self.arrived.is_empty();
            self.deliver(at, arrived)?;
        }
        Ok(())
    }

    fn deliver(&mut self, at: Timestamp, arrived: Arrived) -> Check {
        match arrived {
            Arrived::Own(Sent::Other) => return Ok(()),
            Arrived::Own(Sent::StepDone(number)) => {
                self.answered.insert(number);
            }
            Arrived::Entry(Record::Command(command)) => return self.command(at, command),
            Arrived::Entry(Record::Started(_)) => {}
            Arrived::Entry(Record::Answered { command, .. }) => {
                self.answered.insert(command.0);
            }
            Arrived::Entry(Record::SignalReceived(signal)) => self.signals.push_back(signal),
            Arrived::Entry(Record::CancelRequested { .. }) => self.cancelled = true,
        }
        self.now = at;
        self.go_on()
    }

    /// A command of the journal is reached: the program must have issued it.
    fn command(&mut self, at: Timestamp, Command { number, kind, .. }: Command) -> Check {
        let number = number.map_or(0, |number| number.0);
        ensure!(number <= self.last, "the journal has {kind:?} as {number}, the program issued {} so far", self.last);
        match kind {
            CommandKind::StepDone { .. } => {
                self.steps.remove(&number);
                self.answered.insert(number);
                self.now = at;
                return self.go_on();
            }
            CommandKind::StepFailed { attempt, .. } => {
                if let Some((failed, _)) = self.steps.get_mut(&number) {
                    ensure!(*failed + 1 == attempt, "attempt {attempt} of a step failed after {failed}");
                    *failed = attempt;
                }
            }
            CommandKind::Finished(_) => {
                let ends = self.end.is_some_and(|end| end != End::Continued);
                ensure!(ends, "the journal ends, and the program does not");
                self.is_over = true;
            }
            CommandKind::ContinuedAsNew { .. } => {
                ensure!(self.end == Some(End::Continued), "the journal goes on as new, and the program does not");
                self.is_over = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn go_on(&mut self) -> Check {
        while self.end.is_none() {
            let op = *self.script.ops.get(self.at).ok_or("the program has no end")?;
            let register = |register: usize| self.registers.get(register).is_some_and(|n| self.answered.contains(n));
            let passes = match op {
                Op::Begin(begin) => {
                    self.begin(begin)?;
                    true
                }
                Op::Await(one) => register(one),
                Op::AwaitEither(one, other) => register(one) || register(other),
                Op::Take(name) => self.take(name),
                Op::Patch(id) => {
                    if !self.patch(id) {
                        // The old way is without what comes next.
                        self.registers.push(0);
                        self.at += 1;
                    }
                    true
                }
                Op::CallOff(one) => {
                    self.call_off(self.registers[one])?;
                    true
                }
                Op::End(end) => {
                    self.end = Some(end);
                    false
                }
            };
            if passes {
                self.at += 1;
            } else if let Some(cleanup) = self.script.cleanup.filter(|cleanup| self.gives_up_before(*cleanup)) {
                for number in 1..=self.last {
                    self.call_off(number)?;
                }
                // What it begins from now on has registers of its own.
                self.at = cleanup;
                self.registers.resize(self.script.registers_before(cleanup), 0);
            } else {
                break;
            }
        }
        Ok(())
    }

    fn gives_up_before(&self, cleanup: usize) -> bool {
        self.cancelled && self.end.is_none() && self.at < cleanup
    }

    fn take(&mut self, name: &str) -> bool {
        let place = self.signals.iter().position(|signal| signal.name == name);
        let signal = place.and_then(|place| self.signals.remove(place));
        self.taken.extend(signal.clone());
        signal.is_some()
    }

    /// Whether it is to behave in the new way.
    fn patch(&mut self, id: &'static str) -> bool {
        if let Some(told) = self.patches.get(id) {
            return *told;
        }
        let is_marked = self.marked.contains(id);
        let told = is_marked || !self.replaying;
        if told && !is_marked {
            self.say(None, CommandKind::PatchMarked { id: id.to_owned() });
        }
        self.patches.insert(id, told);
        told
    }

    /// Nobody waits for the command any more.
    fn call_off(&mut self, number: u32) -> Check {
        let attached = |begin: &Begin| match begin {
            Begin::Task { .. } | Begin::Timer { .. } => true,
            Begin::Child { detached, .. } => !detached,
            _ => false,
        };
        if matches!(self.began.get(&number), Some(Begin::Step { .. })) {
            self.steps.remove(&number);
            self.answered.insert(number);
        }
        let is_open = !self.answered.contains(&number) && self.began.get(&number).is_some_and(attached);
        if is_open {
            self.issue(CommandKind::CommandCancelled(CommandNumber(number)))?;
        }
        Ok(())
    }

    /// What is there for the engine.
    pub(crate) fn advance(&mut self) -> Option<Advance> {
        if self.is_over {
            return None;
        }
        let mut commands = std::mem::take(&mut self.outbox);
        if let Some(end) = self.end {
            let seen = Seq(self.next + self.sent.len() as u64);
            self.say(None, self.last_word(end));
            commands.append(&mut self.outbox);
            self.is_over = true;
            let waiting = Some(Waiting { seen, ..Waiting::default() });
            return Some(Advance { commands, waiting, ended: true });
        }
        let is_step = |command: &Command| matches!(command.kind, CommandKind::StepDone { .. });
        let is_idle = self.arrived.is_empty() && self.steps.is_empty() && !commands.iter().any(is_step);
        let is_written = !self.sent.iter().any(|sent| matches!(sent, Sent::StepDone(_)));
        let waiting = (is_idle && is_written).then(|| self.waiting());
        let waiting = waiting.filter(|waiting| !commands.is_empty() || self.told.as_ref() != Some(waiting));
        if waiting.is_some() {
            self.told.clone_from(&waiting);
        }
        self.sent.extend(commands.iter().map(|command| match (&command.kind, command.number) {
            (CommandKind::StepDone { .. }, Some(number)) => Sent::StepDone(number.0),
            _ => Sent::Other,
        }));
        let is_news = !commands.is_empty() || waiting.is_some();
        is_news.then_some(Advance { commands, waiting, ended: false })
    }

    /// What it waits for, once all that it issued is written.
    pub(crate) fn waiting(&self) -> Waiting {
        let mut waiting = Waiting { seen: Seq(self.next + self.sent.len() as u64), ..Waiting::default() };
        let registers = match self.script.ops.get(self.at) {
            Some(Op::Await(one)) => vec![*one],
            Some(Op::AwaitEither(one, other)) => vec![*one, *other],
            Some(Op::Take(name)) => {
                waiting.signals.push((*name).to_owned());
                Vec::new()
            }
            _ => Vec::new(),
        };
        waiting.commands.extend(registers.into_iter().map(|register| CommandNumber(self.registers[register])));
        waiting
    }
}
