//! Tasks by themselves.

use crate::world::World;
use serde_json::json;

#[test]
fn a_task_is_tried_again_until_it_succeeds_or_may_no_more() {
    let world = World::with_worker();
    let submit = |input: &str, attempts: &str| {
        let submitted = world.json(&["task", "submit", "test.stumble", "--input", input, "--attempts", attempts]);
        submitted["task"].as_str().expect("an id").to_owned()
    };
    let succeeds = submit("1", "3");
    let fails = submit("5", "2");
    assert_eq!(world.result("task", &succeeds), json!(2));
    let failed = world.wait_for_state("task", &fails, "failed");
    assert_eq!(
        (&failed["attempt"], &failed["last_failure"]["message"]),
        (&json!(2), &json!("stumbled over attempt 2"))
    );
    let (code, _, error) = world.ctl(&["task", "wait", &fails]);
    assert_eq!((code, error.contains("stumbled over attempt 2")), (1, true), "{error}");
    let listed = world.json(&["task", "ls", "--status", "failed"]);
    assert_eq!(listed[0]["task"], fails.as_str());
}

#[test]
fn why_a_task_does_not_run_is_said() {
    let world = World::with_worker();
    let reason = |arguments: &[&str]| {
        let task = world.json(&[&["task", "submit"], arguments].concat())["task"].as_str().expect("an id").to_owned();
        world.json(&["task", "show", &task])["reason"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(reason(&["test.double", "--queue", "gpu"]), "no worker takes tasks from the queue gpu");
    assert_eq!(reason(&["test.unheard"]), "no worker of the queue default has the task test.unheard");
    assert_eq!(reason(&["test.double", "--delay", "1h"]), "its time has not come");
    let queues = world.json(&["queue", "ls"]);
    let ready: Vec<_> = queues.as_array().expect("a list").iter().map(|queue| &queue["ready"]).collect();
    assert_eq!(ready, [&json!(1), &json!(1)]);
}

#[test]
fn a_task_that_nobody_has_yet_is_cancelled_at_once_and_a_running_one_is_told() {
    let mut world = World::new();
    let submit =
        |world: &World| world.json(&["task", "submit", "test.endless"])["task"].as_str().expect("an id").to_owned();
    let waiting = submit(&world);
    world.ctl(&["task", "cancel", &waiting]);
    assert_eq!(world.json(&["task", "show", &waiting])["status"], "cancelled");
    world.start_worker(&[]);
    let running = submit(&world);
    world.wait_for_lines("endless begins", 1);
    world.ctl(&["task", "cancel", &running]);
    world.wait_for_state("task", &running, "cancelled");
    assert!(world.ledger().contains(&"endless was cancelled".to_owned()));
}

#[test]
fn tasks_of_a_killed_worker_go_to_another_one() {
    let mut world = World::with_worker();
    let task = world.json(&["task", "submit", "test.endless"])["task"].as_str().expect("an id").to_owned();
    world.wait_for_lines("endless begins", 1);
    world.start_worker(&[]);
    world.kill_worker();
    world.wait_for_lines("endless begins", 2);
    assert_eq!(world.json(&["task", "show", &task])["status"], "running");
}

#[test]
fn a_task_with_the_key_of_an_open_one_is_that_one() {
    let world = World::new();
    let submit = || world.json(&["task", "submit", "test.double", "--input", "1", "--key", "k"]);
    let (first, second) = (submit(), submit());
    assert_eq!((&first["task"], &first["found"], &second["found"]), (&second["task"], &json!(false), &json!(true)));
}

#[test]
fn what_happened_is_counted_and_prometheus_can_read_it() {
    let world = World::with_worker();
    let submit = |input: &str| {
        let submitted = world.json(&["task", "submit", "test.stumble", "--input", input, "--attempts", "1"]);
        submitted["task"].as_str().expect("an id").to_owned()
    };
    let (ends_well, fails) = (submit("0"), submit("1"));
    world.wait_for_state("task", &ends_well, "completed");
    world.wait_for_state("task", &fails, "failed");
    let run = world.begin("test.many", "3");
    world.result("workflow", &run);
    world.json(&["task", "submit", "test.double", "--queue", "gpu"]);
    let metrics = world.get("/metrics");
    for line in [
        r#"orlop_tasks_submitted_total{queue="default",task="test.stumble"} 2"#,
        r#"orlop_tasks_started_total{queue="default",task="test.double"} 3"#,
        r#"orlop_tasks_completed_total{queue="default",task="test.stumble"} 1"#,
        r#"orlop_tasks_failed_total{queue="default",task="test.stumble"} 1"#,
        r#"orlop_task_e2e_latency_seconds_count{queue="default",task="test.double"} 3"#,
        r#"orlop_queue_depth{queue="gpu",state="ready"} 1"#,
        r#"orlop_workflows_started_total{workflow="test.many"} 1"#,
        r#"orlop_workflows_finished_total{workflow="test.many",status="completed"} 1"#,
        "orlop_workers 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    assert!(metrics.contains("# HELP orlop_queue_depth Open tasks of a queue."), "{metrics}");
}
