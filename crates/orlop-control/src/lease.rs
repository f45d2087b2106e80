//! The scheduler's lease: changes of holder go into the log, renewals stay in memory.
//!
//! A renewal that is forgotten with this process costs nothing but a change of holder, and the fence keeps two holders
//! apart. So a cluster at rest writes nothing.

use crate::control::{Control, now};
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
pub(crate) struct Renewals(Mutex<Option<(u64, Timestamp)>>);

impl Renewals {
    /// The lease with its latest renewal.
    pub(crate) fn of(&self, lease: &Lease) -> Lease {
        match *self.0.lock() {
            Some((fence, expires_at)) if fence == lease.fence => Lease { expires_at, ..lease.clone() },
            _ => lease.clone(),
        }
    }

    fn note(&self, fence: u64, expires_at: Timestamp) {
        *self.0.lock() = Some((fence, expires_at));
    }
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
