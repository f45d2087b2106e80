//! Runs, entries and tasks to write.

use orlop_arbitrary::durable as any;
use orlop_durable_core::{ClosedTask, RunChange, RunRow, RunStatus, TaskChange, TaskRow, TaskStatus, Write};
use orlop_model::durable::{CommandNumber, Entry, Outcome, Payload, Record, Seq, Signal, TaskOptions};
use orlop_model::{TaskId, Timestamp, WorkflowRunId};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

/// Any value of a kind, the same each time.
pub(crate) struct Any(TestRunner);

impl Any {
    pub(crate) fn new() -> Self {
        Self(TestRunner::deterministic())
    }

    pub(crate) fn of<S: Strategy>(&mut self, strategy: S) -> S::Value {
        strategy.new_tree(&mut self.0).expect("a value").current()
    }

    /// An entry that says anything.
    pub(crate) fn entry(&mut self, seq: u64) -> Entry {
        Entry { seq: Seq(seq), ..self.of(any::entry()) }
    }

    /// A task with everything that it may have.
    pub(crate) fn task(&mut self, number: u128) -> TaskRow {
        TaskRow {
            input: self.of(any::payload()),
            options: self.of(any::task_options()),
            key: "a key".into(),
            owner: Some(orlop_model::durable::Owner::Run(run_id(7), CommandNumber(3))),
            root: Some(orlop_model::durable::CallId::Run(run_id(6))),
            traceparent: "00-1-2-03".into(),
            change: self.change(),
            ..task(number, "work")
        }
    }

    /// What may change of a task.
    pub(crate) fn change(&mut self) -> TaskChange {
        TaskChange {
            due: self.of(any::timestamp()),
            failures: self.of(0..=u32::MAX),
            losses: self.of(0..=u32::MAX),
            last_failure: Some(self.of(any::failure())),
            checkpoint: Some(self.of(any::payload())),
            progress_permille: Some(500),
            metadata: [("on".to_owned(), "page 3".to_owned())].into(),
            cancelled: Some("enough".into()),
        }
    }
}

pub(crate) fn run_id(number: u128) -> WorkflowRunId {
    WorkflowRunId::from_u128(number)
}

pub(crate) fn task_id(number: u128) -> TaskId {
    TaskId::from_u128(number)
}

/// A run with nothing that need not be.
pub(crate) fn run(number: u128, workflow: &str) -> RunRow {
    RunRow {
        run: run_id(number),
        workflow: workflow.into(),
        version: String::new(),
        key: String::new(),
        owner: None,
        root: None,
        detached: false,
        created: Timestamp(1000),
        attributes: [].into(),
    }
}

pub(crate) fn run_new(row: &RunRow) -> Write {
    Write::RunNew(Box::new(row.clone()))
}

pub(crate) fn closed(number: u128, status: RunStatus) -> Write {
    let outcome = Some(Outcome::Ok(payload(b"1")));
    Write::RunChanged(run_id(number), RunChange::Closed { workflow: "w".into(), status, outcome, at: Timestamp(2000) })
}

/// A task with nothing that need not be.
pub(crate) fn task(number: u128, name: &str) -> TaskRow {
    TaskRow {
        task: task_id(number),
        name: name.into(),
        input: payload(b"null"),
        options: TaskOptions::default(),
        key: String::new(),
        owner: None,
        root: None,
        traceparent: String::new(),
        created: Timestamp(1000),
        change: TaskChange::default(),
    }
}

pub(crate) fn task_new(row: &TaskRow) -> Write {
    Write::TaskNew(Box::new(row.clone()))
}

pub(crate) fn task_closed(row: &TaskRow, status: TaskStatus, outcome: Outcome) -> Write {
    Write::TaskClosed(Box::new(ClosedTask { row: row.clone(), status, outcome, at: Timestamp(3000), attempt: 4 }))
}

pub(crate) fn payload(data: &[u8]) -> Payload {
    Payload { data: data.to_vec().into(), encoding: String::new() }
}

/// An entry with a payload.
pub(crate) fn entry(seq: u64, data: &[u8]) -> Entry {
    let signal = Signal { name: "word".into(), payload: payload(data), id: String::new() };
    Entry { seq: Seq(seq), at: Timestamp(1000 + seq), record: Record::SignalReceived(signal) }
}
