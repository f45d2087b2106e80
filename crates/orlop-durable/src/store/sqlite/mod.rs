//! SQLite: one file, one writer, one transaction for each batch.
//!
//! The log (WAL) is synced at each commit (`synchronous = FULL`). It keeps its length: a commit that overwrites needs no
//! change of the file's metadata, which costs several times the sync itself. A second connection copies the log into the
//! database aside from commits; reads have connections of their own.

mod read;
mod script;
mod write;

use super::batch::Batch;
use super::read as question;
use super::{RunFilter, RunSummary, Store, StoreError, TaskFilter, TaskSummary};
use async_trait::async_trait;
use nix::fcntl::{Flock, FlockArg};
use orlop_durable_core::{Recovered, StoredRun, Write};
use orlop_model::durable::{Entry, Outcome};
use orlop_model::{TaskId, WorkflowRunId};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use std::fs::File;
use std::path::{Path, PathBuf};
use tokio::sync::Mutex;

/// The schema's version, as `PRAGMA user_version`.
const VERSION: i64 = 1;
const SCHEMA: &str = include_str!("schema.sql");
/// What the log is made to hold at the start, in bytes.
const LOG_BYTES: u64 = 8 << 20;
/// Prepared statements that a connection keeps: each kind of row in each size of a batch.
const STATEMENTS: usize = 400;

/// Runs and tasks in a directory.
pub struct Sqlite {
    writer: Mutex<Writer>,
    readers: SqlitePool,
    _lock: Flock<File>,
}

struct Writer {
    connection: SqliteConnection,
    checkpointer: SqliteConnection,
    log: PathBuf,
    /// Bytes written since the log was last copied into the database, about.
    since_checkpoint: u64,
}

fn failed(doing: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |source| StoreError::Database { doing, source }
}

impl Sqlite {
    /// Opens the store in the directory, which is made if need be.
    pub async fn open(directory: &Path) -> Result<Self, StoreError> {
        let open = |path: &Path| {
            let path = path.display().to_string();
            move |source| StoreError::Open { path, source }
        };
        std::fs::create_dir_all(directory).map_err(open(directory))?;
        let lock_path = directory.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(open(&lock_path))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|_| StoreError::InUse { path: directory.display().to_string() })?;

        let path = directory.join("engine.db");
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .statement_cache_capacity(STATEMENTS)
            .pragma("wal_autocheckpoint", "0")
            .pragma("cache_size", "-16384")
            .disable_statement_logging();
        let mut connection = options.connect().await.map_err(failed("be opened"))?;
        migrate(&mut connection).await?;
        let log = directory.join("engine.db-wal");
        let checkpointer = options.connect().await.map_err(failed("be opened"))?;
        let readers = SqlitePoolOptions::new().max_connections(2).connect_lazy_with(options.read_only(true));
        let mut writer = Writer { connection, checkpointer, log, since_checkpoint: 0 };
        writer.grow_log().await.map_err(failed("make room for its log"))?;
        Ok(Self { writer: Mutex::new(writer), readers, _lock: lock })
    }
}

async fn migrate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let failed = failed("be brought up to date");
    let row = sqlx::query("PRAGMA user_version").fetch_one(&mut *connection).await.map_err(&failed)?;
    match row.try_get::<i64, _>(0).map_err(&failed)? {
        VERSION => Ok(()),
        0 => {
            let mut transaction = connection.begin().await.map_err(&failed)?;
            sqlx::raw_sql(SCHEMA).execute(&mut *transaction).await.map_err(&failed)?;
            sqlx::raw_sql("PRAGMA user_version = 1").execute(&mut *transaction).await.map_err(&failed)?;
            transaction.commit().await.map_err(&failed)
        }
        newer => Err(StoreError::Unreadable { found: format!("version {newer} of the tables") }),
    }
}

impl Writer {
    /// Writes the log once as long as it is to be, so that commits overwrite.
    async fn grow_log(&mut self) -> Result<(), sqlx::Error> {
        if std::fs::metadata(&self.log).is_ok_and(|log| log.len() >= LOG_BYTES) {
            return Ok(());
        }
        sqlx::raw_sql(
            "BEGIN IMMEDIATE; CREATE TABLE filler (x BLOB); INSERT INTO filler VALUES (zeroblob(8400000)); COMMIT;
             DROP TABLE filler;",
        )
        .execute(&mut self.connection)
        .await?;
        self.checkpoint().await
    }

    /// Copies the log into the database: first beside commits, then what is left, so that the log begins anew.
    async fn checkpoint(&mut self) -> Result<(), sqlx::Error> {
        self.since_checkpoint = 0;
        sqlx::raw_sql("PRAGMA wal_checkpoint(RESTART)").execute(&mut self.checkpointer).await.map(drop)
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn take_over(&self) -> Result<(u32, Recovered), StoreError> {
        let mut writer = self.writer.lock().await;
        let failed = failed("be taken over");
        let row = sqlx::query("UPDATE engine SET epoch = epoch + 1 RETURNING epoch");
        let row = row.fetch_one(&mut writer.connection).await.map_err(&failed)?;
        let epoch: i64 = row.try_get(0).map_err(&failed)?;
        let epoch = u32::try_from(epoch).map_err(|_| super::rows::unreadable("an epoch", epoch))?;
        Ok((epoch, question::recovered(&self.readers).await?))
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let batch = Batch::of(writes);
        let mut writer = self.writer.lock().await;
        let failed = failed("be written to");
        writer.since_checkpoint += write::batch(&mut writer.connection, batch).await.map_err(&failed)?;
        if writer.since_checkpoint > LOG_BYTES / 2 {
            writer.checkpoint().await.map_err(failed)?;
        }
        Ok(())
    }

    async fn keep(&self) -> Result<(), StoreError> {
        // The lock on the directory is this process's until it ends.
        Ok(())
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
        self.readers.close().await;
    }
}
