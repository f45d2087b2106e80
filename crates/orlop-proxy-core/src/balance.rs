//! Which backend gets the next request.
//!
//! Two backends are drawn at random and the better one is taken: nearly as good as knowing the best of all, and no two
//! proxies ever run after the same one. Better is who has fewer requests under way, unless one of the two is clearly
//! slower. Slow is a moving average that rises faster than it falls and fades over seconds, so that one pause of a
//! backend moves little and a slow one is soon left alone; a failure counts as a very slow answer, and now and then
//! slowness is overlooked, to find out whether it is over. A backend that only fails is left out for a time that doubles,
//! but when all are left out, none is.

use crate::Moment;

/// Over this time a measured latency loses two thirds of its weight, in microseconds.
const FADING: f64 = 10_000_000.0;
/// What a failure counts as, in microseconds.
const FAILURE_PENALTY: f64 = 1_000_000.0;
/// Latencies below this do not differ in a way that matters, in microseconds.
const FLOOR: f64 = 1_000.0;
/// How many times slower is clearly slower.
const CLEARLY: f64 = 3.0;
/// How much a sample above the average counts, and one below it.
const WEIGHT: (f64, f64) = (0.3, 0.15);
/// One choice in so many overlooks who is slower.
const OVERLOOKED: u64 = 16;
/// So many failures without a success between them leave a backend out.
const STREAK: u32 = 5;
/// The first time it is left out, in microseconds; doubles each time.
const EJECTION: u64 = 1_000_000;
/// The longest time a backend is left out, in microseconds.
const EJECTION_MAX: u64 = 60_000_000;

/// What is known of one backend's load and health.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gauge {
    outstanding: u32,
    /// Average latency in microseconds, and when it was measured; `None` before the first answer.
    latency: Option<(f64, Moment)>,
    streak: u32,
    ejections: u32,
    ejected_until: Moment,
}

/// How a request ended, as far as it tells about the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The response's head came after so many microseconds.
    Answered(u64),
    /// It could not be reached, or broke off, or was too slow.
    Failed,
    /// It tells nothing: the client went away.
    Unknown,
}

impl Gauge {
    /// A request goes to it.
    pub fn begin(&mut self) {
        self.outstanding = self.outstanding.saturating_add(1);
    }

    /// What a request under way tells, before it has ended.
    pub fn learn(&mut self, ended: Ended, now: Moment) {
        let sample = match ended {
            Ended::Unknown => return,
            Ended::Answered(micros) => {
                self.streak = 0;
                self.ejections = 0;
                micros as f64
            }
            Ended::Failed => {
                self.streak = self.streak.saturating_add(1);
                if self.streak >= STREAK && now >= self.ejected_until {
                    let time = EJECTION.saturating_mul(1 << self.ejections.min(10)).min(EJECTION_MAX);
                    self.ejected_until = now.plus(time);
                    self.ejections += 1;
                    // The first failure after the time is enough for the next time.
                    self.streak = STREAK - 1;
                }
                FAILURE_PENALTY
            }
        };
        let average = match self.latency(now) {
            None => sample,
            Some(average) if sample > average => average + (sample - average) * WEIGHT.0,
            Some(average) => average + (sample - average) * WEIGHT.1,
        };
        self.latency = Some((average, now));
    }

    /// A request that [began](Gauge::begin) is over.
    pub fn end(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    /// How many requests are under way.
    pub fn outstanding(&self) -> u32 {
        self.outstanding
    }

    /// Is it left out because it only failed?
    pub fn is_ejected(&self, now: Moment) -> bool {
        now < self.ejected_until
    }

    fn latency(&self, now: Moment) -> Option<f64> {
        self.latency.map(|(stored, at)| stored * fading(now.since(at)))
    }

    /// Less is better; equal when the two are alike.
    fn compare(&self, other: &Gauge, overlook: bool, now: Moment) -> std::cmp::Ordering {
        if let (false, Some(mine), Some(theirs)) = (overlook, self.latency(now), other.latency(now)) {
            let (mine, theirs) = (mine.max(FLOOR), theirs.max(FLOOR));
            if mine > theirs * CLEARLY || theirs > mine * CLEARLY {
                let cost = |latency: f64, gauge: &Gauge| latency * f64::from(gauge.outstanding + 1);
                return cost(mine, self).total_cmp(&cost(theirs, other));
            }
        }
        self.outstanding.cmp(&other.outstanding)
    }
}

fn fading(micros: u64) -> f64 {
    (-(micros as f64) / FADING).exp()
}

/// Picks a backend for a request among `count`, leaving out those that were `tried` for it. `gauge` tells what is known
/// of one; `random` is any number, a new one each time. `None` when all were tried.
pub fn pick(count: usize, gauge: impl Fn(usize) -> Gauge, tried: &[usize], random: u64, now: Moment) -> Option<usize> {
    let untried = || (0..count).filter(|i| !tried.contains(i));
    // What is known of a backend may change while this looks, so each is asked once.
    let mut candidates: Vec<usize> = untried().filter(|i| !gauge(*i).is_ejected(now)).collect();
    if candidates.is_empty() {
        candidates = untried().collect();
    }
    let count = candidates.len() as u64;
    if count <= 1 {
        return candidates.first().copied();
    }
    let first = random % count;
    let second = (first + 1 + (random >> 24) % (count - 1)) % count;
    let (first, second) = (candidates[first as usize], candidates[second as usize]);
    let overlook = (random >> 48).is_multiple_of(OVERLOOKED);
    Some(if gauge(second).compare(&gauge(first), overlook, now).is_lt() { second } else { first })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A generator for tests (splitmix64).
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }
    }

    /// Sends `count` requests at a steady pace to backends with the given latencies (microseconds; `None` fails), and
    /// answers how many each got.
    fn run(latencies: &[Option<u64>], count: u64, pace: u64) -> (Vec<u64>, u64) {
        run_with(latencies.len(), |i, _| latencies[i], count, pace)
    }

    /// The same; `latency` tells how long a backend takes for a request.
    fn run_with(
        backends: usize,
        latency: impl Fn(usize, u64) -> Option<u64>,
        count: u64,
        pace: u64,
    ) -> (Vec<u64>, u64) {
        let mut gauges = vec![Gauge::default(); backends];
        let (mut got, mut failed, mut dice) = (vec![0; backends], 0, Dice(7));
        let mut under_way: std::collections::BTreeSet<(Moment, u64, usize)> = Default::default();
        for n in 0..count {
            let now = Moment(n * pace);
            while let Some((end, id, i)) = under_way.first().copied().filter(|(end, ..)| *end <= now) {
                under_way.remove(&(end, id, i));
                gauges[i].learn(Ended::Answered(latency(i, id).unwrap()), end);
                gauges[i].end();
            }
            let mut tried = Vec::new();
            while let Some(i) = pick(gauges.len(), |i| gauges[i], &tried, dice.roll(), now) {
                got[i] += 1;
                gauges[i].begin();
                match latency(i, n) {
                    Some(latency) => {
                        under_way.insert((now.plus(latency), n, i));
                        break;
                    }
                    None => {
                        gauges[i].learn(Ended::Failed, now);
                        gauges[i].end();
                        tried.push(i);
                        failed += 1;
                    }
                }
            }
        }
        (got, failed)
    }

    #[test]
    fn alike_backends_get_alike_shares() {
        for backends in [2, 3, 10] {
            let (got, _) = run(&vec![Some(2_000); backends], 30_000, 500);
            let fair = 30_000 / backends as u64;
            assert!(got.iter().all(|n| n.abs_diff(fair) < fair / 10), "{got:?}");
        }
    }

    #[test]
    fn noise_in_fast_answers_does_not_tilt_the_shares() {
        let (got, _) = run(&[Some(100), Some(900)], 10_000, 2_000);
        assert!(got.iter().all(|n| n.abs_diff(5_000) < 500), "{got:?}");
    }

    #[test]
    fn one_pause_of_a_backend_does_not_keep_requests_from_it() {
        // Every second or so one request meets a pause.
        let (got, _) = run_with(2, |_, n| Some(if n.is_multiple_of(1_999) { 60_000 } else { 1_500 }), 60_000, 500);
        assert!(got.iter().all(|n| n.abs_diff(30_000) < 6_000), "{got:?}");
    }

    #[test]
    fn a_backend_that_was_slow_is_found_to_be_well_again() {
        let (got, _) = run_with(2, |i, n| Some(if i == 1 && n < 10_000 { 100_000 } else { 1_500 }), 40_000, 500);
        assert!(got[1] > 11_000, "{got:?}");
    }

    #[test]
    fn a_slow_backend_gets_little() {
        let (got, _) = run(&[Some(2_000), Some(2_000), Some(200_000)], 30_000, 500);
        assert!(got[2] < 2_000, "{got:?}");
        assert!(got[2] > 0, "but is not forgotten: {got:?}");
    }

    #[test]
    fn a_dead_backend_costs_few_tries_and_comes_back_when_it_lives() {
        let (got, failed) = run(&[Some(2_000), Some(2_000), None], 60_000, 500);
        assert!(failed < 40, "{failed} of {got:?}");
        let mut gauge = Gauge::default();
        let mut now = Moment(0);
        let mut times = Vec::new();
        for _ in 0..9 {
            while !gauge.is_ejected(now) {
                gauge.learn(Ended::Failed, now);
            }
            times.push(gauge.ejected_until.since(now) / 1_000_000);
            now = gauge.ejected_until;
        }
        assert_eq!(times, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        gauge.learn(Ended::Answered(500), now);
        for _ in 0..STREAK - 1 {
            gauge.learn(Ended::Failed, now);
        }
        assert!(!gauge.is_ejected(now), "a success wipes the slate");
    }

    #[test]
    fn when_all_are_left_out_none_is() {
        let mut gauges = vec![Gauge::default(); 3];
        for gauge in &mut gauges {
            (0..STREAK).for_each(|_| gauge.learn(Ended::Failed, Moment(0)));
            assert!(gauge.is_ejected(Moment(1)));
        }
        let gauge = |i: usize| gauges[i];
        assert!(pick(3, gauge, &[], 1, Moment(1)).is_some());
        assert_eq!(pick(3, gauge, &[0, 2], 1, Moment(1)), Some(1));
        assert_eq!(pick(3, gauge, &[0, 1, 2], 1, Moment(1)), None, "never the same one twice");
        assert_eq!(pick(0, gauge, &[], 1, Moment(1)), None);
    }
}
