//! A batch as statements: rows of one kind go many at a time.

use super::script::{Script, Values};
use crate::store::batch::{Batch, Changes};
use crate::store::rows::{self, json};
use orlop_durable_core::{ClosedTask, RunRow, RunStatus, TaskRow};
use orlop_model::durable::{CommandNumber, Entry, TaskLog};
use orlop_model::{TaskId, Timestamp, WorkflowRunId};
use sqlx::SqliteConnection;

/// Writes all of it, in a transaction; about how many bytes that were.
pub(super) async fn batch(connection: &mut SqliteConnection, batch: Batch) -> Result<u64, sqlx::Error> {
    let bytes = bytes_of(&batch);
    let mut script = Script::begin(connection, rows_of(&batch)).await?;
    match fill(&mut script, batch).await {
        Ok(()) => script.commit().await?,
        Err(error) => {
            script.give_up().await;
            return Err(error);
        }
    }
    Ok(bytes)
}

async fn fill(script: &mut Script<'_>, batch: Batch) -> Result<(), sqlx::Error> {
    let head = "INSERT INTO run (id, workflow, version, key, status, parked, parent, parent_command, root, detached, \
                created, attributes) VALUES";
    script.insert(head, 12, batch.runs.into_values().collect(), run_row).await?;
    let journal = |values: &mut Values, (run, entry): (WorkflowRunId, Entry)| {
        values.id(run.as_u128()).number(entry.seq.0).add(rows::entry_bytes(entry));
    };
    script.insert("INSERT INTO journal (run, seq, entry) VALUES", 3, batch.entries, journal).await?;
    for (run, changes) in batch.changes {
        change_run(script, run, changes).await?;
    }
    let timers = batch.timers.into_iter().collect();
    script.insert("INSERT INTO timer (at, run, command) VALUES", 3, timers, timer).await?;
    let head = "DELETE FROM timer WHERE (at, run, command) IN (VALUES";
    script.remove(head, "(?, ?, ?)", batch.timers_gone, timer).await?;
    let head = "INSERT INTO task (id, queue, name, created, due, failures, losses, body, state) VALUES";
    let task = |values: &mut Values, row: TaskRow| task_columns(values, &row);
    script.insert(head, 9, batch.tasks.into_values().collect(), task).await?;
    for (task, change) in batch.task_changes {
        let text = "UPDATE task SET due = ?, failures = ?, losses = ?, state = ? WHERE id = ?";
        let fill = |values: &mut Values| {
            values.number(change.due.0).number(change.failures.into()).number(change.losses.into());
            values.add(rows::state_bytes(&change)).id(task.as_u128());
        };
        script.statement(text, fill).await?;
    }
    let gone = |values: &mut Values, task: TaskId| {
        values.id(task.as_u128());
    };
    script.remove("DELETE FROM task WHERE id IN (VALUES", "(?)", batch.tasks_gone, gone).await?;
    let head = "INSERT INTO task_done (id, queue, name, created, due, failures, losses, body, state, status, closed, \
                attempt, outcome) VALUES";
    script.insert(head, 13, batch.tasks_closed, closed_task).await?;
    let said = batch.task_logs.into_iter().flat_map(|(task, lines)| lines.into_iter().map(move |line| (task, line)));
    let line = |values: &mut Values, (task, line): (TaskId, TaskLog)| {
        values.id(task.as_u128()).number(line.at.0).add(line.level).add(line.text);
    };
    script.insert("INSERT INTO task_log (task, at, level, text) VALUES", 4, said.collect(), line).await
}

fn rows_of(batch: &Batch) -> usize {
    batch.runs.len()
        + batch.entries.len()
        + batch.changes.len()
        + batch.timers.len()
        + batch.timers_gone.len()
        + batch.tasks.len()
        + batch.task_changes.len()
        + batch.tasks_gone.len()
        + batch.tasks_closed.len()
        + batch.task_logs.iter().map(|(_, lines)| lines.len()).sum::<usize>()
}

/// What a batch adds to the log, about.
fn bytes_of(batch: &Batch) -> u64 {
    let journal: u64 = batch.entries.iter().map(|(_, entry)| 256 + payload_bytes(entry)).sum();
    let tasks = batch.tasks.len() + batch.tasks_closed.len() + batch.tasks_gone.len();
    4096 + journal + 512 * tasks as u64
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

fn run_row(values: &mut Values, row: RunRow) {
    let command = rows::owner_command(row.owner);
    values.id(row.run.as_u128()).add(row.workflow).add(row.version).add(row.key);
    values.add(rows::run_status(RunStatus::Open)).add(0_i64);
    values.add(row.owner.map(|owner| owner.call().to_string())).add(command);
    values.add(row.root.map(|root| root.to_string())).add(i64::from(row.detached));
    values.number(row.created.0).add(json(&row.attributes));
}

async fn change_run(script: &mut Script<'_>, run: WorkflowRunId, changes: Changes) -> Result<(), sqlx::Error> {
    let bits = run.as_u128();
    if !changes.attributes.is_empty() {
        let attributes = json(&changes.attributes);
        let fill = |values: &mut Values| {
            values.add(attributes).id(bits);
        };
        script.statement("UPDATE run SET attributes = json_patch(attributes, ?) WHERE id = ?", fill).await?;
    }
    if let Some((status, outcome, at)) = changes.closed {
        let text = "UPDATE run SET status = ?, closed = ?, outcome = ?, parked = 0 WHERE id = ?";
        let fill = |values: &mut Values| {
            values.add(rows::run_status(status)).number(at.0).add(outcome.map(rows::outcome_bytes)).id(bits);
        };
        return script.statement(text, fill).await;
    }
    if let Some(blocked) = changes.blocked {
        let status = if blocked.is_some() { RunStatus::Blocked } else { RunStatus::Open };
        let reason = blocked.map(|(cause, message)| rows::block_reason(cause, &message)).unwrap_or_default();
        let fill = |values: &mut Values| {
            values.add(rows::run_status(status)).add(reason).id(bits);
        };
        script.statement("UPDATE run SET status = ?, reason = ? WHERE id = ?", fill).await?;
    }
    if let Some(parked) = changes.parked {
        let fill = |values: &mut Values| {
            values.add(i64::from(parked)).id(bits);
        };
        script.statement("UPDATE run SET parked = ? WHERE id = ?", fill).await?;
    }
    Ok(())
}

fn timer(values: &mut Values, (at, run, command): (Timestamp, WorkflowRunId, CommandNumber)) {
    values.number(at.0).id(run.as_u128()).number(command.0.into());
}

fn task_columns(values: &mut Values, row: &TaskRow) {
    values.id(row.task.as_u128()).add(row.options.queue.to_string()).add(row.name.clone());
    values.number(row.created.0).number(row.change.due.0);
    values.number(row.change.failures.into()).number(row.change.losses.into());
    values.add(rows::task_bytes(row)).add(rows::state_bytes(&row.change));
}

fn closed_task(values: &mut Values, closed: ClosedTask) {
    task_columns(values, &closed.row);
    values.add(rows::task_status(closed.status)).number(closed.at.0).number(closed.attempt.into());
    values.add(rows::outcome_bytes(closed.outcome));
}
