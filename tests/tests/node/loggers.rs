//! The processes that keep what containers say.

use crate::specs::{PATIENCE, app, explain, pids, replicas, shell, testbed, wait_for_phase, wait_for_why};
use orlop_testbed::{Options, wait_for};

/// The loggers of a replica.
fn loggers(replica: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        if command.split('\0').next().is_some_and(|program| program.ends_with("orlop-logger"))
            && command.contains(replica)
        {
            found.push(pid);
        }
    }
    found
}

fn kill(logger: u32) {
    let killed = std::process::Command::new("kill").args(["-9", &logger.to_string()]).status().expect("kill runs");
    assert!(killed.success(), "{logger} is gone");
}

#[test]
fn a_logger_that_is_killed_is_replaced_and_no_line_of_a_flood_is_lost() {
    let mut testbed = testbed(Options::default());
    // Several times what a pipe holds, once somebody says so.
    let flood = "echo ready; while [ ! -e /go ]; do sleep 0.05; done; i=0; while [ $i -lt 4000 ]; do i=$((i+1)); \
                 echo line $i of a flood that goes on and on until nobody can bear to hear any more of it; done; \
                 echo now it is quiet; exec sleep 1000";
    testbed.deploy(&app(&shell("talker", flood, "")), &["--wait"]);
    let logs_with = |word: &str| {
        wait_for(
            &format!("{word:?} in the logs"),
            PATIENCE,
            || Some(testbed.ctl(&["logs", "app/talker"]).stdout).filter(|logs| logs.contains(word)),
            || explain(&testbed, "app/talker"),
        )
    };
    logs_with("ready");
    let before = pids(&testbed, "app/talker").first().cloned();
    let replica = replicas(&testbed, "app/talker")[0]["id"].as_str().expect("an id").to_owned();
    for _ in 0..2 {
        let killed = wait_for(
            "one logger",
            PATIENCE,
            || <[u32; 1]>::try_from(loggers(&replica)).ok(),
            || explain(&testbed, "app/talker"),
        );
        kill(killed[0]);
        wait_for(
            "another logger",
            PATIENCE,
            || loggers(&replica).iter().any(|logger| *logger != killed[0]).then_some(()),
            || explain(&testbed, "app/talker"),
        );
    }
    // Killed once more, and the flood comes before anybody can have noticed.
    loggers(&replica).into_iter().for_each(kill);
    testbed.ctl_ok(&["exec", "app/talker", "--", "touch", "/go"]);
    let logs = logs_with("now it is quiet");
    let lines: Vec<&str> = logs.lines().filter_map(|line| line.split(" of a flood").next()).collect();
    let numbers: Vec<u32> = lines.iter().filter_map(|line| line.rsplit_once("line ")?.1.parse().ok()).collect();
    let wrong = numbers.iter().zip(1..).find(|(found, expected)| *found != expected);
    assert_eq!((numbers.len(), wrong), (4000, None), "the number of lines, and the first that is not in its place");
    wait_for_why(&testbed, "app/talker", &["orlop-logger", "another one goes on"]);
    assert_eq!(pids(&testbed, "app/talker").first().cloned(), before, "it was not started again");

    // Killed right before the end: nothing hangs, nothing stays.
    loggers(&replica).into_iter().for_each(kill);
    wait_for_phase(&testbed, "app/talker", &["running"]);
    testbed.ctl_ok(&["stop", "app", "--wait", "--timeout", "20s"]);
    wait_for(
        "the loggers to end",
        PATIENCE,
        || loggers(&replica).is_empty().then_some(()),
        || explain(&testbed, "app/talker"),
    );
    testbed.down();
    assert_eq!(testbed.footprint().lines(), Vec::<&str>::new());
}
