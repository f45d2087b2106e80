//! What is in the tables, read back.

use super::failed;
use super::write::{id, json, signed};
use crate::store::rows::{self, TaskColumns, unreadable};
use crate::store::{RunFilter, RunSummary, StoreError, TaskEnd, TaskFilter, TaskSummary};
use orlop_durable_core::{Recovered, RunRow, StoredRun};
use orlop_model::durable::{CallId, CommandNumber, Entry, Outcome, Owner};
use orlop_model::{TaskId, Timestamp, WorkflowRunId};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection, SqlitePool};
use std::collections::BTreeMap;

const READING: &str = "be read";
const RUN: &str = "id, workflow, version, key, status, parked, parent, parent_command, root, detached, created, closed, \
                   reason, outcome, attributes";
const TASK: &str = "id, created, due, failures, losses, body, state";

fn column<'r, T>(row: &'r SqliteRow, name: &str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(name).map_err(failed(READING))
}

fn bits(row: &SqliteRow, name: &str) -> Result<u128, StoreError> {
    let bytes: Vec<u8> = column(row, name)?;
    let bytes = bytes.try_into().map_err(|_| unreadable("an id", "not 16 bytes"))?;
    Ok(u128::from_be_bytes(bytes))
}

fn number<T: TryFrom<i64>>(row: &SqliteRow, name: &str) -> Result<T, StoreError> {
    let number: i64 = column(row, name)?;
    T::try_from(number).map_err(|_| unreadable(name, number))
}

fn time(row: &SqliteRow, name: &str) -> Result<Timestamp, StoreError> {
    number(row, name).map(Timestamp)
}

fn call(row: &SqliteRow, name: &str) -> Result<Option<CallId>, StoreError> {
    let text: Option<String> = column(row, name)?;
    text.map(|text| text.parse().map_err(|error| unreadable(name, error))).transpose()
}

fn attributes(row: &SqliteRow) -> Result<BTreeMap<String, String>, StoreError> {
    let text: String = column(row, "attributes")?;
    serde_json::from_str(&text).map_err(|error| unreadable("attributes", error))
}

pub(super) async fn recovered(connection: &mut SqliteConnection) -> Result<Recovered, StoreError> {
    let mut recovered = Recovered::default();
    let failed = failed(READING);
    let query = sqlx::query("SELECT id FROM run WHERE status <= 1 AND parked = 0");
    for row in query.fetch_all(&mut *connection).await.map_err(&failed)? {
        recovered.runs.push(WorkflowRunId::from_u128(bits(&row, "id")?));
    }
    let query = sqlx::query("SELECT workflow, key, id FROM run WHERE key <> '' AND status <= 1");
    for row in query.fetch_all(&mut *connection).await.map_err(&failed)? {
        let run = WorkflowRunId::from_u128(bits(&row, "id")?);
        recovered.run_keys.push((column(&row, "workflow")?, column(&row, "key")?, run));
    }
    let query = sqlx::query(AssertSqlSafe(format!("SELECT {TASK} FROM task")));
    for row in query.fetch_all(&mut *connection).await.map_err(&failed)? {
        recovered.tasks.push(rows::read_task(&task_columns(&row)?)?);
    }
    let query = sqlx::query("SELECT at, run, command FROM timer");
    for row in query.fetch_all(&mut *connection).await.map_err(&failed)? {
        let run = WorkflowRunId::from_u128(bits(&row, "run")?);
        recovered.timers.push((time(&row, "at")?, run, CommandNumber(number(&row, "command")?)));
    }
    Ok(recovered)
}

fn task_columns(row: &SqliteRow) -> Result<TaskColumns, StoreError> {
    Ok(TaskColumns {
        task: TaskId::from_u128(bits(row, "id")?),
        created: time(row, "created")?,
        due: time(row, "due")?,
        failures: number(row, "failures")?,
        losses: number(row, "losses")?,
        body: column(row, "body")?,
        state: column(row, "state")?,
    })
}

async fn run_row(readers: &SqlitePool, run: WorkflowRunId) -> Result<Option<SqliteRow>, StoreError> {
    let query = sqlx::query(AssertSqlSafe(format!("SELECT {RUN} FROM run WHERE id = ?"))).bind(id(run.as_u128()));
    query.fetch_optional(readers).await.map_err(failed(READING))
}

pub(super) async fn run(readers: &SqlitePool, run: WorkflowRunId) -> Result<Option<StoredRun>, StoreError> {
    let Some(row) = run_row(readers, run).await? else { return Ok(None) };
    let entries = entries(readers, run, 0, u32::MAX).await?;
    let command: Option<i64> = column(&row, "parent_command")?;
    let owner = match (call(&row, "parent")?, command) {
        (Some(CallId::Run(parent)), Some(command)) => {
            let command = u32::try_from(command).map_err(|_| unreadable("a command's number", command))?;
            Some(Owner::Run(parent, CommandNumber(command)))
        }
        (Some(CallId::Task(task)), _) => Some(Owner::Task(task)),
        _ => None,
    };
    let detached: i64 = column(&row, "detached")?;
    let parked: i64 = column(&row, "parked")?;
    let outcome: Option<Vec<u8>> = column(&row, "outcome")?;
    Ok(Some(StoredRun {
        row: RunRow {
            run,
            workflow: column(&row, "workflow")?,
            version: column(&row, "version")?,
            key: column(&row, "key")?,
            owner,
            root: call(&row, "root")?,
            detached: detached != 0,
            created: time(&row, "created")?,
            attributes: attributes(&row)?,
        },
        status: rows::read_run_status(column(&row, "status")?)?,
        parked: parked != 0,
        entries,
        outcome: outcome.map(|bytes| rows::read_outcome(&bytes)).transpose()?,
    }))
}

pub(super) async fn entries(
    readers: &SqlitePool,
    run: WorkflowRunId,
    from: u64,
    limit: u32,
) -> Result<Vec<Entry>, StoreError> {
    let query = sqlx::query("SELECT entry FROM journal WHERE run = ? AND seq >= ? ORDER BY seq LIMIT ?")
        .bind(id(run.as_u128()))
        .bind(signed(from))
        .bind(i64::from(limit));
    let found = query.fetch_all(readers).await.map_err(failed(READING))?;
    found.iter().map(|row| rows::read_entry(&column::<Vec<u8>>(row, "entry")?)).collect()
}

pub(super) async fn describe_run(readers: &SqlitePool, run: WorkflowRunId) -> Result<Option<RunSummary>, StoreError> {
    match run_row(readers, run).await? {
        Some(row) => summary(readers, &row).await.map(Some),
        None => Ok(None),
    }
}

async fn summary(readers: &SqlitePool, row: &SqliteRow) -> Result<RunSummary, StoreError> {
    let run = WorkflowRunId::from_u128(bits(row, "id")?);
    let last = sqlx::query("SELECT max(seq) AS last FROM journal WHERE run = ?").bind(id(run.as_u128()));
    let last = last.fetch_one(readers).await.map_err(failed(READING))?;
    let last: Option<i64> = column(&last, "last")?;
    let closed: Option<i64> = column(row, "closed")?;
    let parked: i64 = column(row, "parked")?;
    Ok(RunSummary {
        run,
        workflow: column(row, "workflow")?,
        version: column(row, "version")?,
        key: column(row, "key")?,
        status: rows::read_run_status(column(row, "status")?)?,
        parked: parked != 0,
        created: time(row, "created")?,
        closed: closed.map(|at| Timestamp(u64::try_from(at).unwrap_or(0))),
        parent: call(row, "parent")?,
        root: call(row, "root")?,
        reason: column(row, "reason")?,
        entries: last.map_or(0, |last| u64::try_from(last).unwrap_or(0) + 1),
        attributes: attributes(row)?,
    })
}

pub(super) async fn list_runs(readers: &SqlitePool, wanted: RunFilter) -> Result<Vec<RunSummary>, StoreError> {
    // Ids grow with time (version 7), but for children, which follow their parents.
    let mut text = format!("SELECT {RUN} FROM run WHERE id < ?");
    if !wanted.workflow.is_empty() {
        text.push_str(" AND workflow = ?");
    }
    if !wanted.statuses.is_empty() {
        let numbers: Vec<String> = wanted.statuses.iter().map(|s| rows::run_status(*s).to_string()).collect();
        text.push_str(&format!(" AND status IN ({})", numbers.join(", ")));
    }
    if !wanted.attributes.is_empty() {
        // A patch with what is wanted changes nothing of those that have it.
        text.push_str(" AND json_patch(attributes, ?) = json(attributes)");
    }
    text.push_str(" ORDER BY id DESC LIMIT ?");
    let before = wanted.before.map_or_else(|| vec![0xff; 17], |run| id(run.as_u128()));
    let mut query = sqlx::query(AssertSqlSafe(text)).bind(before);
    if !wanted.workflow.is_empty() {
        query = query.bind(wanted.workflow);
    }
    if !wanted.attributes.is_empty() {
        query = query.bind(json(&wanted.attributes));
    }
    let found = query.bind(i64::from(wanted.limit)).fetch_all(readers).await.map_err(failed(READING))?;
    let mut runs = Vec::new();
    for row in &found {
        runs.push(summary(readers, row).await?);
    }
    Ok(runs)
}

pub(super) async fn task_outcome(readers: &SqlitePool, task: TaskId) -> Result<Option<Outcome>, StoreError> {
    let query = sqlx::query("SELECT outcome FROM task_done WHERE id = ?").bind(id(task.as_u128()));
    let row = query.fetch_optional(readers).await.map_err(failed(READING))?;
    row.map(|row| rows::read_outcome(&column::<Vec<u8>>(&row, "outcome")?)).transpose()
}

fn ended(row: &SqliteRow) -> Result<TaskSummary, StoreError> {
    let ended = TaskEnd {
        status: rows::read_task_status(column(row, "status")?)?,
        outcome: rows::read_outcome(&column::<Vec<u8>>(row, "outcome")?)?,
        at: time(row, "closed")?,
        attempt: number(row, "attempt")?,
    };
    Ok(TaskSummary { row: rows::read_task(&task_columns(row)?)?, ended: Some(ended) })
}

fn open(row: &SqliteRow) -> Result<TaskSummary, StoreError> {
    Ok(TaskSummary { row: rows::read_task(&task_columns(row)?)?, ended: None })
}

pub(super) async fn describe_task(readers: &SqlitePool, task: TaskId) -> Result<Option<TaskSummary>, StoreError> {
    let query = sqlx::query(AssertSqlSafe(format!("SELECT {TASK} FROM task WHERE id = ?"))).bind(id(task.as_u128()));
    if let Some(row) = query.fetch_optional(readers).await.map_err(failed(READING))? {
        return open(&row).map(Some);
    }
    let text = format!("SELECT {TASK}, status, closed, attempt, outcome FROM task_done WHERE id = ?");
    let query = sqlx::query(AssertSqlSafe(text)).bind(id(task.as_u128()));
    let row = query.fetch_optional(readers).await.map_err(failed(READING))?;
    row.map(|row| ended(&row)).transpose()
}

pub(super) async fn list_tasks(readers: &SqlitePool, wanted: TaskFilter) -> Result<Vec<TaskSummary>, StoreError> {
    let (table, more) = if wanted.open { ("task", "") } else { ("task_done", ", status, closed, attempt, outcome") };
    let mut text = format!("SELECT {TASK}{more} FROM {table} WHERE id < ?");
    for (column, value) in [("queue", &wanted.queue), ("name", &wanted.name)] {
        if !value.is_empty() {
            text.push_str(&format!(" AND {column} = ?"));
        }
    }
    if !wanted.open && !wanted.statuses.is_empty() {
        let numbers: Vec<String> = wanted.statuses.iter().map(|s| rows::task_status(*s).to_string()).collect();
        text.push_str(&format!(" AND status IN ({})", numbers.join(", ")));
    }
    text.push_str(" ORDER BY id DESC LIMIT ?");
    let before = wanted.before.map_or_else(|| vec![0xff; 17], |task| id(task.as_u128()));
    let mut query = sqlx::query(AssertSqlSafe(text)).bind(before);
    for value in [wanted.queue, wanted.name] {
        if !value.is_empty() {
            query = query.bind(value);
        }
    }
    let found = query.bind(i64::from(wanted.limit)).fetch_all(readers).await.map_err(failed(READING))?;
    found.iter().map(if wanted.open { open } else { ended }).collect()
}
