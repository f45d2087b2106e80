//! Whoever is killed: what was recorded does not run again, and what was acknowledged ends.

use crate::world::World;
use serde_json::json;
use std::collections::BTreeMap;

/// How often each step of each run began.
pub(crate) fn begun(world: &World) -> BTreeMap<String, usize> {
    let mut begun = BTreeMap::new();
    for line in world.ledger().into_iter().filter(|line| line.contains(" begins ")) {
        *begun.entry(line).or_default() += 1;
    }
    begun
}

#[test]
fn a_worker_that_is_killed_is_succeeded_and_no_recorded_step_runs_again() {
    let mut world = World::with_worker();
    let run = world.begin("test.walk", r#"{"steps": 12, "pause_ms": 40}"#);
    world.wait_for_lines("ends", 5);
    world.kill_worker();
    world.start_worker(&[]);
    assert_eq!(world.result("workflow", &run), json!(132));
    let begun = begun(&world);
    assert_eq!(begun.len(), 12);
    let again: Vec<_> = begun.iter().filter(|(_, times)| **times > 1).collect();
    assert!(again.len() <= 1 && again.iter().all(|(_, times)| **times == 2), "only the one under way: {again:?}");
}

#[test]
fn an_engine_that_is_killed_goes_on_where_it_was() {
    let mut world = World::with_worker();
    let run = world.begin("test.walk", r#"{"steps": 15, "pause_ms": 40}"#);
    for ends in [3, 7, 11] {
        world.wait_for_lines("ends", ends);
        world.kill_engine();
        world.start_engine();
    }
    assert_eq!(world.result("workflow", &run), json!(210));
    let begun = begun(&world);
    assert_eq!(begun.len(), 15);
    let extra: usize = begun.values().map(|times| times - 1).sum();
    assert!(extra <= 3, "at most the one under way at each kill: {begun:?}");
}

#[test]
fn many_runs_end_once_each_through_kills_of_engine_and_workers() {
    let mut world = World::with_worker();
    world.start_worker(&[]);
    let runs: Vec<String> = (0..40).map(|_| world.begin("test.walk", r#"{"steps": 6, "pause_ms": 15}"#)).collect();
    for round in 0..4 {
        world.wait_for_lines("ends", 40 * round + 20);
        if round % 2 == 0 {
            world.kill_engine();
            world.start_engine();
        } else {
            world.kill_worker();
            world.start_worker(&[]);
        }
    }
    for run in &runs {
        assert_eq!(world.result("workflow", run), json!(30), "{run}");
        let shown = world.json(&["workflow", "show", run]);
        let of = |what: &str| {
            let timeline = shown["timeline"].as_array().expect("a timeline");
            timeline.iter().filter(|entry| entry["what"] == what).count()
        };
        assert_eq!((of("step done"), of("finished")), (6, 1), "{shown:#}");
    }
    assert_eq!(begun(&world).len(), 40 * 6);
}

#[test]
fn an_engine_that_is_stopped_in_order_and_started_again_has_everything() {
    let mut world = World::with_worker();
    let run = world.begin("test.collect", "null");
    assert_eq!(world.ctl(&["workflow", "signal", &run, "word", "--input", r#""one""#]).0, 0);
    world.stop_engine();
    world.start_engine();
    for word in ["two", "three"] {
        assert_eq!(world.ctl(&["workflow", "signal", &run, "word", "--input", &format!("{word:?}")]).0, 0);
    }
    assert_eq!(world.result("workflow", &run), json!(["one", "two", "three"]));
}

#[test]
fn one_data_directory_has_one_engine() {
    let world = World::new();
    let mut command = std::process::Command::new(orlop_testbed::program("orlop-engine"));
    command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(world.data()).arg("serve");
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("is in use by another engine"), "{said}");
}
