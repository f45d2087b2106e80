//! How long things wait.

use orlop_model::Millis;

/// The spans that are the same for all replicas. The defaults are what agents run with; tests make them small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timings {
    /// Before the first restart after a calm time: short, because most crashes are single ones.
    pub restart_first: Millis,
    /// Before the second restart; doubled with each further one.
    pub restart_base: Millis,
    /// The longest time before a restart.
    pub restart_max: Millis,
    /// A replica that was ready for this long has calmed down: its next failure counts as its first.
    pub calm: Millis,
    /// Before init is tried again under `on_init_failure: restart`.
    pub init_restart: Millis,
    /// Between two tries of an init step.
    pub init_pause: Millis,
    /// Before a step that failed for the lack of infrastructure (no containerd, no overlay) is tried again; doubled each
    /// time.
    pub retry_base: Millis,
    /// The longest time before such a step is tried again.
    pub retry_max: Millis,
    /// Between the first checks of a process that has not passed one; grows by half each time up to the check's interval.
    pub first_check: Millis,
    /// Between two SIGKILLs to a process that does not go.
    pub kill_again: Millis,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            restart_first: Millis(100),
            restart_base: Millis(1000),
            restart_max: Millis(60_000),
            calm: Millis(60_000),
            init_restart: Millis(1000),
            init_pause: Millis(500),
            retry_base: Millis(250),
            retry_max: Millis(10_000),
            first_check: Millis(50),
            kill_again: Millis(10_000),
        }
    }
}

impl Timings {
    /// How long to wait after so many failures in a row (1 or more). Up to a tenth is added, taken from `seed`, so that
    /// replicas that failed together do not all come back together.
    pub(crate) fn restart_delay(&self, failures: u32, seed: u64) -> Millis {
        let plain = match failures {
            0 | 1 => self.restart_first.0,
            n => doubled(self.restart_base.0, n - 2, self.restart_max.0),
        };
        Millis(plain + mix(seed ^ u64::from(failures)) % (plain / 10 + 1))
    }

    /// How long to wait before a step is tried again that failed so many times (1 or more) for the lack of
    /// infrastructure.
    pub(crate) fn retry_delay(&self, tries: u32) -> Millis {
        Millis(doubled(self.retry_base.0, tries.saturating_sub(1), self.retry_max.0))
    }
}

fn doubled(base: u64, times: u32, most: u64) -> u64 {
    base.saturating_mul(1u64.checked_shl(times).unwrap_or(u64::MAX)).min(most)
}

/// The finalizer of splitmix64: spreads a seed over all bits.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_wait_longer_each_time_up_to_the_limit() {
        let timings = Timings::default();
        let delays: Vec<u64> = (1..=9).map(|n| timings.restart_delay(n, 7).0).collect();
        for (delay, plain) in delays.iter().zip([100, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]) {
            assert!((plain..=plain + plain / 10).contains(delay), "{delay} for {plain}");
        }
        assert_eq!(timings.restart_delay(u32::MAX, 7).0 / 10_000, 6);
        assert_ne!(timings.restart_delay(5, 1), timings.restart_delay(5, 2));
    }
}
