//! Gives the right to submit plans to one scheduler. The fence grows with every change of holder, so that what an earlier
//! holder still sends is refused.

use crate::answer::{Answer, Refusal};
use crate::command::Change;
use crate::entity::Entity;
use crate::limit::HOLDER_BYTES_MAX;
use crate::state::Lease;
use orlop_model::{Level, Millis, Subject};

/// A scheduler asks for the lease, renews it, or with a `ttl` of zero gives it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcquireLease {
    /// The scheduler's own name for itself, unique per process.
    pub holder: String,
    /// How long it is to have it, from the command's time.
    pub ttl: Millis,
}

impl AcquireLease {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        if self.holder.is_empty() || self.holder.len() > HOLDER_BYTES_MAX {
            let message =
                format!("the holder's name has {} bytes; 1 to {HOLDER_BYTES_MAX} are allowed", self.holder.len());
            return Err(Refusal::invalid("invalid_holder", message));
        }
        if self.ttl == Millis(0) {
            return Ok(give_back(change, &self.holder));
        }
        let expires_at = change.now + self.ttl;
        let lease = match change.state.lease.take() {
            Some(lease) if lease.holder == self.holder => Lease { expires_at, ..lease },
            Some(lease) if change.now < lease.expires_at => {
                change.state.lease = Some(lease.clone());
                return Ok(Answer::Lease { held: false, lease });
            }
            earlier => {
                let fence = earlier.map_or(0, |lease| lease.fence).saturating_add(1);
                change.changed.insert(Entity::Lease);
                let message = format!("scheduler {} took the lease, with fence {fence}", self.holder);
                change.tell(Level::Info, Subject::default(), "lease_taken", message);
                Lease { holder: self.holder, fence, expires_at }
            }
        };
        change.state.lease = Some(lease.clone());
        Ok(Answer::Lease { held: true, lease })
    }
}

/// The fence stays: until another takes the lease, nothing else can have been planned.
fn give_back(change: &mut Change<'_>, holder: &str) -> Answer {
    let now = change.now;
    match &mut change.state.lease {
        Some(lease) => {
            let own = lease.holder == holder;
            if own && now < lease.expires_at {
                lease.expires_at = now;
            }
            Answer::Lease { held: false, lease: lease.clone() }
        }
        None => {
            let lease = Lease { holder: holder.to_owned(), fence: 0, expires_at: now };
            Answer::Lease { held: false, lease }
        }
    }
}
