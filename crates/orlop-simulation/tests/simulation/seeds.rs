//! Schedules by their seeds. `ORLOP_SEED=<n>` replays one and prints what happens; `ORLOP_ROUNDS=<n>` runs so many.

use orlop_simulation::{Plan, Report, run};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn whatever_goes_wrong_what_must_hold_holds() {
    let rounds = number("ORLOP_ROUNDS");
    if let (Some(seed), None) = (number("ORLOP_SEED"), rounds) {
        let report = run(Plan { aloud: true, ..Plan::new(seed) });
        assert_eq!(report.violation, None, "{report}");
        return;
    }
    let first = number("ORLOP_SEED").unwrap_or(0);
    let rounds = rounds.unwrap_or(300);
    let (next, began) = (AtomicU64::new(first), Instant::now());
    let work = || {
        let mut reports = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + rounds {
                return reports;
            }
            let report = run(Plan::new(seed));
            if report.violation.is_some() {
                eprintln!("{report}");
            }
            reports.push(report);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    let reports: Vec<Report> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    reports
        .iter()
        .flat_map(|report| &report.faults)
        .for_each(|(name, count)| *faults.entry(name).or_default() += count);
    eprintln!(
        "{} schedules in {:?}: {} virtual seconds, {} terms ({} with two leaders), {} operations, {} acknowledged writes, {} \
         updates of watchers ({} resumed), {} plans, faults {faults:?}",
        reports.len(),
        began.elapsed(),
        sum(|r| r.milliseconds) / 1000,
        sum(|r| r.terms.0),
        sum(|r| r.terms.1),
        sum(|r| r.operations),
        sum(|r| r.acknowledged),
        sum(|r| r.updates.0),
        sum(|r| r.updates.1),
        sum(|r| r.plans),
    );
    let failed: Vec<String> = reports
        .iter()
        .filter_map(|report| Some(format!("ORLOP_SEED={}: {}", report.seed, report.violation.as_ref()?)))
        .collect();
    assert!(failed.is_empty(), "{} of {rounds} failed:\n{}", failed.len(), failed.join("\n"));
}
