//! How often something is tried, and when again.

use super::{Failure, FailureCause};
use crate::Millis;

/// How often something is tried, and when again. The wait before attempt n + 1 is `backoff · growth^(n−1)`, at most
/// `backoff_max`, of which a random part is taken away so that those who failed together do not come back together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// All attempts together; none for no bound.
    pub attempts_max: Option<u32>,
    /// Before the second attempt.
    pub backoff: Millis,
    /// What it grows by with each attempt, in thousandths; at least 1000.
    pub growth_permille: u32,
    /// No wait is longer.
    pub backoff_max: Millis,
    /// So much of a wait is random, in thousandths of it; at most 1000.
    pub jitter_permille: u32,
    /// Failures of these categories are not tried again.
    pub final_categories: Vec<String>,
}

impl Default for RetryPolicy {
    /// Ten attempts, from 1 s to 5 min apart.
    fn default() -> Self {
        Self {
            attempts_max: Some(10),
            backoff: Millis::from_secs(1),
            growth_permille: 2000,
            backoff_max: Millis::from_secs(300),
            jitter_permille: 200,
            final_categories: Vec::new(),
        }
    }
}

impl RetryPolicy {
    /// One attempt.
    pub fn once() -> Self {
        Self { attempts_max: Some(1), ..Self::default() }
    }

    /// How long to wait after attempt number `attempt` (the first is 1) failed so, or none when it was the last.
    /// `chance` is a random number, any one of the 32 bits.
    pub fn wait_after(&self, attempt: u32, failure: &Failure, chance: u32) -> Option<Millis> {
        let over = failure.is_final
            || failure.cause == FailureCause::Cancelled
            || self.attempts_max.is_some_and(|max| attempt >= max)
            || (!failure.category.is_empty() && self.final_categories.contains(&failure.category));
        if over {
            return None;
        }
        let growth = f64::from(self.growth_permille.max(1000)) / 1000.0;
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let whole = (self.backoff.0 as f64 * growth.powi(exponent)).min(self.backoff_max.0 as f64);
        let random =
            whole * f64::from(self.jitter_permille.min(1000)) / 1000.0 * f64::from(chance) / f64::from(u32::MAX);
        Some(Millis((whole - random) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Failure {
        Failure::new(FailureCause::Returned, "no")
    }

    #[test]
    fn waits_grow_up_to_their_bound_and_end_with_the_last_attempt() {
        let policy = RetryPolicy { attempts_max: Some(5), backoff_max: Millis(5000), ..RetryPolicy::default() };
        let waits: Vec<_> = (1..=5).map(|attempt| policy.wait_after(attempt, &failed(), 0)).collect();
        assert_eq!(waits, [Some(Millis(1000)), Some(Millis(2000)), Some(Millis(4000)), Some(Millis(5000)), None]);
    }

    #[test]
    fn chance_takes_away_at_most_its_part() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.wait_after(1, &failed(), u32::MAX), Some(Millis(800)));
        assert_eq!(policy.wait_after(1, &failed(), u32::MAX / 2).map(|wait| wait.0 / 10), Some(90));
    }

    #[test]
    fn some_failures_are_not_tried_again() {
        let policy = RetryPolicy { final_categories: vec!["declined".into()], ..RetryPolicy::default() };
        let declined = Failure { category: "declined".into(), ..failed() };
        let other = Failure { category: "busy".into(), ..failed() };
        assert_eq!(policy.wait_after(1, &declined, 0), None);
        assert!(policy.wait_after(1, &other, 0).is_some());
        assert_eq!(policy.wait_after(1, &Failure { is_final: true, ..failed() }, 0), None);
        assert_eq!(policy.wait_after(1, &Failure::cancelled("enough"), 0), None);
    }

    #[test]
    fn no_number_is_too_large() {
        let policy = RetryPolicy { attempts_max: None, growth_permille: u32::MAX, ..RetryPolicy::default() };
        assert_eq!(policy.wait_after(u32::MAX, &failed(), 0), Some(policy.backoff_max));
    }
}
