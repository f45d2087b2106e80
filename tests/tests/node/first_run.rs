//! What a stranger does first: start, deploy, look, and take it all away again.

use crate::specs::{PATIENCE, app, explain, hello, pids, replicas, testbed};
use orlop_testbed::{Layout, Options, get, wait_for};

#[test]
fn an_example_is_deployed_answers_and_leaves_nothing_behind_in_one_process() {
    from_nothing_to_nothing(Layout::OneProcess);
}

#[test]
fn an_example_is_deployed_answers_and_leaves_nothing_behind_with_a_process_per_role() {
    from_nothing_to_nothing(Layout::ProcessPerRole);
}

fn from_nothing_to_nothing(layout: Layout) {
    let mut testbed = testbed(Options { layout, ..Options::default() });
    testbed.deploy(&app(&hello("web", 2, "")), &["--wait", "--timeout", "60s"]);

    let answer = wait_for(
        "the example to answer",
        PATIENCE,
        || get(testbed.http(), "/").ok().filter(|answer| answer.status == 200),
        || explain(&testbed, "app/web"),
    );
    assert!(answer.body.to_lowercase().contains("hello"), "{answer:?}");
    assert_eq!(replicas(&testbed, "app/web").len(), 2);

    let logs = testbed.ctl_ok(&["logs", "app/web"]);
    assert!(logs.contains("GET /"), "the request is in the log: {logs}");

    testbed.ctl_ok(&["scale", "app/web", "3", "--wait"]);
    assert_eq!(replicas(&testbed, "app/web").len(), 3);
    assert_eq!(pids(&testbed, "app/web").len(), 3);

    testbed.ctl_ok(&["stop", "app", "--wait"]);
    assert_eq!(pids(&testbed, "app/web").len(), 0);
    assert_eq!(get(testbed.http(), "/").map(|answer| answer.status).ok(), Some(404));

    // A second deployment after the first is gone is a new one.
    testbed.deploy(&app(&hello("web", 1, "")), &["--wait"]);
    testbed.down();
    assert_eq!(testbed.footprint().lines(), Vec::<&str>::new());
}
