//! The tables, and how they become those of this version.

use super::failed;
use crate::store::StoreError;
use crate::store::rows::unreadable;
use sqlx::{Connection, PgConnection, Row};

/// The schema that the tables are in.
pub(super) const NAME: &str = "orlop_engine";
/// What makes each version of the one before it.
const STEPS: [&str; 1] = [include_str!("schema.sql")];
/// Who changes the tables has this lock.
const LOCK: i64 = 0x6f72_6c6f_7065_6e67;

/// Brings the tables up to this version; those of a newer one are refused.
pub(super) async fn migrate(connection: &mut PgConnection) -> Result<(), StoreError> {
    let failed = failed("be brought up to date");
    let mut transaction = connection.begin().await.map_err(&failed)?;
    let lock = sqlx::query("SELECT pg_advisory_xact_lock($1), current_setting('server_encoding') AS encoding");
    let row = lock.bind(LOCK).fetch_one(&mut *transaction).await.map_err(&failed)?;
    let encoding: String = row.try_get("encoding").map_err(&failed)?;
    if encoding != "UTF8" {
        return Err(unreadable("the encoding", encoding));
    }
    let there = "SELECT to_regnamespace('orlop_engine') IS NOT NULL AS schema, \
                 to_regclass('orlop_engine.version') IS NOT NULL AS tables";
    let row = sqlx::query(there).fetch_one(&mut *transaction).await.map_err(&failed)?;
    // A user who may not make schemas uses one that was made.
    if !row.try_get::<bool, _>("schema").map_err(&failed)? {
        sqlx::raw_sql("CREATE SCHEMA orlop_engine").execute(&mut *transaction).await.map_err(&failed)?;
    }
    if !row.try_get::<bool, _>("tables").map_err(&failed)? {
        let make = "CREATE TABLE version (version BIGINT NOT NULL); INSERT INTO version (version) VALUES (0)";
        sqlx::raw_sql(make).execute(&mut *transaction).await.map_err(&failed)?;
    }
    let row = sqlx::query("SELECT version FROM version").fetch_one(&mut *transaction).await.map_err(&failed)?;
    let found: i64 = row.try_get("version").map_err(&failed)?;
    let Some(steps) = usize::try_from(found).ok().and_then(|found| STEPS.get(found..)) else {
        return Err(StoreError::Unreadable { found: format!("version {found} of the tables") });
    };
    for step in steps {
        sqlx::raw_sql(*step).execute(&mut *transaction).await.map_err(&failed)?;
        sqlx::raw_sql("UPDATE version SET version = version + 1").execute(&mut *transaction).await.map_err(&failed)?;
    }
    transaction.commit().await.map_err(&failed)
}
