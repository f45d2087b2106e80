//! The stored form of what is no column: journals' entries, outcomes, tasks.

use super::StoreError;
use orlop_durable_core::{RunStatus, TaskChange, TaskRow, TaskStatus};
use orlop_model::durable::{BlockCause, CallId, CommandNumber, Entry, Failure, Outcome, Owner, Payload, TaskOptions};
use orlop_model::{TaskId, Timestamp};
use orlop_proto::engine::v1 as pb;
use orlop_proto::store::v1 as stored;
use prost::Message;
use std::collections::BTreeMap;
use std::fmt::Display;

pub(super) fn unreadable(what: &str, why: impl Display) -> StoreError {
    StoreError::Unreadable { found: format!("{what}: {why}") }
}

/// An id as it is stored, in the order of its number.
pub(super) fn id(bits: u128) -> Vec<u8> {
    bits.to_be_bytes().to_vec()
}

/// A number as databases have it.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Attributes as JSON.
pub(super) fn json(attributes: &BTreeMap<String, String>) -> String {
    if attributes.is_empty() {
        return "{}".into();
    }
    let map = attributes.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    serde_json::Value::Object(map).to_string()
}

/// The command by which a run's owner knows it.
pub(super) fn owner_command(owner: Option<Owner>) -> Option<i64> {
    match owner {
        Some(Owner::Run(_, command)) => Some(i64::from(command.0)),
        _ => None,
    }
}

pub(super) fn entry_bytes(entry: Entry) -> Vec<u8> {
    pb::Entry::from(entry).encode_to_vec()
}

pub(super) fn read_entry(bytes: &[u8]) -> Result<Entry, StoreError> {
    let wire = pb::Entry::decode(bytes).map_err(|error| unreadable("an entry", error))?;
    Entry::try_from(wire).map_err(|error| unreadable("an entry", error))
}

pub(super) fn outcome_bytes(outcome: Outcome) -> Vec<u8> {
    pb::Outcome::from(outcome).encode_to_vec()
}

pub(super) fn read_outcome(bytes: &[u8]) -> Result<Outcome, StoreError> {
    let wire = pb::Outcome::decode(bytes).map_err(|error| unreadable("an outcome", error))?;
    Outcome::try_from(wire).map_err(|error| unreadable("an outcome", error))
}

/// What never changes of a task.
pub(super) fn task_bytes(row: &TaskRow) -> Vec<u8> {
    let owner = row.owner.map(|owner| stored::EngineOwner {
        call: owner.call().to_string(),
        command: match owner {
            Owner::Run(_, command) => command.0,
            Owner::Task(_) => 0,
        },
    });
    let task = pb::NewTask {
        name: row.name.clone(),
        input: Some(row.input.clone().into()),
        options: Some(row.options.clone().into()),
        key: row.key.clone(),
        traceparent: row.traceparent.clone(),
        // The owner says it.
        parent: String::new(),
    };
    let root = row.root.map(|root| root.to_string()).unwrap_or_default();
    stored::EngineTask { task: Some(task), owner, root }.encode_to_vec()
}

/// What changes of a task and is no column.
pub(super) fn state_bytes(change: &TaskChange) -> Vec<u8> {
    let state = stored::EngineTaskState {
        last_failure: change.last_failure.clone().map(Into::into),
        checkpoint: change.checkpoint.clone().map(Into::into),
        progress_permille: change.progress_permille,
        metadata: change.metadata.clone(),
        cancelled: change.cancelled.clone(),
    };
    state.encode_to_vec()
}

/// The columns of a task.
pub(super) struct TaskColumns {
    pub(super) task: TaskId,
    pub(super) created: Timestamp,
    pub(super) due: Timestamp,
    pub(super) failures: u32,
    pub(super) losses: u32,
    pub(super) body: Vec<u8>,
    pub(super) state: Vec<u8>,
}

pub(super) fn read_task(columns: &TaskColumns) -> Result<TaskRow, StoreError> {
    let wrong = |error: &dyn Display| unreadable(&columns.task.to_string(), error);
    let body = stored::EngineTask::decode(columns.body.as_slice()).map_err(|error| wrong(&error))?;
    let state = stored::EngineTaskState::decode(columns.state.as_slice()).map_err(|error| wrong(&error))?;
    let task = body.task.unwrap_or_default();
    let optional = |payload: Option<pb::Payload>| payload.map(Payload::try_from).transpose();
    let owner = body.owner.map(|owner| match owner.call.parse() {
        Ok(CallId::Run(run)) => Ok(Owner::Run(run, CommandNumber(owner.command))),
        Ok(CallId::Task(task)) => Ok(Owner::Task(task)),
        Err(error) => Err(wrong(&error)),
    });
    let root = (!body.root.is_empty()).then(|| body.root.parse::<CallId>());
    Ok(TaskRow {
        task: columns.task,
        name: task.name,
        input: optional(task.input).map_err(|error| wrong(&error))?.unwrap_or_default(),
        options: TaskOptions::try_from(task.options.unwrap_or_default()).map_err(|error| wrong(&error))?,
        key: task.key,
        owner: owner.transpose()?,
        root: root.transpose().map_err(|error| wrong(&error))?,
        traceparent: task.traceparent,
        created: columns.created,
        change: TaskChange {
            due: columns.due,
            failures: columns.failures,
            losses: columns.losses,
            last_failure: state.last_failure.map(Failure::try_from).transpose().map_err(|error| wrong(&error))?,
            checkpoint: optional(state.checkpoint).map_err(|error| wrong(&error))?,
            progress_permille: state.progress_permille,
            metadata: state.metadata,
            cancelled: state.cancelled,
        },
    })
}

/// Why a run is blocked, for people.
pub(super) fn block_reason(cause: BlockCause, message: &str) -> String {
    let word = match cause {
        BlockCause::Mismatch => "the code does not match the journal",
        BlockCause::Panicked => "the workflow panicked",
        BlockCause::ForeignWake => "the workflow was woken by something that is not in its journal",
        BlockCause::Stuck => "the workflow did not yield",
        BlockCause::Unreadable => "something could not be read",
    };
    format!("{word}: {message}")
}

/// How a closed set is stored. A number is never used for something else.
pub(super) const fn run_status(status: RunStatus) -> i64 {
    match status {
        RunStatus::Open => 0,
        RunStatus::Blocked => 1,
        RunStatus::Completed => 2,
        RunStatus::Failed => 3,
        RunStatus::Cancelled => 4,
        RunStatus::Continued => 5,
    }
}

pub(super) fn read_run_status(number: i64) -> Result<RunStatus, StoreError> {
    use RunStatus::*;
    let all = [Open, Blocked, Completed, Failed, Cancelled, Continued];
    let found = all.into_iter().find(|status| run_status(*status) == number);
    found.ok_or_else(|| unreadable("a run's status", number))
}

/// How a closed set is stored. A number is never used for something else.
pub(super) const fn task_status(status: TaskStatus) -> i64 {
    match status {
        TaskStatus::Completed => 2,
        TaskStatus::Failed => 3,
        TaskStatus::Cancelled => 4,
    }
}

pub(super) fn read_task_status(number: i64) -> Result<TaskStatus, StoreError> {
    use TaskStatus::*;
    let found = [Completed, Failed, Cancelled].into_iter().find(|status| task_status(*status) == number);
    found.ok_or_else(|| unreadable("a task's status", number))
}
