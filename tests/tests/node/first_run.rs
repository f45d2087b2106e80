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

#[test]
fn a_node_in_the_background_bounds_its_log_and_shows_its_data_to_nobody_else() {
    use std::os::unix::fs::PermissionsExt;
    let testbed = orlop_testbed::Testbed::prepare(Options::default());
    let mut detach = testbed.dev_command("127.0.0.1:0");
    detach.args(["--detach", "--label", "disk=ssd", "--logs-file-size", "64Ki", "--logs-files", "2"]);
    let started = detach.output().expect("orlopctl runs");
    assert!(started.status.success(), "{started:?}");

    for role in ["agent", "overlay", "proxy", "control-plane", "containerd"] {
        let mode = std::fs::metadata(testbed.data().join(role)).expect("its data").permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{role}");
    }
    assert!(testbed.ctl_ok(&["node", "ls"]).contains("disk=ssd"));

    // What is kept of a container's log follows the flags.
    testbed.import(&[orlop_testbed::TestImage::Busybox]);
    testbed.deploy(&app(&crate::specs::shell("flood", "yes 0123456789012345678901234567890123456789", "")), &[]);
    let logs = testbed.data().join("agent/logs/app/flood/0");
    let files = || -> Vec<u64> {
        let replica = std::fs::read_dir(&logs).ok().and_then(|mut found| found.next()?.ok());
        let files = replica.into_iter().flat_map(|replica| std::fs::read_dir(replica.path()).into_iter().flatten());
        files.flatten().filter_map(|file| Some(file.metadata().ok()?.len())).collect()
    };
    wait_for("two full files", PATIENCE, || (files().len() >= 2).then_some(()), || explain(&testbed, "app/flood"));
    assert!(files().iter().sum::<u64>() < 512 << 10, "{:?}", files());
    testbed.ctl_ok(&["stop", "app", "--force", "--wait"]);

    let (log, earlier) = (testbed.run().join("dev.log"), testbed.run().join("dev.log.1"));
    let mut file = std::fs::OpenOptions::new().append(true).open(&log).expect("the log");
    std::io::Write::write_all(&mut file, &vec![b'x'; 17 << 20]).expect("a disk with room");
    wait_for("the log to be begun anew", PATIENCE, || earlier.exists().then_some(()), String::new);
    // What is said later goes to the new file.
    testbed.deploy(&app(&crate::specs::shell("calm", "exec sleep 1000", "")), &["--wait"]);
    wait_for(
        "the new log to be written to",
        PATIENCE,
        || std::fs::read_to_string(&log).ok().filter(|text| text.contains("replica")),
        String::new,
    );
    assert!(std::fs::metadata(&log).expect("the log").len() < 1 << 20);
}
