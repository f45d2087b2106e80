//! The whole engine over a store that is a few maps: workers whose streams break, clients, a driver that commits late, and
//! engines that die at any moment. A schedule is a function of its seed: a failure names it, and it replays.
//!
//! `ORLOP_SEED=<n>` replays one and prints what happens; with `ORLOP_SEEDS=<n>` so many are run, from that seed on.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod driver;
mod machine;
mod rest;
mod said;
mod script;
mod store;
mod work;
mod worker;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use world::{Mutation, World};

/// So many schedules, always the same, are part of every test run.
const SEEDS: u64 = 2500;
/// Within so many schedules a driver that does wrong is found out.
const SEEDS_TO_FIND: u64 = 60;

/// What must hold, or what did not.
pub(crate) type Check<T = ()> = Result<T, String>;

/// Goes on only if it holds.
macro_rules! ensure {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(format!($($what)+));
        }
    };
}
pub(crate) use ensure;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn whatever_goes_wrong_what_must_hold_holds() {
    let (first, seeds) = match (number("ORLOP_SEED"), number("ORLOP_SEEDS")) {
        (Some(seed), None) => {
            let mut world = World::new(seed, Mutation::None);
            world.aloud = true;
            assert_eq!(world.live(), Ok(()), "ORLOP_SEED={seed}");
            return;
        }
        (first, seeds) => (first.unwrap_or(0), seeds.unwrap_or(SEEDS)),
    };
    let next = AtomicU64::new(first);
    let (failed, done) = (Mutex::new(Vec::new()), Mutex::new(BTreeMap::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return;
            }
            let mut world = World::new(seed, Mutation::None);
            if let Err(what) = world.live() {
                failed.lock().unwrap().push(format!("ORLOP_SEED={seed}: {what}"));
            }
            let mut done = done.lock().unwrap();
            world.done.into_iter().for_each(|(name, count)| *done.entry(name).or_insert(0) += count);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let (failed, done) = (failed.into_inner().unwrap(), done.into_inner().unwrap());
    eprintln!("{seeds} schedules: {done:?}");
    let shown: Vec<_> = failed.iter().take(20).cloned().collect();
    assert!(failed.is_empty(), "{} of {seeds} failed:\n{}", failed.len(), shown.join("\n"));
    // What nobody did was not tested.
    let rare = done.iter().find(|(_, count)| **count * 20 < seeds);
    assert!(seeds < 100 || (done.len() >= DEEDS && rare.is_none()), "{} deeds, rare: {rare:?}", done.len());
}

/// So many kinds of things happen in all schedules together.
const DEEDS: usize = 24;

/// In how many schedules it takes to find the driver out, and what shows.
fn found_out(mutation: Mutation) -> Option<(u64, String)> {
    (0..SEEDS_TO_FIND).find_map(|seed| World::new(seed, mutation).live().err().map(|what| (seed, what)))
}

#[test]
fn a_driver_that_speaks_before_it_has_written_is_found_out() {
    assert!(found_out(Mutation::SpeaksEarly).is_some());
}

#[test]
fn a_driver_that_ignores_fences_is_found_out() {
    assert!(found_out(Mutation::IgnoresFences).is_some());
}

#[test]
fn a_store_that_loses_what_it_has_committed_is_found_out() {
    assert!(found_out(Mutation::LosesCommit).is_some());
}

#[test]
fn a_driver_that_forgets_to_read_is_found_out() {
    assert!(found_out(Mutation::ForgetsReads).is_some());
}

#[test]
fn a_schedule_is_a_function_of_its_seed() {
    let told = |seed| {
        let mut world = World::new(seed, Mutation::None);
        let outcome = world.live();
        (outcome, world.done, world.store.sum())
    };
    (0..5).for_each(|seed| assert_eq!(told(seed), told(seed)));
}
