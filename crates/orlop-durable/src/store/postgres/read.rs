//! How PostgreSQL is asked.

use super::failed;
use super::text;
use crate::store::StoreError;
use crate::store::read::{Columns, Question, READING, Reader, Value, read_attributes};
use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, Row};
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Connections that read.
const READERS: u32 = 4;
/// The longest wait for a connection, once it is a question's turn.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(60);

/// Connections that read. A question waits for its turn as long as it takes, and then for the database not too long: an
/// engine that begins may ask for thousands of runs at once.
pub(super) struct Readers {
    pool: PgPool,
    turns: Semaphore,
}

impl Readers {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        let pool = PgPoolOptions::new().max_connections(READERS).acquire_timeout(CONNECT).connect_lazy_with(options);
        Self { pool, turns: Semaphore::new(READERS as usize) }
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

impl Columns for PgRow {
    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.try_get(name).map_err(failed(READING))
    }

    fn number(&self, name: &str) -> Result<Option<i64>, StoreError> {
        self.try_get(name).map_err(failed(READING))
    }

    fn text(&self, name: &str) -> Result<Option<String>, StoreError> {
        let found: Option<String> = self.try_get(name).map_err(failed(READING))?;
        Ok(found.map(text::read))
    }

    fn attributes(&self, name: &str) -> Result<BTreeMap<String, String>, StoreError> {
        let found = read_attributes(self.try_get(name).map_err(failed(READING))?)?;
        Ok(found.into_iter().map(|(name, value)| (text::read(name), text::read(value))).collect())
    }
}

#[async_trait]
impl Reader for Readers {
    type Row = PgRow;
    const ATTRIBUTES: &'static str = "attributes::text";
    const HAS_ATTRIBUTES: &'static str = " AND attributes @> {}::jsonb";

    async fn ask(&self, question: Question) -> Result<Vec<PgRow>, StoreError> {
        let _turn = self.turns.acquire().await;
        // The text is made of constants alone.
        let mut query = sqlx::query(AssertSqlSafe(question.text));
        for value in question.values {
            query = match value {
                Value::Bytes(bytes) => query.bind(bytes),
                Value::Number(number) => query.bind(number),
                Value::Text(given) => query.bind(text::stored(&given)),
                Value::Attributes(attributes) => query.bind(text::json(&attributes)),
            };
        }
        let late = |_| Err(sqlx::Error::Io(Error::new(ErrorKind::TimedOut, "the database does not answer")));
        timeout(ANSWER, query.fetch_all(&self.pool)).await.unwrap_or_else(late).map_err(failed(READING))
    }
}
