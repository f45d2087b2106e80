//! How SQLite is asked.

use super::failed;
use crate::store::StoreError;
use crate::store::read::{Columns, Question, READING, Reader, Value, read_attributes};
use crate::store::rows::json;
use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqlitePool};
use std::collections::BTreeMap;

impl Columns for SqliteRow {
    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.try_get(name).map_err(failed(READING))
    }

    fn number(&self, name: &str) -> Result<Option<i64>, StoreError> {
        self.try_get(name).map_err(failed(READING))
    }

    fn text(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.try_get(name).map_err(failed(READING))
    }

    fn attributes(&self, name: &str) -> Result<BTreeMap<String, String>, StoreError> {
        read_attributes(self.try_get(name).map_err(failed(READING))?)
    }
}

#[async_trait]
impl Reader for SqlitePool {
    type Row = SqliteRow;
    const ATTRIBUTES: &'static str = "attributes";
    // A patch with what is wanted changes nothing of those that have it.
    const HAS_ATTRIBUTES: &'static str = " AND json_patch(attributes, {}) = json(attributes)";

    async fn ask(&self, question: Question) -> Result<Vec<SqliteRow>, StoreError> {
        // The text is made of constants alone.
        let mut query = sqlx::query(AssertSqlSafe(question.text));
        for value in question.values {
            query = match value {
                Value::Bytes(bytes) => query.bind(bytes),
                Value::Number(number) => query.bind(number),
                Value::Text(text) => query.bind(text),
                Value::Attributes(attributes) => query.bind(json(&attributes)),
            };
        }
        query.fetch_all(self).await.map_err(failed(READING))
    }
}
