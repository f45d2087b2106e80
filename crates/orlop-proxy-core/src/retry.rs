//! Whether a failed request may be tried again, on another backend.

use crate::Moment;

/// How far a request got before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing of it left: no connection, or the connection was closed before the first byte.
    NotSent,
    /// Some of it may have arrived, and nothing of a response came back.
    Sent,
}

/// What decides whether doing a request twice is as good as once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Its method says that it may be repeated (GET, HEAD, OPTIONS, TRACE, PUT, DELETE).
    pub idempotent: bool,
    /// It has a body, which is gone once a part of it was sent.
    pub has_body: bool,
}

impl Request {
    /// May it be tried again after this? Whether the budget allows it is another question.
    pub fn may_retry(self, progress: Progress) -> bool {
        match progress {
            Progress::NotSent => true,
            Progress::Sent => self.idempotent && !self.has_body,
        }
    }
}

/// How many retries a second are always allowed.
const ALWAYS_PER_SECOND: f64 = 20.0;
/// How many retries each request allows.
const PER_REQUEST: f64 = 0.2;
/// How many can be saved up.
const SAVED_MAX: f64 = 200.0;

/// Keeps retries a fraction of all requests, so that they never multiply the load on what is already failing.
#[derive(Debug, Clone)]
pub struct Budget {
    saved: f64,
    at: Moment,
}

impl Budget {
    /// A full budget.
    pub fn new(now: Moment) -> Self {
        Self { saved: SAVED_MAX, at: now }
    }

    fn pass_time(&mut self, now: Moment) {
        self.saved += now.since(self.at) as f64 / 1e6 * ALWAYS_PER_SECOND;
        self.saved = self.saved.min(SAVED_MAX);
        self.at = self.at.max(now);
    }

    /// A request came.
    pub fn deposit(&mut self) {
        self.saved = (self.saved + PER_REQUEST).min(SAVED_MAX);
    }

    /// Takes one retry, when there is one.
    pub fn withdraw(&mut self, now: Moment) -> bool {
        self.pass_time(now);
        let allowed = self.saved >= 1.0;
        if allowed {
            self.saved -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_have_been_done_or_may_be_done_twice_is_tried_again() {
        for (idempotent, has_body, sent_too) in
            [(true, false, true), (true, true, false), (false, false, false), (false, true, false)]
        {
            let request = Request { idempotent, has_body };
            assert!(request.may_retry(Progress::NotSent));
            assert_eq!(request.may_retry(Progress::Sent), sent_too, "{request:?}");
        }
    }

    #[test]
    fn retries_stay_a_fraction_of_the_requests() {
        let mut budget = Budget::new(Moment(0));
        let mut retries = 0;
        // A hundred seconds at a thousand requests each, every one of which would like a retry.
        for n in 0..100_000_u64 {
            budget.deposit();
            retries += u32::from(budget.withdraw(Moment(n * 1_000)));
        }
        assert!((21_000..=23_000).contains(&retries), "{retries}");
    }
}
