//! A run between a machine and an engine that writes whatever comes, at once.

use orlop_model::durable::{
    Command, CommandKind, CommandNumber, Entry, Failure as Failed, FailureCause, Outcome, Payload, Record, Seq, Signal,
    Started, Waiting,
};
use orlop_model::{Timestamp, WorkflowRunId};
use orlop_worker::payload::{decode, encode};
use orlop_worker::replay::{Advance, Blocked, Machine, StepEnd, StepToRun};
use orlop_worker::workflow::Definition;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) const RUN: WorkflowRunId = WorkflowRunId::from_u128(0xabcd);

/// One entry each 10 ms, from 1 s on.
fn at(seq: usize) -> Timestamp {
    Timestamp(1000 + 10 * seq as u64)
}

pub(crate) struct Rig {
    pub(crate) definition: Definition,
    pub(crate) journal: Vec<Entry>,
    pub(crate) machine: Machine,
    pub(crate) waiting: Option<Waiting>,
    pub(crate) blocked: Option<Blocked>,
    pub(crate) ended: bool,
    pub(crate) abandoned: Vec<u32>,
    pub(crate) steps: BTreeMap<u32, StepToRun>,
    pub(crate) foreign: Arc<AtomicU32>,
}

pub(crate) fn machine(definition: &Definition, foreign: &Arc<AtomicU32>) -> Machine {
    let told = foreign.clone();
    Machine::new(RUN, definition.clone(), 1000, move || {
        told.fetch_add(1, Ordering::SeqCst);
    })
}

pub(crate) fn json(value: &(impl Serialize + ?Sized)) -> Payload {
    encode(value).expect("a value that JSON has")
}

pub(crate) fn started(input: &(impl Serialize + ?Sized)) -> Entry {
    let record = Record::Started(Started {
        workflow: "w".into(),
        version: String::new(),
        input: json(input),
        seed: 42,
        continues: None,
        traceparent: String::new(),
    });
    Entry { seq: Seq(0), at: at(0), record }
}

impl Rig {
    /// A run that begins.
    pub(crate) fn start(definition: Definition, input: &(impl Serialize + ?Sized)) -> Self {
        Self::replay(definition, vec![started(input)])
    }

    /// A run that goes on elsewhere.
    pub(crate) fn replay(definition: Definition, journal: Vec<Entry>) -> Self {
        let foreign = Arc::default();
        let mut rig = Self {
            machine: machine(&definition, &foreign),
            definition,
            journal: journal.clone(),
            waiting: None,
            blocked: None,
            ended: false,
            abandoned: Vec::new(),
            steps: BTreeMap::new(),
            foreign,
        };
        let advance = rig.machine.replay(journal);
        rig.take(advance);
        rig
    }

    /// The same run on a worker that has nothing but the journal.
    pub(crate) fn moved(&self) -> Self {
        Self::replay(self.definition.clone(), self.journal.clone())
    }

    pub(crate) fn take(&mut self, advance: Advance) {
        let Advance { commands, steps, abandoned, waiting, ended, blocked } = advance;
        assert!(commands.is_empty() || blocked.is_none(), "a blocked run writes {commands:?}");
        self.abandoned.extend(abandoned.iter().map(|number| number.0));
        self.steps.extend(steps.into_iter().map(|step| (step.number.0, step)));
        self.blocked = blocked.or(self.blocked.take());
        self.ended |= ended;
        // As the engine sees it: a workflow waits only if nobody wrote more.
        if let Some(waiting) = &waiting {
            assert_eq!(waiting.seen.0, self.journal.len() as u64);
        }
        self.waiting = waiting.or(self.waiting.take()).filter(|_| !self.ended);
        if commands.is_empty() {
            return;
        }
        let (first, count) = (Seq(self.journal.len() as u64), commands.len() as u32);
        let written = at(self.journal.len());
        for command in commands {
            let seq = Seq(self.journal.len() as u64);
            self.journal.push(Entry { seq, at: written, record: Record::Command(command) });
        }
        if !self.ended {
            let advance = self.machine.appended(first, count, written);
            self.take(advance);
        }
    }

    /// Something comes that the workflow did not write.
    pub(crate) fn write(&mut self, record: Record) {
        let place = self.journal.len();
        let entry = Entry { seq: Seq(place as u64), at: at(place), record };
        self.journal.push(entry.clone());
        let advance = self.machine.entries(vec![entry]);
        self.take(advance);
    }

    pub(crate) fn answer(&mut self, command: u32, value: &(impl Serialize + ?Sized)) {
        self.write(Record::Answered { command: CommandNumber(command), outcome: Outcome::Ok(json(value)) });
    }

    pub(crate) fn fire(&mut self, command: u32) {
        self.write(Record::Answered { command: CommandNumber(command), outcome: Outcome::Ok(Payload::default()) });
    }

    pub(crate) fn fail(&mut self, command: u32, message: &str) {
        let failure = Failed::new(FailureCause::Returned, message);
        self.write(Record::Answered { command: CommandNumber(command), outcome: Outcome::Failed(failure) });
    }

    pub(crate) fn signal(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        self.write(Record::SignalReceived(Signal { name: name.into(), payload: json(value), id: String::new() }));
    }

    pub(crate) fn cancel(&mut self, reason: &str) {
        self.write(Record::CancelRequested { reason: reason.into() });
    }

    /// Runs the attempt of a step that is to run.
    pub(crate) fn run_step(&mut self, number: u32) {
        let step = self.steps.remove(&number).unwrap_or_else(|| panic!("step {number} is not to run"));
        let (number, attempt) = (step.number, step.attempt);
        let result = futures::executor::block_on(step.start());
        let now = at(self.journal.len());
        let end = StepEnd { number, attempt, began_at: now, result };
        let advance = self.machine.step_ended(end, now, 0);
        self.take(advance);
    }

    /// The journal in words, without its beginning.
    pub(crate) fn said(&self) -> Vec<String> {
        self.journal.iter().skip(1).map(said).collect()
    }

    /// What the workflow waits for.
    pub(crate) fn waits_for(&self) -> (Vec<u32>, Vec<String>) {
        let waiting = self.waiting.as_ref().expect("a workflow that waits");
        (waiting.commands.iter().map(|number| number.0).collect(), waiting.signals.clone())
    }

    /// Another worker, with any part of the journal, issues what this one did: no more, and no less.
    #[track_caller]
    pub(crate) fn assert_same_at_every_prefix(&self) {
        for end in 1..=self.journal.len() {
            let (prefix, rest) = self.journal.split_at(end);
            let mut machine = machine(&self.definition, &Arc::default());
            let advance = machine.replay(prefix.to_vec());
            assert_eq!(advance.blocked, None, "after {end} entries");
            let wakes = |entry: &&Entry| match &entry.record {
                Record::Command(command) => {
                    !matches!(command.kind, CommandKind::StepDone { .. } | CommandKind::StepFailed { .. })
                }
                _ => false,
            };
            let expected: Vec<String> = rest.iter().take_while(wakes).map(said).collect();
            let issued: Vec<String> = advance.commands.iter().map(said_command).collect();
            let over = matches!(&prefix[end - 1].record, Record::Command(Command { number: None, .. }));
            if !over {
                assert_eq!(issued, expected, "after {end} of {:#?}", self.said());
            }
        }
    }
}

fn value(payload: &Payload) -> String {
    decode::<serde_json::Value>(payload).expect("JSON").to_string()
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ok(payload) => value(payload),
        Outcome::Failed(failure) if failure.cause == FailureCause::Cancelled => {
            format!("cancelled: {}", failure.message)
        }
        Outcome::Failed(failure) if failure.cause == FailureCause::Unreadable => {
            format!("unreadable: {}", failure.message)
        }
        Outcome::Failed(failure) => format!("failed: {}", failure.message),
    }
}

pub(crate) fn said(entry: &Entry) -> String {
    match &entry.record {
        Record::Started(started) => format!("started {}", value(&started.input)),
        Record::Command(command) => said_command(command),
        Record::Answered { command, outcome: answer } => format!("{command}: {}", outcome(answer)),
        Record::SignalReceived(signal) => format!("signal {} {}", signal.name, value(&signal.payload)),
        Record::CancelRequested { reason } => format!("cancel requested: {reason}"),
    }
}

pub(crate) fn said_command(command: &Command) -> String {
    let number = command.number.map(|number| format!("{number} ")).unwrap_or_default();
    let kind = match &command.kind {
        CommandKind::StepDone { name, outcome: end, attempt, .. } => {
            format!("step {name} ({attempt}) {}", outcome(end))
        }
        CommandKind::StepFailed { name, failure, attempt, next_at } => {
            format!("step {name} ({attempt}) {}, again at {}", failure.message, next_at.0)
        }
        CommandKind::TaskScheduled { name, input, options, .. } => {
            format!("task {name} {} on {}", value(input), options.queue)
        }
        CommandKind::ChildStarted { workflow, input, .. } => format!("child {workflow} {}", value(input)),
        CommandKind::TimerSet { fires_at, name } => format!("timer {name:?} at {}", fires_at.0),
        CommandKind::SignalSent { run, name, payload } => format!("signal {name} {} to {run}", value(payload)),
        CommandKind::CommandCancelled(number) => format!("cancel {number}"),
        CommandKind::RunCancelled(run) => format!("cancel {run}"),
        CommandKind::PatchMarked { id } => format!("patch {id}"),
        CommandKind::AttributesSet(attributes) => format!("attributes {attributes:?}"),
        CommandKind::Finished(end) => format!("finished {}", outcome(end)),
        CommandKind::ContinuedAsNew { input, carried, .. } => {
            let carried: Vec<String> =
                carried.iter().map(|signal| format!("{} {}", signal.name, value(&signal.payload))).collect();
            format!("continued {} {carried:?}", value(input))
        }
    };
    number + &kind
}
