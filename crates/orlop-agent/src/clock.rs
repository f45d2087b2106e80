//! The agent's clock: wall time when it started, carried on by the monotonic clock, so that spans are right however the
//! wall clock is set meanwhile.

use orlop_model::{Millis, Timestamp};
use std::time::{Duration, Instant, SystemTime};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    wall: Timestamp,
    began: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { wall: SystemTime::now().into(), began: Instant::now() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.wall + Millis::from(self.began.elapsed())
    }

    /// The instant at which the clock will show the time, or did.
    pub(crate) fn instant(&self, at: Timestamp) -> Instant {
        // Some days are as good as for ever for a timer, and cannot overflow.
        let span = Duration::from(at - self.wall).min(Duration::from_secs(30 * 24 * 3600));
        self.began + span
    }
}
