//! Where runs and tasks are kept.
//!
//! A [`Store`] writes what an engine decided, a batch in one transaction, and reads it back. [`sqlite`] is one file and
//! one writer; [`postgres`] is a database that several engines know, of which one has it. What a store must do is in its
//! trait; nothing above it knows which one it is.

mod batch;
pub mod postgres;
mod read;
mod rows;
pub mod sqlite;

use crate::StoreConfig;
use async_trait::async_trait;
use orlop_durable_core::{Recovered, RunStatus, StoredRun, TaskStatus, Write};
use orlop_model::durable::{CallId, Entry, Failure, Outcome};
use orlop_model::{TaskId, Timestamp, WorkflowRunId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// For so long an engine has the store after it was taken over or [kept](Store::keep).
pub const LEASE: Duration = Duration::from_secs(3);

/// How often it is kept.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// Keeps runs and tasks.
#[async_trait]
pub trait Store: Send + Sync {
    /// Takes the store over from the engine before, and says what it left. The number is greater each time.
    /// [`StoreError::Held`] when another engine has it.
    async fn take_over(&self) -> Result<(u32, Recovered), StoreError>;

    /// Writes all, or nothing. What returned without an error survives a power cut. [`StoreError::Superseded`] when
    /// another engine has taken over.
    async fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError>;

    /// Keeps the store for another [`LEASE`]; an error when that did not come in time.
    async fn keep(&self) -> Result<(), StoreError>;

    /// A run with its journal.
    async fn run(&self, run: WorkflowRunId) -> Result<Option<StoredRun>, StoreError>;

    /// How a task ended, if it is over.
    async fn task_outcome(&self, task: TaskId) -> Result<Option<Outcome>, StoreError>;

    /// A run without its journal.
    async fn describe_run(&self, run: WorkflowRunId) -> Result<Option<RunSummary>, StoreError>;

    /// Entries of a journal from a place on, at most so many.
    async fn entries(&self, run: WorkflowRunId, from: u64, limit: u32) -> Result<Vec<Entry>, StoreError>;

    /// Runs, newest first.
    async fn list_runs(&self, wanted: RunFilter) -> Result<Vec<RunSummary>, StoreError>;

    /// A task, open or over.
    async fn describe_task(&self, task: TaskId) -> Result<Option<TaskSummary>, StoreError>;

    /// Tasks, newest first.
    async fn list_tasks(&self, wanted: TaskFilter) -> Result<Vec<TaskSummary>, StoreError>;

    /// Gives up what it has open, and the store to whoever wants it next.
    async fn close(&self);
}

/// Opens a store, which is made if need be, for the engine that listens at an address.
pub async fn open(config: &StoreConfig, address: &str) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match config {
        StoreConfig::Sqlite(directory) => Arc::new(sqlite::Sqlite::open(directory).await?),
        StoreConfig::Postgres(url) => Arc::new(postgres::Postgres::open(url, address).await?),
    })
}

/// Keeps the store that was taken over, until that fails.
pub(crate) async fn keep_until_it_fails(store: &(impl Store + ?Sized)) -> StoreError {
    loop {
        tokio::time::sleep(KEEP_EVERY).await;
        if let Err(error) = store.keep().await {
            return error;
        }
    }
}

/// Which runs are wanted.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// None: any.
    pub statuses: Vec<RunStatus>,
    /// Empty: any.
    pub workflow: String,
    /// All of them.
    pub attributes: BTreeMap<String, String>,
    /// Only those before this one.
    pub before: Option<WorkflowRunId>,
    /// At most so many.
    pub limit: u32,
}

/// A run, for people.
#[derive(Debug, Clone)]
pub struct RunSummary {
    /// Which one.
    pub run: WorkflowRunId,
    /// The workflow.
    pub workflow: String,
    /// The version that it is pinned to.
    pub version: String,
    /// Its key.
    pub key: String,
    /// Where it stands.
    pub status: RunStatus,
    /// It waits, and the engine has forgotten it until something comes.
    pub parked: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When it ended.
    pub closed: Option<Timestamp>,
    /// Who started it.
    pub parent: Option<CallId>,
    /// What that goes back to.
    pub root: Option<CallId>,
    /// Why it is blocked.
    pub reason: String,
    /// How many entries its journal has.
    pub entries: u64,
    /// What it can be found by.
    pub attributes: BTreeMap<String, String>,
}

/// Which tasks are wanted.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    /// Those that are not over; else those that are.
    pub open: bool,
    /// Of those that are over; none: any.
    pub statuses: Vec<TaskStatus>,
    /// Empty: any.
    pub queue: String,
    /// Empty: any.
    pub name: String,
    /// Only those before this one.
    pub before: Option<TaskId>,
    /// At most so many.
    pub limit: u32,
}

/// A task, for people.
#[derive(Debug, Clone)]
pub struct TaskSummary {
    /// The task. Of one that is over, as it was at its end.
    pub row: orlop_durable_core::TaskRow,
    /// How it ended.
    pub ended: Option<TaskEnd>,
}

/// How a task ended.
#[derive(Debug, Clone)]
pub struct TaskEnd {
    /// In a word.
    pub status: TaskStatus,
    /// With what.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
    /// In which attempt.
    pub attempt: u32,
}

impl TaskEnd {
    /// The failure, if it is one.
    pub const fn failure(&self) -> Option<&Failure> {
        match &self.outcome {
            Outcome::Failed(failure) => Some(failure),
            Outcome::Ok(_) => None,
        }
    }
}

/// Why something was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database said no.
    #[error("the store cannot {doing}")]
    Database {
        /// What was tried.
        doing: &'static str,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// What is in it is not what this version writes.
    #[error("the store has {found}, which this version of Orlop cannot read")]
    Unreadable {
        /// What was found.
        found: String,
    },
    /// Another engine has it for now.
    #[error("another engine ({by}) has the store")]
    Held {
        /// Where that engine listens.
        by: String,
        /// Until when at least, by the database's clock.
        until: Timestamp,
    },
    /// Another engine has taken over; this one writes nothing any more.
    #[error("this engine does not have the store any more")]
    Superseded,
    /// The store was not kept in time; another engine may take it over.
    #[error("the store could not be kept in time")]
    Late,
    /// What was given does not say where the store is. It is not repeated, because there may be a password in it.
    #[error("the URL of the store cannot be used: {0}")]
    Url(String),
    /// Another engine has it.
    #[error("{path} is in use by another engine")]
    InUse {
        /// The file.
        path: String,
    },
    /// It cannot be opened.
    #[error("{path} cannot be opened")]
    Open {
        /// The file or directory.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}
