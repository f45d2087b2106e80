//! A batch as statements: rows of one kind go all at once, a column of them as one array.

use super::text::{self, stored};
use crate::store::batch::{Batch, Changes};
use crate::store::rows::{self, id, signed};
use orlop_durable_core::{ClosedTask, RunRow, RunStatus, TaskChange, TaskRow};
use orlop_model::durable::Entry;
use orlop_model::{TaskId, WorkflowRunId};
use sqlx::PgConnection;

/// Rows of one statement at most.
const ROWS_MAX: usize = 4096;
/// And about so many bytes; an array has a gibibyte at most.
const BYTES_MAX: usize = 32 << 20;

const RUN_NEW: &str = "
    INSERT INTO run (id, workflow, version, key, status, parked, parent, parent_command, root, detached, created, attributes)
    SELECT id, workflow, version, key, 0, 0, parent, parent_command, root, detached, created, attributes::jsonb
    FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::bigint[],
                $9::bigint[], $10::text[])
         AS new (id, workflow, version, key, parent, parent_command, root, detached, created, attributes)";
const RUN_CHANGED: &str = "
    UPDATE run SET
        status = coalesce(new.status, run.status),
        parked = coalesce(new.parked, run.parked),
        closed = coalesce(new.closed, run.closed),
        outcome = coalesce(new.outcome, run.outcome),
        reason = coalesce(new.reason, run.reason),
        attributes = run.attributes || new.attributes::jsonb
    FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[], $6::text[], $7::text[])
         AS new (id, status, parked, closed, outcome, reason, attributes)
    WHERE run.id = new.id";
const ENTRIES: &str =
    "INSERT INTO journal (run, seq, entry) SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[])";
const TIMERS: &str =
    "INSERT INTO timer (at, run, command) SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bigint[])";
const TIMERS_GONE: &str = "
    DELETE FROM timer USING unnest($1::bigint[], $2::bytea[], $3::bigint[]) AS gone (at, run, command)
    WHERE timer.at = gone.at AND timer.run = gone.run AND timer.command = gone.command";
const TASKS: &str = "
    INSERT INTO task (id, queue, name, created, due, failures, losses, body, state)
    SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                         $8::bytea[], $9::bytea[])";
const TASKS_CHANGED: &str = "
    UPDATE task SET due = new.due, failures = new.failures, losses = new.losses, state = new.state
    FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[])
         AS new (id, due, failures, losses, state)
    WHERE task.id = new.id";
const TASKS_GONE: &str = "DELETE FROM task USING unnest($1::bytea[]) AS gone (id) WHERE task.id = gone.id";
const TASKS_CLOSED: &str = "
    INSERT INTO task_done
        (id, queue, name, created, due, failures, losses, body, state, status, closed, attempt, outcome)
    SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                         $8::bytea[], $9::bytea[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bytea[])";
const LOGS: &str = "
    INSERT INTO task_log (task, at, level, text)
    SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::text[], $4::text[])";

/// Writes all of it.
pub(super) async fn batch(connection: &mut PgConnection, batch: Batch) -> Result<(), sqlx::Error> {
    new_runs(connection, batch.runs.into_values().collect()).await?;
    entries(connection, batch.entries).await?;
    changed_runs(connection, batch.changes.into_iter().collect()).await?;
    let timers = [(TIMERS, batch.timers.into_iter().collect()), (TIMERS_GONE, batch.timers_gone)];
    for (statement, timers) in timers {
        for rows in parts(timers, |_| 0) {
            sqlx::query(statement)
                .bind(column(&rows, |(at, _, _)| signed(at.0)))
                .bind(column(&rows, |(_, run, _)| id(run.as_u128())))
                .bind(column(&rows, |(_, _, command)| i64::from(command.0)))
                .execute(&mut *connection)
                .await?;
        }
    }
    new_tasks(connection, batch.tasks.into_values().collect()).await?;
    changed_tasks(connection, batch.task_changes.into_iter().collect()).await?;
    for rows in parts(batch.tasks_gone, |_| 0) {
        let ids = column(&rows, |task| id(task.as_u128()));
        sqlx::query(TASKS_GONE).bind(ids).execute(&mut *connection).await?;
    }
    closed_tasks(connection, batch.tasks_closed).await?;
    let logs = batch.task_logs.into_iter().flat_map(|(task, lines)| lines.into_iter().map(move |line| (task, line)));
    for rows in parts(logs.collect(), |(_, line)| line.text.len()) {
        sqlx::query(LOGS)
            .bind(column(&rows, |(task, _)| id(task.as_u128())))
            .bind(column(&rows, |(_, line)| signed(line.at.0)))
            .bind(column(&rows, |(_, line)| stored(&line.level)))
            .bind(column(&rows, |(_, line)| stored(&line.text)))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

fn column<T, C>(rows: &[T], of: impl Fn(&T) -> C) -> Vec<C> {
    rows.iter().map(of).collect()
}

/// Rows in as many parts as there are to be statements.
fn parts<T>(rows: Vec<T>, bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut room = 0_usize;
    for row in rows {
        let size = bytes(&row);
        match parts.last_mut() {
            Some(part) if part.len() < ROWS_MAX && size <= room => part.push(row),
            _ => {
                room = BYTES_MAX.max(size);
                parts.push(vec![row]);
            }
        }
        room -= size;
    }
    parts
}

async fn new_runs(connection: &mut PgConnection, runs: Vec<RunRow>) -> Result<(), sqlx::Error> {
    for rows in parts(runs, |_| 0) {
        sqlx::query(RUN_NEW)
            .bind(column(&rows, |row| id(row.run.as_u128())))
            .bind(column(&rows, |row| stored(&row.workflow)))
            .bind(column(&rows, |row| stored(&row.version)))
            .bind(column(&rows, |row| stored(&row.key)))
            .bind(column(&rows, |row| row.owner.map(|owner| owner.call().to_string())))
            .bind(column(&rows, |row| rows::owner_command(row.owner)))
            .bind(column(&rows, |row| row.root.map(|root| root.to_string())))
            .bind(column(&rows, |row| i64::from(row.detached)))
            .bind(column(&rows, |row| signed(row.created.0)))
            .bind(column(&rows, |row| text::json(&row.attributes)))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn entries(connection: &mut PgConnection, entries: Vec<(WorkflowRunId, Entry)>) -> Result<(), sqlx::Error> {
    let stored = |(run, entry): (WorkflowRunId, Entry)| {
        let seq = signed(entry.seq.0);
        (id(run.as_u128()), seq, rows::entry_bytes(entry))
    };
    for rows in parts(entries.into_iter().map(stored).collect(), |(_, _, bytes)| bytes.len()) {
        let (mut runs, mut seqs, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        for (run, seq, entry) in rows {
            runs.push(run);
            seqs.push(seq);
            bytes.push(entry);
        }
        sqlx::query(ENTRIES).bind(runs).bind(seqs).bind(bytes).execute(&mut *connection).await?;
    }
    Ok(())
}

/// What becomes of a run's columns; none is as before.
#[derive(Default)]
struct Changed {
    run: Vec<u8>,
    status: Option<i64>,
    parked: Option<i64>,
    closed: Option<i64>,
    outcome: Option<Vec<u8>>,
    reason: Option<String>,
    attributes: String,
}

impl Changed {
    fn of((run, changes): (WorkflowRunId, Changes)) -> Self {
        let changed = Self { run: id(run.as_u128()), attributes: text::json(&changes.attributes), ..Self::default() };
        if let Some((status, outcome, at)) = changes.closed {
            return Self {
                status: Some(rows::run_status(status)),
                parked: Some(0),
                closed: Some(signed(at.0)),
                outcome: outcome.map(rows::outcome_bytes),
                ..changed
            };
        }
        let parked = changes.parked.map(i64::from);
        match changes.blocked {
            Some(Some((cause, message))) => Self {
                status: Some(rows::run_status(RunStatus::Blocked)),
                reason: Some(stored(&rows::block_reason(cause, &message))),
                parked,
                ..changed
            },
            Some(None) => {
                Self { status: Some(rows::run_status(RunStatus::Open)), reason: Some(String::new()), parked, ..changed }
            }
            None => Self { parked, ..changed },
        }
    }
}

async fn changed_runs(
    connection: &mut PgConnection,
    changes: Vec<(WorkflowRunId, Changes)>,
) -> Result<(), sqlx::Error> {
    let changes = changes.into_iter().map(Changed::of).collect();
    for rows in parts(changes, |change: &Changed| change.outcome.as_ref().map_or(0, Vec::len)) {
        sqlx::query(RUN_CHANGED)
            .bind(column(&rows, |row| row.run.clone()))
            .bind(column(&rows, |row| row.status))
            .bind(column(&rows, |row| row.parked))
            .bind(column(&rows, |row| row.closed))
            .bind(column(&rows, |row| row.outcome.clone()))
            .bind(column(&rows, |row| row.reason.clone()))
            .bind(column(&rows, |row| row.attributes.clone()))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn new_tasks(connection: &mut PgConnection, tasks: Vec<TaskRow>) -> Result<(), sqlx::Error> {
    for rows in parts(tasks, |row| row.input.data.len()) {
        sqlx::query(TASKS)
            .bind(column(&rows, |row| id(row.task.as_u128())))
            .bind(column(&rows, |row| row.options.queue.to_string()))
            .bind(column(&rows, |row| stored(&row.name)))
            .bind(column(&rows, |row| signed(row.created.0)))
            .bind(column(&rows, |row| signed(row.change.due.0)))
            .bind(column(&rows, |row| i64::from(row.change.failures)))
            .bind(column(&rows, |row| i64::from(row.change.losses)))
            .bind(column(&rows, rows::task_bytes))
            .bind(column(&rows, |row| rows::state_bytes(&row.change)))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn changed_tasks(connection: &mut PgConnection, changes: Vec<(TaskId, TaskChange)>) -> Result<(), sqlx::Error> {
    let bytes = |(_, change): &(TaskId, TaskChange)| change.checkpoint.as_ref().map_or(0, |value| value.data.len());
    for rows in parts(changes, bytes) {
        sqlx::query(TASKS_CHANGED)
            .bind(column(&rows, |(task, _)| id(task.as_u128())))
            .bind(column(&rows, |(_, change)| signed(change.due.0)))
            .bind(column(&rows, |(_, change)| i64::from(change.failures)))
            .bind(column(&rows, |(_, change)| i64::from(change.losses)))
            .bind(column(&rows, |(_, change)| rows::state_bytes(change)))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn closed_tasks(connection: &mut PgConnection, tasks: Vec<ClosedTask>) -> Result<(), sqlx::Error> {
    for rows in parts(tasks, |closed| closed.row.input.data.len()) {
        sqlx::query(TASKS_CLOSED)
            .bind(column(&rows, |closed| id(closed.row.task.as_u128())))
            .bind(column(&rows, |closed| closed.row.options.queue.to_string()))
            .bind(column(&rows, |closed| stored(&closed.row.name)))
            .bind(column(&rows, |closed| signed(closed.row.created.0)))
            .bind(column(&rows, |closed| signed(closed.row.change.due.0)))
            .bind(column(&rows, |closed| i64::from(closed.row.change.failures)))
            .bind(column(&rows, |closed| i64::from(closed.row.change.losses)))
            .bind(column(&rows, |closed| rows::task_bytes(&closed.row)))
            .bind(column(&rows, |closed| rows::state_bytes(&closed.row.change)))
            .bind(column(&rows, |closed| rows::task_status(closed.status)))
            .bind(column(&rows, |closed| signed(closed.at.0)))
            .bind(column(&rows, |closed| i64::from(closed.attempt)))
            .bind(column(&rows, |closed| rows::outcome_bytes(closed.outcome.clone())))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
