//! Chance and ids that are the same each time the run is replayed.

use orlop_model::{TaskId, WorkflowRunId};
use sha2::{Digest, Sha256};

/// A stream of random numbers (splitmix64; Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The task that a command schedules.
pub(crate) fn task_of(run: WorkflowRunId, number: u32) -> TaskId {
    TaskId::from_u128(derived(run, "task", number))
}

/// The run that a command starts.
pub(crate) fn child_of(run: WorkflowRunId, number: u32) -> WorkflowRunId {
    WorkflowRunId::from_u128(derived(run, "child", number))
}

/// The run that continues a run.
pub(crate) fn continuation_of(run: WorkflowRunId) -> WorkflowRunId {
    WorkflowRunId::from_u128(derived(run, "continuation", 0))
}

fn derived(run: WorkflowRunId, kind: &str, number: u32) -> u128 {
    let mut hash = Sha256::new();
    hash.update(run.as_u128().to_be_bytes());
    hash.update(kind.as_bytes());
    hash.update(number.to_be_bytes());
    let digest = hash.finalize();
    digest.iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_that_of_the_paper() {
        let mut random = Random::new(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn ids_differ_by_run_kind_and_number() {
        let (one, two) = (WorkflowRunId::from_u128(1), WorkflowRunId::from_u128(2));
        assert_eq!(task_of(one, 1), task_of(one, 1));
        assert_ne!(task_of(one, 1), task_of(one, 2));
        assert_ne!(task_of(one, 1), task_of(two, 1));
        assert_ne!(task_of(one, 1).as_u128(), child_of(one, 1).as_u128());
        assert_ne!(continuation_of(one), continuation_of(two));
    }

    // What is in journals must stay what it is.
    #[test]
    fn ids_are_those_of_earlier_builds() {
        assert_eq!(task_of(WorkflowRunId::from_u128(1), 1).to_string(), "task_f0f8aff5c138fab7c9a90869e5f948dc");
    }
}
