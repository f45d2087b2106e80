//! Schedules by their seeds. `ORLOP_SEED=<n>` replays one and prints what happens; with `ORLOP_ROUNDS=<n>` so many are run,
//! from that seed on, or from one that is new each time.

use orlop_simulation::{Plan, Report, run};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

/// So many schedules, always the same, are part of every test run.
const ROUNDS: u64 = 1500;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// The seeds that are to be run.
fn asked_for() -> (u64, u64) {
    match (number("ORLOP_SEED"), number("ORLOP_ROUNDS")) {
        (seed, None) => (seed.unwrap_or(0), ROUNDS),
        (Some(seed), Some(rounds)) => (seed, rounds),
        (None, Some(rounds)) => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
            (now << 24, rounds)
        }
    }
}

/// What the reports of many schedules come to.
#[derive(Default)]
struct Sum {
    schedules: u64,
    seconds: u64,
    terms: (u64, u64),
    operations: u64,
    acknowledged: u64,
    updates: (u64, u64),
    plans: u64,
    faults: BTreeMap<&'static str, u64>,
    failed: Vec<String>,
}

impl Sum {
    fn add(&mut self, report: Report) {
        if let Some(violation) = &report.violation {
            eprintln!("{report}");
            self.failed.push(format!("ORLOP_SEED={}: {violation}", report.seed));
        }
        self.schedules += 1;
        self.seconds += report.milliseconds / 1000;
        self.terms = (self.terms.0 + report.terms.0, self.terms.1 + report.terms.1);
        self.operations += report.operations;
        self.acknowledged += report.acknowledged;
        self.updates = (self.updates.0 + report.updates.0, self.updates.1 + report.updates.1);
        self.plans += report.plans;
        report.faults.into_iter().for_each(|(name, count)| *self.faults.entry(name).or_default() += count);
    }

    fn tell(&self, began: Instant) {
        eprintln!(
            "{} schedules in {:.0?}: {} virtual seconds, {} terms ({} with two leaders), {} operations of clients, {} \
             acknowledged writes, {} updates of watchers ({} resumed), {} plans, faults {:?}, {} failed",
            self.schedules,
            began.elapsed(),
            self.seconds,
            self.terms.0,
            self.terms.1,
            self.operations,
            self.acknowledged,
            self.updates.0,
            self.updates.1,
            self.plans,
            self.faults,
            self.failed.len(),
        );
    }
}

#[test]
fn whatever_goes_wrong_what_must_hold_holds() {
    if let (Some(seed), None) = (number("ORLOP_SEED"), number("ORLOP_ROUNDS")) {
        let report = run(Plan { aloud: true, ..Plan::new(seed) });
        assert_eq!(report.violation, None, "{report}");
        return;
    }
    let (first, rounds) = asked_for();
    let (next, began, sum) = (AtomicU64::new(0), Instant::now(), Mutex::new(Sum::default()));
    let work = || {
        loop {
            let round = next.fetch_add(1, Ordering::Relaxed);
            if round >= rounds {
                return;
            }
            let report = run(Plan::new(first + round));
            let mut sum = sum.lock().unwrap();
            sum.add(report);
            if sum.schedules.is_multiple_of(1000) {
                sum.tell(began);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let sum = sum.into_inner().unwrap();
    sum.tell(began);
    assert!(sum.failed.is_empty(), "{} of {rounds} failed:\n{}", sum.failed.len(), sum.failed.join("\n"));
    // What nobody did was not tested.
    let done = [sum.acknowledged, sum.updates.1, sum.plans, sum.terms.0];
    assert!(rounds < 100 || (sum.faults.len() == 15 && done.iter().all(|count| *count > rounds)), "{done:?}");
}
