//! The front: everything that reaches the control plane from outside comes through here.
//!
//! - `listen` binds, `serve` accepts connections and speaks HTTP on them;
//! - `caller` finds out who calls, by certificate, token or socket; `lapse` ends what is under way when that is no longer
//!   true, and `limit` keeps any one caller from taking everything;
//! - `guard` lets a call through when the table of `orlop_identity::access` allows it, to this member or, by `forward`, to
//!   the one that leads.

mod answer;
mod caller;
mod connection;
mod forward;
mod guard;
mod lapse;
mod limit;
mod listen;
mod serve;

pub(crate) use connection::{Connection, Connections};
pub(crate) use guard::Guard;
pub(crate) use limit::Limits;
pub(crate) use listen::Listener;
pub(crate) use serve::serve;

use crate::trust::Trust;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The door of one member.
pub(crate) struct Front {
    pub(crate) trust: Arc<Trust>,
    pub(crate) connections: Connections,
    pub(crate) limits: Limits,
    pub(crate) grpc: Guard,
    pub(crate) json: axum::Router,
    pub(crate) refused: Refused,
}

impl Front {
    /// Notes that a connection was turned away for want of room.
    fn refuse(&self) {
        self.refused.note(|refused| tracing::warn!(refused, "connections were refused: too many are open"));
    }
}

/// Cancelled when a caller had better try another member: its connection is then closed, after the calls on it.
#[derive(Debug, Clone)]
pub(crate) struct Leave(CancellationToken);

impl Leave {
    pub(crate) fn cancel(&self) {
        self.0.cancel();
    }
}

/// Counts what is turned away, and says so at most every ten seconds.
#[derive(Default)]
pub(crate) struct Refused {
    since: Mutex<(u64, Option<Instant>)>,
}

impl Refused {
    fn note(&self, say: impl FnOnce(u64)) {
        const EVERY: Duration = Duration::from_secs(10);
        let count = {
            let mut since = self.since.lock();
            since.0 += 1;
            if since.1.is_some_and(|said| said.elapsed() < EVERY) {
                return;
            }
            since.1 = Some(Instant::now());
            std::mem::take(&mut since.0)
        };
        say(count);
    }
}
