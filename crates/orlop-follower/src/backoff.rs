//! Waiting longer after each failure, by a random amount, so that many followers do not come back at once.

use std::time::Duration;

/// A series of delays: each at most double the one before, up to a limit, and between half and the whole of it by
/// chance. Pure: the same seed gives the same series.
#[derive(Debug, Clone)]
pub struct Backoff {
    least: Duration,
    most: Duration,
    next: Duration,
    random: u64,
}

impl Backoff {
    /// Delays from `least` (half of it, with luck) to `most`.
    pub fn new(least: Duration, most: Duration, seed: u64) -> Self {
        Self { least, most: most.max(least), next: least, random: seed }
    }

    /// How long to wait after one more failure.
    pub fn delay(&mut self) -> Duration {
        let whole = self.next;
        self.next = whole.saturating_mul(2).min(self.most);
        let half = whole / 2;
        let parts = self.random() >> 32;
        half + (whole - half).mul_f64(parts as f64 / f64::from(u32::MAX))
    }

    /// A success: the next failure waits shortly again.
    pub fn reset(&mut self) {
        self.next = self.least;
    }

    /// The generator "splitmix64": every seed gives a full period, so a seed of 0 is as good as any.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_millis(50);
    const MOST: Duration = Duration::from_secs(5);

    #[test]
    fn delays_double_up_to_the_limit_and_keep_within_half_of_it() {
        for seed in 0..200 {
            let mut backoff = Backoff::new(LEAST, MOST, seed);
            let mut whole = LEAST;
            for _ in 0..20 {
                let delay = backoff.delay();
                assert!(delay >= whole / 2 && delay <= whole, "{delay:?} of {whole:?}, seed {seed}");
                whole = (whole * 2).min(MOST);
            }
            backoff.reset();
            assert!(backoff.delay() <= LEAST);
        }
    }

    #[test]
    fn a_seed_decides_the_series_and_seeds_differ() {
        let series = |seed| {
            let mut backoff = Backoff::new(LEAST, MOST, seed);
            (0..10).map(|_| backoff.delay()).collect::<Vec<_>>()
        };
        assert_eq!(series(7), series(7));
        assert_ne!(series(7), series(8));
    }
}
