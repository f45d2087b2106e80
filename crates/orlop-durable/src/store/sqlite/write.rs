//! A batch as statements: rows of one kind go many at a time.

use crate::store::batch::{Batch, Changes};
use crate::store::rows;
use orlop_durable_core::{ClosedTask, RunRow, TaskRow};
use orlop_model::durable::{CommandNumber, Entry, Owner};
use orlop_model::{TaskId, Timestamp, WorkflowRunId};
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection};
use std::collections::BTreeMap;

/// Rows of one statement at most; fewer go in powers of two, so that there are few statements to prepare.
const ROWS_MAX: usize = 128;

type Bound<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Writes all of it; about how many bytes that were.
pub(super) async fn batch(connection: &mut SqliteConnection, batch: Batch) -> Result<u64, sqlx::Error> {
    let mut bytes = 4096;
    insert(connection, "INSERT INTO run (id, workflow, version, key, status, parked, parent, parent_command, root, detached, created, attributes) VALUES", 12, batch.runs.into_values().collect(), |query, row: RunRow| run_row(query, row)).await?;
    for (_, entry) in &batch.entries {
        bytes += 256 + payload_bytes(entry);
    }
    insert(connection, "INSERT INTO journal (run, seq, entry) VALUES", 3, batch.entries, |query, (run, entry)| {
        let seq = signed(entry.seq.0);
        query.bind(id(run.as_u128())).bind(seq).bind(rows::entry_bytes(entry))
    })
    .await?;
    for (run, changes) in batch.changes {
        change_run(connection, run, changes).await?;
    }
    insert(connection, "INSERT INTO timer (at, run, command) VALUES", 3, batch.timers.into_iter().collect(), timer)
        .await?;
    remove(connection, "DELETE FROM timer WHERE (at, run, command) IN (VALUES", "(?, ?, ?)", batch.timers_gone, timer)
        .await?;
    let gone = batch.tasks_gone;
    bytes += 512 * (batch.tasks.len() + batch.tasks_closed.len() + gone.len()) as u64;
    insert(
        connection,
        "INSERT INTO task (id, queue, name, created, due, failures, losses, body, state) VALUES",
        9,
        batch.tasks.into_values().collect(),
        |query, row: TaskRow| {
            let query = query.bind(id(row.task.as_u128())).bind(row.options.queue.to_string()).bind(row.name.clone());
            task_columns(query, &row)
        },
    )
    .await?;
    for (task, change) in batch.task_changes {
        sqlx::query("UPDATE task SET due = ?, failures = ?, losses = ?, state = ? WHERE id = ?")
            .bind(signed(change.due.0))
            .bind(i64::from(change.failures))
            .bind(i64::from(change.losses))
            .bind(rows::state_bytes(&change))
            .bind(id(task.as_u128()))
            .execute(&mut *connection)
            .await?;
    }
    remove(connection, "DELETE FROM task WHERE id IN (VALUES", "(?)", gone, |query, task: TaskId| {
        query.bind(id(task.as_u128()))
    })
    .await?;
    insert(connection, "INSERT INTO task_done (id, queue, name, created, due, failures, losses, body, state, status, closed, attempt, outcome) VALUES", 13, batch.tasks_closed, closed_task).await?;
    for (task, lines) in batch.task_logs {
        insert(connection, "INSERT INTO task_log (task, at, level, text) VALUES", 4, lines, |query, line| {
            query.bind(id(task.as_u128())).bind(signed(line.at.0)).bind(line.level).bind(line.text)
        })
        .await?;
    }
    Ok(bytes)
}

pub(super) fn id(bits: u128) -> Vec<u8> {
    bits.to_be_bytes().to_vec()
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn payload_bytes(entry: &Entry) -> u64 {
    use orlop_model::durable::{CommandKind, Outcome, Record};
    let of = |outcome: &Outcome| match outcome {
        Outcome::Ok(payload) => payload.data.len(),
        Outcome::Failed(failure) => failure.message.len(),
    };
    let bytes = match &entry.record {
        Record::Started(started) => started.input.data.len(),
        Record::Answered { outcome, .. } => of(outcome),
        Record::SignalReceived(signal) => signal.payload.data.len(),
        Record::Command(command) => match &command.kind {
            CommandKind::StepDone { outcome, .. } | CommandKind::Finished(outcome) => of(outcome),
            CommandKind::TaskScheduled { input, .. } | CommandKind::ChildStarted { input, .. } => input.data.len(),
            _ => 0,
        },
        Record::CancelRequested { .. } => 0,
    };
    bytes as u64
}

/// Inserts rows, many with each statement. `columns` is how many values a row has.
async fn insert<T>(
    connection: &mut SqliteConnection,
    head: &'static str,
    columns: usize,
    rows: Vec<T>,
    bind: impl for<'q> Fn(Bound<'q>, T) -> Bound<'q>,
) -> Result<(), sqlx::Error> {
    let row = format!("({})", vec!["?"; columns].join(", "));
    each_chunk(connection, head, &row, "", rows, bind).await
}

/// Removes rows by their keys, many with each statement.
async fn remove<T>(
    connection: &mut SqliteConnection,
    head: &'static str,
    key: &str,
    keys: Vec<T>,
    bind: impl for<'q> Fn(Bound<'q>, T) -> Bound<'q>,
) -> Result<(), sqlx::Error> {
    each_chunk(connection, head, key, ")", keys, bind).await
}

async fn each_chunk<T>(
    connection: &mut SqliteConnection,
    head: &str,
    row: &str,
    tail: &str,
    rows: Vec<T>,
    bind: impl for<'q> Fn(Bound<'q>, T) -> Bound<'q>,
) -> Result<(), sqlx::Error> {
    let mut left = rows.len();
    let mut rows = rows.into_iter();
    while left > 0 {
        let size = if left >= ROWS_MAX { ROWS_MAX } else { 1 << left.ilog2() };
        left -= size;
        let text = format!("{head} {}{tail}", vec![row; size].join(", "));
        // The text is made of constants alone.
        let mut query = sqlx::query(AssertSqlSafe(text));
        for row in rows.by_ref().take(size) {
            query = bind(query, row);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

fn run_row(query: Bound<'_>, row: RunRow) -> Bound<'_> {
    let command = match row.owner {
        Some(Owner::Run(_, command)) => Some(i64::from(command.0)),
        _ => None,
    };
    query
        .bind(id(row.run.as_u128()))
        .bind(row.workflow)
        .bind(row.version)
        .bind(row.key)
        .bind(rows::run_status(orlop_durable_core::RunStatus::Open))
        .bind(0_i64)
        .bind(row.owner.map(|owner| owner.call().to_string()))
        .bind(command)
        .bind(row.root.map(|root| root.to_string()))
        .bind(i64::from(row.detached))
        .bind(signed(row.created.0))
        .bind(json(&row.attributes))
}

pub(super) fn json(attributes: &BTreeMap<String, String>) -> String {
    if attributes.is_empty() {
        return "{}".into();
    }
    let map = attributes.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    serde_json::Value::Object(map).to_string()
}

async fn change_run(
    connection: &mut SqliteConnection,
    run: WorkflowRunId,
    changes: Changes,
) -> Result<(), sqlx::Error> {
    if !changes.attributes.is_empty() {
        sqlx::query("UPDATE run SET attributes = json_patch(attributes, ?) WHERE id = ?")
            .bind(json(&changes.attributes))
            .bind(id(run.as_u128()))
            .execute(&mut *connection)
            .await?;
    }
    if let Some((status, outcome, at)) = changes.closed {
        sqlx::query("UPDATE run SET status = ?, closed = ?, outcome = ?, parked = 0 WHERE id = ?")
            .bind(rows::run_status(status))
            .bind(signed(at.0))
            .bind(outcome.map(rows::outcome_bytes))
            .bind(id(run.as_u128()))
            .execute(&mut *connection)
            .await?;
        return Ok(());
    }
    if let Some(blocked) = changes.blocked {
        let status = match blocked {
            Some(_) => orlop_durable_core::RunStatus::Blocked,
            None => orlop_durable_core::RunStatus::Open,
        };
        sqlx::query("UPDATE run SET status = ?, reason = ? WHERE id = ?")
            .bind(rows::run_status(status))
            .bind(blocked.map(|(cause, message)| rows::block_reason(cause, &message)).unwrap_or_default())
            .bind(id(run.as_u128()))
            .execute(&mut *connection)
            .await?;
    }
    if let Some(parked) = changes.parked {
        sqlx::query("UPDATE run SET parked = ? WHERE id = ?")
            .bind(i64::from(parked))
            .bind(id(run.as_u128()))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

fn timer(query: Bound<'_>, (at, run, command): (Timestamp, WorkflowRunId, CommandNumber)) -> Bound<'_> {
    query.bind(signed(at.0)).bind(id(run.as_u128())).bind(i64::from(command.0))
}

fn task_columns<'q>(query: Bound<'q>, row: &TaskRow) -> Bound<'q> {
    query
        .bind(signed(row.created.0))
        .bind(signed(row.change.due.0))
        .bind(i64::from(row.change.failures))
        .bind(i64::from(row.change.losses))
        .bind(rows::task_bytes(row))
        .bind(rows::state_bytes(&row.change))
}

fn closed_task(query: Bound<'_>, closed: ClosedTask) -> Bound<'_> {
    let row = &closed.row;
    let query = query.bind(id(row.task.as_u128())).bind(row.options.queue.to_string()).bind(row.name.clone());
    task_columns(query, row)
        .bind(rows::task_status(closed.status))
        .bind(signed(closed.at.0))
        .bind(i64::from(closed.attempt))
        .bind(rows::outcome_bytes(closed.outcome))
}
