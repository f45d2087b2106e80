//! What workflows can do, and what people can do with them.

use crate::world::World;
use serde_json::json;

#[test]
fn signals_wait_in_their_order_also_for_a_worker_that_is_not_there_yet() {
    let mut world = World::new();
    let run = world.begin("test.collect", "null");
    let shown = world.json(&["workflow", "show", &run]);
    assert_eq!(shown["reason"], "no worker that is connected has the workflow test.collect");
    for (word, id) in [("one", "a"), ("two", "b"), ("two", "b")] {
        let input = format!("{word:?}");
        let (code, _, error) = world.ctl(&["workflow", "signal", &run, "word", "--input", &input, "--id", id]);
        assert_eq!(code, 0, "{error}");
    }
    world.start_worker(&[]);
    let waiting = world.wait_for_state("workflow", &run, "waiting");
    assert_eq!(waiting["reason"], "waits for signal word");
    world.ctl(&["workflow", "signal", &run, "word", "--input", r#""three""#]);
    assert_eq!(world.result("workflow", &run), json!(["one", "two", "three"]));
    let (code, _, error) = world.ctl(&["workflow", "signal", &run, "word"]);
    assert_eq!((code, error.contains("is over")), (1, true), "{error}");
}

#[test]
fn a_key_finds_the_run_that_is_open_and_begins_one_when_none_is() {
    let world = World::with_worker();
    let start = || world.json(&["workflow", "start", "test.collect", "--key", "k"]);
    let first = start();
    assert_eq!(first["found"], false);
    let second = start();
    assert_eq!((&second["run"], &second["found"]), (&first["run"], &json!(true)));
    let run = first["run"].as_str().expect("an id");
    world.ctl(&["workflow", "cancel", run]);
    world.wait_for_state("workflow", run, "cancelled");
    let third = start();
    assert_eq!(third["found"], false);
    assert_ne!(third["run"], first["run"]);
}

#[test]
fn cancelling_reaches_the_function_at_the_end_of_the_tree() {
    let world = World::with_worker();
    let run = world.begin("test.tree", "2");
    world.wait_for_lines("endless begins", 1);
    assert_eq!(world.json(&["workflow", "ls"]).as_array().map(Vec::len), Some(3));
    world.ctl(&["workflow", "cancel", &run, "--reason", "enough"]);
    world.wait_for_lines("endless was cancelled", 1);
    world.wait_for_state("workflow", &run, "cancelled");
    for row in world.json(&["workflow", "ls"]).as_array().expect("a list") {
        let id = row["run"].as_str().expect("an id");
        world.wait_for_state("workflow", id, "cancelled");
        assert!(id == run || row["root"] == run.as_str(), "{row:#}");
    }
    let (code, out, _) = world.ctl(&["workflow", "cancel", &run]);
    assert_eq!((code, out.contains("was over already")), (0, true));
}

#[test]
fn what_a_workflow_did_is_undone_also_when_it_is_cancelled() {
    let world = World::with_worker();
    let run = world.begin("test.refund", "null");
    world.wait_for_state("workflow", &run, "waiting");
    world.ctl(&["workflow", "cancel", &run]);
    world.wait_for_state("workflow", &run, "cancelled");
    assert_eq!(world.ledger().iter().filter(|line| *line == "paid back").count(), 1);
}

#[test]
fn changed_code_blocks_the_run_names_both_sides_and_goes_on_with_code_that_fits() {
    let mut world = World::with_worker();
    let run = world.begin("test.changed", "null");
    world.wait_for_state("workflow", &run, "waiting");
    world.kill_worker();
    world.start_worker(&["--variant", "second"]);
    world.ctl(&["workflow", "signal", &run, "go"]);
    let blocked = world.wait_for_state("workflow", &run, "blocked");
    let reason = blocked["reason"].as_str().expect("a reason");
    for part in ["the first way", "the second way", "engine_worker.rs:"] {
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!(world.begin("test.changed", "null").len(), run.len(), "others begin");
    world.kill_worker();
    world.start_worker(&[]);
    world.ctl(&["workflow", "retry", &run]);
    assert_eq!(world.result("workflow", &run), json!("first"));
}

#[test]
fn calls_go_out_together_and_their_results_come_together() {
    let world = World::with_worker();
    let run = world.begin("test.many", "100");
    assert_eq!(world.result("workflow", &run), json!(9900));
}

#[test]
fn what_is_not_there_is_said() {
    let world = World::new();
    let nobody = "wfr_00000000000000000000000000000001";
    for arguments in [["workflow", "show"], ["workflow", "cancel"], ["workflow", "wait"]] {
        let (code, _, error) = world.ctl(&[arguments[0], arguments[1], nobody]);
        assert_eq!((code, error.contains("there is no wfr_")), (4, true), "{arguments:?}: {error}");
    }
    let (code, _, error) = world.ctl(&["workflow", "start", "x", "--input", "{"]);
    assert_eq!((code, error.contains("--input is no JSON")), (2, true), "{error}");
}
