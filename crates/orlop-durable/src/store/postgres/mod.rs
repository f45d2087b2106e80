//! PostgreSQL: a database that several engines know, and one has.
//!
//! Which one is in the row of `lease`, by the database's clock. Each commit has that row locked and its epoch checked, so
//! that an engine which was succeeded writes nothing, however late it comes; who takes over waits for commits under way. One
//! connection writes, another one keeps the lease, so that neither waits for the other, and a few read. A connection
//! that failed is not used again.

mod lease;
mod read;
mod schema;
mod text;
mod write;

use super::batch::Batch;
use super::read as question;
use super::{RunFilter, RunSummary, Store, StoreError, TaskFilter, TaskSummary};
use crate::PostgresUrl;
use async_trait::async_trait;
use lease::Lease;
use orlop_durable_core::{Recovered, StoredRun, Write};
use orlop_model::durable::{Entry, Outcome};
use orlop_model::{TaskId, WorkflowRunId};
use read::Readers;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};
use std::io::{Error, ErrorKind};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// The longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Runs and tasks in a database.
pub struct Postgres {
    options: PgConnectOptions,
    lease: Lease,
    /// None before the first takeover, and after something failed: then the next takeover connects anew.
    writer: Mutex<Option<PgConnection>>,
    readers: Readers,
}

fn failed(doing: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |source| StoreError::Database { doing, source }
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let late = |_| Err(sqlx::Error::Io(Error::new(ErrorKind::TimedOut, "no connection is made in time")));
    timeout(CONNECT, options.connect()).await.unwrap_or_else(late)
}

impl Postgres {
    /// Opens the store, whose tables are made if need be, for the engine that listens at an address.
    pub async fn open(url: &PostgresUrl, address: &str) -> Result<Self, StoreError> {
        // A transaction whose engine stands still, or is cut off, does not keep others from taking over.
        let options = url.options().clone().disable_statement_logging().options([
            ("search_path", schema::NAME),
            ("idle_in_transaction_session_timeout", "3s"),
            ("lock_timeout", "10s"),
        ]);
        let readers = Readers::new(options.clone().options([("statement_timeout", "60s")]));
        let store = Self { lease: Lease::new(options.clone(), address), options, writer: Mutex::new(None), readers };
        *store.writer.lock().await = Some(store.new_writer().await?);
        Ok(store)
    }

    async fn new_writer(&self) -> Result<PgConnection, StoreError> {
        let mut connection = connect(&self.options).await.map_err(failed("be opened"))?;
        schema::migrate(&mut connection).await?;
        let durable = "SELECT set_config('synchronous_commit', 'on', false) \
                       WHERE current_setting('synchronous_commit') = 'off'";
        sqlx::raw_sql(durable).execute(&mut connection).await.map_err(failed("be opened"))?;
        Ok(connection)
    }
}

/// All of it in one transaction, if the epoch is still this engine's.
async fn commit(connection: &mut PgConnection, epoch: i64, batch: Batch) -> Result<bool, sqlx::Error> {
    let begin = format!("BEGIN; SELECT 1 FROM lease WHERE epoch = {epoch} FOR KEY SHARE");
    if sqlx::raw_sql(AssertSqlSafe(begin)).fetch_all(&mut *connection).await?.is_empty() {
        return Ok(false);
    }
    write::batch(connection, batch).await?;
    sqlx::raw_sql("COMMIT").execute(&mut *connection).await?;
    Ok(true)
}

#[async_trait]
impl Store for Postgres {
    async fn take_over(&self) -> Result<(u32, Recovered), StoreError> {
        let mut writer = self.writer.lock().await;
        let mut connection = match writer.take() {
            Some(connection) => connection,
            None => self.new_writer().await?,
        };
        let taken = self.lease.take(&mut connection).await;
        if matches!(taken, Ok(_) | Err(StoreError::Held { .. })) {
            *writer = Some(connection);
        }
        drop(writer);
        let epoch = taken?;
        // What was left may be much.
        tokio::select! {
            recovered = question::recovered(&self.readers) => Ok((epoch, recovered?)),
            error = super::keep_until_it_fails(self) => Err(error),
        }
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let batch = Batch::of(writes);
        let mut writer = self.writer.lock().await;
        // With a connection that was left in the middle of a transaction nothing more is written.
        let mut connection = writer.take().ok_or(StoreError::Superseded)?;
        let epoch = self.lease.epoch().ok_or(StoreError::Superseded)?;
        if !commit(&mut connection, epoch, batch).await.map_err(failed("be written to"))? {
            return Err(StoreError::Superseded);
        }
        *writer = Some(connection);
        Ok(())
    }

    async fn keep(&self) -> Result<(), StoreError> {
        self.lease.keep().await
    }

    async fn run(&self, run: WorkflowRunId) -> Result<Option<StoredRun>, StoreError> {
        question::run(&self.readers, run).await
    }

    async fn task_outcome(&self, task: TaskId) -> Result<Option<Outcome>, StoreError> {
        question::task_outcome(&self.readers, task).await
    }

    async fn describe_run(&self, run: WorkflowRunId) -> Result<Option<RunSummary>, StoreError> {
        question::describe_run(&self.readers, run).await
    }

    async fn entries(&self, run: WorkflowRunId, from: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        question::entries(&self.readers, run, from, limit).await
    }

    async fn list_runs(&self, wanted: RunFilter) -> Result<Vec<RunSummary>, StoreError> {
        question::list_runs(&self.readers, wanted).await
    }

    async fn describe_task(&self, task: TaskId) -> Result<Option<TaskSummary>, StoreError> {
        question::describe_task(&self.readers, task).await
    }

    async fn list_tasks(&self, wanted: TaskFilter) -> Result<Vec<TaskSummary>, StoreError> {
        question::list_tasks(&self.readers, wanted).await
    }

    async fn close(&self) {
        // Within the time in which the lease would end by itself.
        let closing = async {
            if let Err(error) = self.lease.release().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "the store is not given to the next engine");
            }
            self.readers.close().await;
        };
        timeout(super::LEASE, closing).await.ok();
    }
}
