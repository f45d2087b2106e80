//! Which engine has the store.

use super::{connect, failed};
use crate::store::rows::unreadable;
use crate::store::{LEASE, StoreError};
use orlop_model::Timestamp;
use sqlx::postgres::PgConnectOptions;
use sqlx::{PgConnection, Row};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

/// After so long without having been kept it is given up: by then no other engine has taken it.
const GIVE_UP: Duration = Duration::from_millis(2500);

/// The owner of before takes over at once: its own life of before is over.
const TAKE: &str = "
    UPDATE lease SET epoch = epoch + 1, owner = $1, address = $2, until = clock_timestamp() + make_interval(secs => $3)
    WHERE owner = $1 OR until <= clock_timestamp() RETURNING epoch";
const KEEP: &str = "UPDATE lease SET until = clock_timestamp() + make_interval(secs => $2) WHERE epoch = $1";
const RELEASE: &str = "UPDATE lease SET until = clock_timestamp(), owner = '' WHERE epoch = $1";
const HOLDER: &str = "SELECT address, (extract(epoch FROM until) * 1000)::bigint AS until FROM lease";

/// One engine's share in the lease.
pub(super) struct Lease {
    options: PgConnectOptions,
    /// Unlike the address it is new in each process.
    owner: String,
    address: String,
    /// 0 before the first takeover.
    epoch: AtomicI64,
    /// When it was last taken or kept; before that was asked, so that it ends here before it ends there.
    kept: std::sync::Mutex<Instant>,
    keeper: Mutex<Option<PgConnection>>,
}

impl Lease {
    pub(super) fn new(options: PgConnectOptions, address: &str) -> Self {
        let owner = uuid::Uuid::now_v7().to_string();
        Self {
            options,
            owner,
            address: address.to_owned(),
            epoch: AtomicI64::new(0),
            kept: std::sync::Mutex::new(Instant::now()),
            keeper: Mutex::new(None),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Instant> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last one that this engine had.
    pub(super) fn epoch(&self) -> Option<i64> {
        Some(self.epoch.load(Ordering::SeqCst)).filter(|epoch| *epoch > 0)
    }

    /// Takes it, if it is free or over.
    pub(super) async fn take(&self, connection: &mut PgConnection) -> Result<u32, StoreError> {
        let failed = failed("be taken over");
        let began = Instant::now();
        let query = sqlx::query(TAKE).bind(&self.owner).bind(&self.address).bind(LEASE.as_secs_f64());
        let Some(row) = query.fetch_optional(&mut *connection).await.map_err(&failed)? else {
            let holder = sqlx::query(HOLDER).fetch_optional(&mut *connection).await.map_err(&failed)?;
            let holder = holder.ok_or_else(|| unreadable("the lease", "it is missing"))?;
            let until: i64 = holder.try_get("until").map_err(&failed)?;
            let by = holder.try_get("address").map_err(&failed)?;
            return Err(StoreError::Held { by, until: Timestamp(u64::try_from(until).unwrap_or(0)) });
        };
        let epoch: i64 = row.try_get("epoch").map_err(&failed)?;
        self.epoch.store(epoch, Ordering::SeqCst);
        *self.kept() = began;
        u32::try_from(epoch).map_err(|_| unreadable("an epoch", epoch))
    }

    /// Has it for longer.
    pub(super) async fn keep(&self) -> Result<(), StoreError> {
        let began = Instant::now();
        let until = *self.kept() + GIVE_UP;
        let keeping = timeout_at(until, self.update(sqlx::query(KEEP), Some(LEASE.as_secs_f64())));
        match keeping.await.map_err(|_| StoreError::Late)?? {
            0 => Err(StoreError::Superseded),
            _ => {
                *self.kept() = began;
                Ok(())
            }
        }
    }

    /// Gives it up.
    pub(super) async fn release(&self) -> Result<(), StoreError> {
        self.update(sqlx::query(RELEASE), None).await.map(drop)
    }

    /// Updates the row of this engine's epoch; how many there were.
    async fn update(
        &self,
        query: sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments>,
        seconds: Option<f64>,
    ) -> Result<u64, StoreError> {
        let Some(epoch) = self.epoch() else { return Ok(0) };
        let failed = failed("be kept");
        let mut keeper = self.keeper.lock().await;
        let mut connection = match keeper.take() {
            Some(connection) => connection,
            None => connect(&self.options).await.map_err(&failed)?,
        };
        let mut query = query.bind(epoch);
        if let Some(seconds) = seconds {
            query = query.bind(seconds);
        }
        let rows = query.execute(&mut connection).await.map_err(&failed)?.rows_affected();
        *keeper = Some(connection);
        Ok(rows)
    }
}
