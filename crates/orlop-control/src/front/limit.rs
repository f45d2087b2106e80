//! How much one caller may ask: a rate with a burst, for each caller by itself (the generic cell rate algorithm, in the
//! crate governor).
//!
//! Members and this machine's administrator are not held to it; nodes have much to say, operators and strangers less. A call
//! that a member passes on was counted where it came in.

use super::connection::Peer;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use orlop_identity::Caller;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// After so many calls, callers that have been quiet for long are forgotten.
const FORGET_EVERY: u32 = 10_000;

/// The limits of one member.
pub(crate) struct Limits {
    people: DefaultKeyedRateLimiter<String>,
    programs: DefaultKeyedRateLimiter<String>,
    strangers: DefaultKeyedRateLimiter<String>,
    taken: AtomicU32,
    clock: DefaultClock,
}

/// A caller asked too much; it may try again after the time given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany {
    pub(crate) retry_after: Duration,
}

impl Limits {
    /// `per_second` is for operators, each of them; programs have ten times that, and strangers a tenth, by address. A
    /// burst is twice what a second gives.
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        let limiter = |rate: u32| {
            let rate = NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN);
            RateLimiter::keyed(Quota::per_second(rate).allow_burst(rate.saturating_mul(BURST)))
        };
        Self {
            people: limiter(per_second.get()),
            programs: limiter(per_second.get().saturating_mul(10)),
            strangers: limiter(per_second.get() / 10),
            taken: AtomicU32::new(0),
            clock: DefaultClock::default(),
        }
    }

    /// Takes one call of a caller's allowance.
    pub(crate) fn take(&self, caller: &Caller, peer: &Peer) -> Result<(), TooMany> {
        if peer.is_member() {
            return Ok(());
        }
        let (limiter, key) = match caller {
            Caller::LocalAdmin => return Ok(()),
            Caller::Certificate(_) => (&self.programs, caller.text()),
            Caller::Operator(_) => (&self.people, caller.text()),
            Caller::Anonymous => (&self.strangers, peer.place()),
        };
        if self.taken.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            for limiter in [&self.people, &self.programs, &self.strangers] {
                limiter.retain_recent();
                limiter.shrink_to_fit();
            }
        }
        limiter.check_key(&key).map_err(|until| TooMany { retry_after: until.wait_time_from(self.clock.now()) })
    }
}

const BURST: NonZeroU32 = NonZeroU32::new(2).unwrap();

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger(last: u8) -> Peer {
        Peer::Tls(std::net::SocketAddr::from(([192, 0, 2, last], 1000)), None)
    }

    #[test]
    fn one_caller_that_asks_too_much_is_told_when_to_come_back_and_others_are_not_held_up() {
        let limits = Limits::new(NonZeroU32::new(100).expect("a rate"));
        let asked = (0..40).filter(|_| limits.take(&Caller::Anonymous, &stranger(1)).is_ok()).count();
        assert!((20..30).contains(&asked), "a burst of 20, and what came in meanwhile: {asked}");
        let TooMany { retry_after } = limits.take(&Caller::Anonymous, &stranger(1)).expect_err("too many");
        assert!(retry_after > Duration::ZERO && retry_after <= Duration::from_millis(100), "{retry_after:?}");
        assert!(limits.take(&Caller::Anonymous, &stranger(2)).is_ok());
        assert!((0..10_000).all(|_| limits.take(&Caller::LocalAdmin, &Peer::Socket).is_ok()));
    }
}
