//! What is in the tables, read back: the same questions to either database.

use super::rows::{self, TaskColumns, id, signed, unreadable};
use super::{RunFilter, RunSummary, StoreError, TaskEnd, TaskFilter, TaskSummary};
use async_trait::async_trait;
use orlop_durable_core::{Recovered, RunRow, StoredRun};
use orlop_model::durable::{CallId, CommandNumber, Entry, Outcome, Owner};
use orlop_model::{TaskId, Timestamp, WorkflowRunId};
use std::collections::BTreeMap;

/// What is tried, for errors.
pub(super) const READING: &str = "be read";
const TASK: &str = "id, created, due, failures, losses, body, state";

/// Something that a question is asked with.
#[derive(Debug)]
pub(super) enum Value {
    Bytes(Vec<u8>),
    Number(i64),
    Text(String),
    Attributes(BTreeMap<String, String>),
}

/// A row of an answer.
pub(super) trait Columns {
    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
    fn number(&self, name: &str) -> Result<Option<i64>, StoreError>;
    fn text(&self, name: &str) -> Result<Option<String>, StoreError>;
    fn attributes(&self, name: &str) -> Result<BTreeMap<String, String>, StoreError>;
}

/// A database that can be asked. Parameters are `$1`, `$2` and so on in both.
#[async_trait]
pub(super) trait Reader: Sync {
    type Row: Columns + Send + Sync;
    /// A run's attributes as text.
    const ATTRIBUTES: &'static str;
    /// That a run has all attributes of a parameter, which stands for `{}`.
    const HAS_ATTRIBUTES: &'static str;

    async fn ask(&self, question: Question) -> Result<Vec<Self::Row>, StoreError>;
}

/// A question with what it is asked with.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) text: String,
    pub(super) values: Vec<Value>,
}

impl Question {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), values: Vec::new() }
    }

    /// Adds to the text, with a parameter for `{}`.
    fn with(mut self, text: &str, value: Value) -> Self {
        self.values.push(value);
        self.text.push_str(&text.replace("{}", &format!("${}", self.values.len())));
        self
    }

    /// Adds that a column has one of these numbers.
    fn one_of(mut self, column: &str, numbers: impl Iterator<Item = i64>) -> Self {
        let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
        if !numbers.is_empty() {
            self.text.push_str(&format!(" AND {column} IN ({})", numbers.join(", ")));
        }
        self
    }
}

fn there<T>(name: &str, value: Option<T>) -> Result<T, StoreError> {
    value.ok_or_else(|| unreadable(name, "it is missing"))
}

fn bytes(row: &impl Columns, name: &str) -> Result<Vec<u8>, StoreError> {
    there(name, row.bytes(name)?)
}

fn text(row: &impl Columns, name: &str) -> Result<String, StoreError> {
    there(name, row.text(name)?)
}

fn number<T: TryFrom<i64>>(row: &impl Columns, name: &str) -> Result<T, StoreError> {
    let number = there(name, row.number(name)?)?;
    T::try_from(number).map_err(|_| unreadable(name, number))
}

fn bits(row: &impl Columns, name: &str) -> Result<u128, StoreError> {
    let bytes = bytes(row, name)?.try_into().map_err(|_| unreadable("an id", "not 16 bytes"))?;
    Ok(u128::from_be_bytes(bytes))
}

fn run_id(row: &impl Columns, name: &str) -> Result<WorkflowRunId, StoreError> {
    bits(row, name).map(WorkflowRunId::from_u128)
}

fn time(row: &impl Columns, name: &str) -> Result<Timestamp, StoreError> {
    number(row, name).map(Timestamp)
}

fn call(row: &impl Columns, name: &str) -> Result<Option<CallId>, StoreError> {
    row.text(name)?.map(|text| text.parse().map_err(|error| unreadable(name, error))).transpose()
}

/// Attributes as they are stored.
pub(super) fn read_attributes(json: &str) -> Result<BTreeMap<String, String>, StoreError> {
    serde_json::from_str(json).map_err(|error| unreadable("attributes", error))
}

pub(super) async fn recovered(reader: &impl Reader) -> Result<Recovered, StoreError> {
    let mut recovered = Recovered::default();
    for row in reader.ask(Question::new("SELECT id FROM run WHERE status <= 1 AND parked = 0")).await? {
        recovered.runs.push(run_id(&row, "id")?);
    }
    let keys = Question::new("SELECT workflow, key, id FROM run WHERE key <> '' AND status <= 1");
    for row in reader.ask(keys).await? {
        recovered.run_keys.push((text(&row, "workflow")?, text(&row, "key")?, run_id(&row, "id")?));
    }
    for row in reader.ask(Question::new(format!("SELECT {TASK} FROM task"))).await? {
        recovered.tasks.push(rows::read_task(&task_columns(&row)?)?);
    }
    for row in reader.ask(Question::new("SELECT at, run, command FROM timer")).await? {
        recovered.timers.push((time(&row, "at")?, run_id(&row, "run")?, CommandNumber(number(&row, "command")?)));
    }
    Ok(recovered)
}

fn task_columns(row: &impl Columns) -> Result<TaskColumns, StoreError> {
    Ok(TaskColumns {
        task: TaskId::from_u128(bits(row, "id")?),
        created: time(row, "created")?,
        due: time(row, "due")?,
        failures: number(row, "failures")?,
        losses: number(row, "losses")?,
        body: bytes(row, "body")?,
        state: bytes(row, "state")?,
    })
}

fn select_runs<R: Reader>() -> String {
    format!(
        "SELECT id, workflow, version, key, status, parked, parent, parent_command, root, detached, created, closed, \
         reason, outcome, {} AS attributes, (SELECT max(seq) FROM journal WHERE journal.run = run.id) AS last FROM run",
        R::ATTRIBUTES
    )
}

async fn run_row<R: Reader>(reader: &R, run: WorkflowRunId) -> Result<Option<R::Row>, StoreError> {
    let question = Question::new(select_runs::<R>()).with(" WHERE id = {}", Value::Bytes(id(run.as_u128())));
    Ok(reader.ask(question).await?.into_iter().next())
}

pub(super) async fn run(reader: &impl Reader, run: WorkflowRunId) -> Result<Option<StoredRun>, StoreError> {
    let Some(row) = run_row(reader, run).await? else { return Ok(None) };
    let entries = entries(reader, run, 0, u32::MAX).await?;
    let owner = match (call(&row, "parent")?, row.number("parent_command")?) {
        (Some(CallId::Run(parent)), Some(command)) => {
            let command = u32::try_from(command).map_err(|_| unreadable("a command's number", command))?;
            Some(Owner::Run(parent, CommandNumber(command)))
        }
        (Some(CallId::Task(task)), _) => Some(Owner::Task(task)),
        _ => None,
    };
    Ok(Some(StoredRun {
        row: RunRow {
            run,
            workflow: text(&row, "workflow")?,
            version: text(&row, "version")?,
            key: text(&row, "key")?,
            owner,
            root: call(&row, "root")?,
            detached: number::<i64>(&row, "detached")? != 0,
            created: time(&row, "created")?,
            attributes: row.attributes("attributes")?,
        },
        status: rows::read_run_status(number(&row, "status")?)?,
        parked: number::<i64>(&row, "parked")? != 0,
        entries,
        outcome: row.bytes("outcome")?.map(|bytes| rows::read_outcome(&bytes)).transpose()?,
    }))
}

pub(super) async fn entries(
    reader: &impl Reader,
    run: WorkflowRunId,
    from: u64,
    limit: u32,
) -> Result<Vec<Entry>, StoreError> {
    let question = Question::new("SELECT entry FROM journal")
        .with(" WHERE run = {}", Value::Bytes(id(run.as_u128())))
        .with(" AND seq >= {}", Value::Number(signed(from)))
        .with(" ORDER BY seq LIMIT {}", Value::Number(i64::from(limit)));
    reader.ask(question).await?.iter().map(|row| rows::read_entry(&bytes(row, "entry")?)).collect()
}

pub(super) async fn describe_run(reader: &impl Reader, run: WorkflowRunId) -> Result<Option<RunSummary>, StoreError> {
    run_row(reader, run).await?.map(|row| summary(&row)).transpose()
}

fn summary(row: &impl Columns) -> Result<RunSummary, StoreError> {
    let last = row.number("last")?;
    Ok(RunSummary {
        run: run_id(row, "id")?,
        workflow: text(row, "workflow")?,
        version: text(row, "version")?,
        key: text(row, "key")?,
        status: rows::read_run_status(number(row, "status")?)?,
        parked: number::<i64>(row, "parked")? != 0,
        created: time(row, "created")?,
        closed: row.number("closed")?.map(|at| Timestamp(u64::try_from(at).unwrap_or(0))),
        parent: call(row, "parent")?,
        root: call(row, "root")?,
        reason: text(row, "reason")?,
        entries: last.map_or(0, |last| u64::try_from(last).unwrap_or(0) + 1),
        attributes: row.attributes("attributes")?,
    })
}

/// Greater than any id, or the one that is given.
fn before(bits: Option<u128>) -> Value {
    Value::Bytes(bits.map_or_else(|| vec![0xff; 17], id))
}

pub(super) async fn list_runs<R: Reader>(reader: &R, wanted: RunFilter) -> Result<Vec<RunSummary>, StoreError> {
    // Ids grow with time (version 7), but for children, which follow their parents.
    let mut question = Question::new(select_runs::<R>())
        .with(" WHERE id < {}", before(wanted.before.map(|run| run.as_u128())))
        .one_of("status", wanted.statuses.iter().map(|status| rows::run_status(*status)));
    if !wanted.workflow.is_empty() {
        question = question.with(" AND workflow = {}", Value::Text(wanted.workflow));
    }
    if !wanted.attributes.is_empty() {
        question = question.with(R::HAS_ATTRIBUTES, Value::Attributes(wanted.attributes));
    }
    let question = question.with(" ORDER BY id DESC LIMIT {}", Value::Number(i64::from(wanted.limit)));
    reader.ask(question).await?.iter().map(summary).collect()
}

pub(super) async fn task_outcome(reader: &impl Reader, task: TaskId) -> Result<Option<Outcome>, StoreError> {
    let question =
        Question::new("SELECT outcome FROM task_done WHERE").with(" id = {}", Value::Bytes(id(task.as_u128())));
    let found = reader.ask(question).await?;
    found.first().map(|row| rows::read_outcome(&bytes(row, "outcome")?)).transpose()
}

fn ended(row: &impl Columns) -> Result<TaskSummary, StoreError> {
    let ended = TaskEnd {
        status: rows::read_task_status(number(row, "status")?)?,
        outcome: rows::read_outcome(&bytes(row, "outcome")?)?,
        at: time(row, "closed")?,
        attempt: number(row, "attempt")?,
    };
    Ok(TaskSummary { row: rows::read_task(&task_columns(row)?)?, ended: Some(ended) })
}

fn open(row: &impl Columns) -> Result<TaskSummary, StoreError> {
    Ok(TaskSummary { row: rows::read_task(&task_columns(row)?)?, ended: None })
}

/// The beginning of a question for tasks, open or over.
fn select_tasks(open: bool) -> Question {
    let (table, more) = if open { ("task", "") } else { ("task_done", ", status, closed, attempt, outcome") };
    Question::new(format!("SELECT {TASK}{more} FROM {table} WHERE"))
}

pub(super) async fn describe_task(reader: &impl Reader, task: TaskId) -> Result<Option<TaskSummary>, StoreError> {
    let of = |is_open| select_tasks(is_open).with(" id = {}", Value::Bytes(id(task.as_u128())));
    if let Some(row) = reader.ask(of(true)).await?.first() {
        return open(row).map(Some);
    }
    reader.ask(of(false)).await?.first().map(ended).transpose()
}

pub(super) async fn list_tasks(reader: &impl Reader, wanted: TaskFilter) -> Result<Vec<TaskSummary>, StoreError> {
    let mut question = select_tasks(wanted.open).with(" id < {}", before(wanted.before.map(|task| task.as_u128())));
    for (condition, value) in [(" AND queue = {}", wanted.queue), (" AND name = {}", wanted.name)] {
        if !value.is_empty() {
            question = question.with(condition, Value::Text(value));
        }
    }
    if !wanted.open {
        question = question.one_of("status", wanted.statuses.iter().map(|status| rows::task_status(*status)));
    }
    let question = question.with(" ORDER BY id DESC LIMIT {}", Value::Number(i64::from(wanted.limit)));
    let found = reader.ask(question).await?;
    found.iter().map(|row| if wanted.open { open(row) } else { ended(row) }).collect()
}
