//! The scheduler's lease: changes of holder go into the log, renewals stay in memory.
//!
//! A renewal that is forgotten with this process costs nothing but a change of holder, and the fence keeps two holders
//! apart. So a cluster at rest writes nothing.
//!
//! A lease is tied to the connection that it was last renewed on: a scheduler that dies is succeeded when the kernel has
//! closed its sockets, not when the lease has run out. Giving it back too early does no harm, the fence sees to that; a
//! scheduler that only lost its connection has it again with its next renewal, unless another was faster.

use crate::control::{Control, now};
use crate::front::Connection;
use crate::status;
use orlop_model::{Millis, Timestamp};
use orlop_state::command::AcquireLease;
use orlop_state::{Answer, Kind, Lease};
use parking_lot::Mutex;
use tonic::Status;

/// How long a lease may be asked for, in milliseconds.
const TTL_MS: std::ops::RangeInclusive<u64> = 1_000..=60_000;

/// The latest renewal of the lease with a fence.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    newest: Mutex<Option<(u64, Timestamp)>>,
    /// The fence, and the number of the connection it was last renewed on.
    tied: Mutex<Option<(u64, u64)>>,
}

impl Renewals {
    /// The lease with its latest renewal.
    pub(crate) fn of(&self, lease: &Lease) -> Lease {
        match *self.newest.lock() {
            Some((fence, expires_at)) if fence == lease.fence => Lease { expires_at, ..lease.clone() },
            _ => lease.clone(),
        }
    }

    fn note(&self, fence: u64, expires_at: Timestamp) {
        *self.newest.lock() = Some((fence, expires_at));
    }
}

/// Gives the lease back when the connection ends on which it was renewed last.
pub(crate) fn tie(control: &Control, lease: &Lease, connection: Connection) {
    let tie = Some((lease.fence, connection.number));
    if std::mem::replace(&mut *control.renewals.tied.lock(), tie) == tie {
        return;
    }
    let (control, holder) = (control.clone(), lease.holder.clone());
    control.tasks.clone().spawn(async move {
        tokio::select! {
            () = connection.ended.cancelled() => {}
            () = control.stop.cancelled() => return,
        }
        if control.stop.is_cancelled() || *control.renewals.tied.lock() != tie {
            return;
        }
        tracing::info!(%holder, "the connection of the active scheduler has ended; its lease is free");
        if let Err(status) = acquire(&control, holder, 0).await {
            tracing::debug!(status = status.message(), "the lease was not given back; it runs out");
        }
    });
}

/// Takes, renews or, with a `ttl` of 0, gives back the lease. Is it held, and by whom?
pub(crate) async fn acquire(control: &Control, holder: String, ttl_ms: u64) -> Result<(bool, Lease), Status> {
    if ttl_ms != 0 && !TTL_MS.contains(&ttl_ms) {
        let (min, max) = (TTL_MS.start(), TTL_MS.end());
        return Err(Status::invalid_argument(format!("ttl_ms: found {ttl_ms}; expected 0 or {min} to {max}")));
    }
    let now = now();
    let lease = control.machine.read(|state| state.lease().cloned()).map(|lease| control.renewals.of(&lease));
    match lease {
        Some(lease) if lease.holder == holder && ttl_ms != 0 => {
            let lease = Lease { expires_at: now + Millis(ttl_ms), ..lease };
            control.renewals.note(lease.fence, lease.expires_at);
            return Ok((true, lease));
        }
        Some(lease) if lease.holder != holder && now < lease.expires_at => return Ok((false, lease)),
        Some(lease) if lease.holder == holder => control.renewals.note(lease.fence, now),
        _ => {}
    }
    match control.submit(Kind::AcquireLease(AcquireLease { holder, ttl: Millis(ttl_ms) })).await? {
        (_, Answer::Lease { held, lease }) => {
            if held {
                control.renewals.note(lease.fence, lease.expires_at);
            }
            Ok((held, lease))
        }
        (_, answer) => Err(status::unexpected(&answer)),
    }
}
