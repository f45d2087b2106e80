//! Looking at a cluster: logs, exec, events, describe, the exit codes.

use crate::specs::{PATIENCE, app, explain, pids, shell, testbed, wait_for_phase};
use orlop_testbed::{Options, Testbed, wait_for};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

#[test]
fn logs_are_followed_from_the_line_asked_for_and_kept_after_the_replica_is_gone() {
    let testbed = testbed(Options::default());
    testbed.deploy(
        &app(&shell("count", "i=0; while [ $i -lt 1000 ]; do i=$((i+1)); echo line $i; [ $i -gt 50 ] && sleep 0.05; done; exec sleep 1000", "")),
        &["--wait"],
    );
    wait_for(
        "the first lines",
        PATIENCE,
        || testbed.ctl(&["logs", "app/count"]).stdout.contains("line 50").then_some(()),
        || explain(&testbed, "app/count"),
    );
    let mut follow = testbed
        .ctl_command(&["logs", "-f", "--tail", "5", "app/count"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("orlopctl runs");
    let lines = BufReader::new(follow.stdout.take().expect("a pipe")).lines();
    let numbers: Vec<u32> = lines
        .map_while(Result::ok)
        .filter_map(|line| line.rsplit_once("line ").and_then(|(_, n)| n.trim().parse().ok()))
        .take(20)
        .collect();
    let _ = follow.kill();
    let _ = follow.wait();
    assert_eq!(numbers.len(), 20);
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "a gap or a repeat: {numbers:?}");

    testbed.ctl_ok(&["stop", "app/count", "--wait", "--force"]);
    let kept = testbed.ctl_ok(&["logs", "app/count", "--tail", "1"]);
    assert!(kept.contains("line "), "{kept}");
}

#[test]
fn a_flood_of_lines_is_bounded_on_disk_and_disturbs_nothing() {
    let testbed = testbed(Options::default());
    testbed.deploy(
        &app(&(shell("flood", "yes 0123456789012345678901234567890123456789012345678901234567890123456789", "")
            + &shell("calm", "exec sleep 1000", ""))),
        &["--wait"],
    );
    let size = || folder_size(&testbed.data());
    // Let it write more than is kept.
    let start = std::time::Instant::now();
    wait_for(
        "the flood to run for a while",
        PATIENCE,
        || (start.elapsed().as_secs() >= 4).then_some(()),
        || explain(&testbed, "app/flood"),
    );
    assert!(size() < 200 << 20, "{} bytes", size());
    wait_for_phase(&testbed, "app/calm", &["running"]);
    testbed.ctl_ok(&["stop", "app", "--force", "--wait"]);
}

fn folder_size(folder: &std::path::Path) -> u64 {
    let mut total = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if let Ok(kind) = entry.file_type() {
            if kind.is_dir() && entry.file_name() == "logs" {
                total += folder_bytes(&entry.path());
            } else if kind.is_dir() && entry.file_name() != "containerd" {
                total += folder_size(&entry.path());
            }
        }
    }
    total
}

fn folder_bytes(folder: &std::path::Path) -> u64 {
    let mut total = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => total += folder_bytes(&entry.path()),
            Ok(metadata) => total += metadata.len(),
            Err(_) => {}
        }
    }
    total
}

#[test]
fn exec_gives_output_and_the_commands_exit_code() {
    let testbed = testbed(Options::default());
    testbed.deploy(&app(&shell("box", "exec sleep 1000", "")), &["--wait"]);
    let output = testbed.ctl(&["exec", "app/box/0", "--", "/bin/sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (7, "out\n", "err\n"));

    let missing = testbed.ctl(&["exec", "app/box/0", "--", "/no/such/command"]);
    assert_eq!(missing.code, 127, "{missing:?}");

    // Standard input reaches the command, and its end does too.
    let output = testbed.ctl_with_input(&["exec", "-i", "app/box/0", "--", "/bin/cat"], b"through\n");
    assert_eq!((output.code, output.stdout.as_str()), (0, "through\n"), "{output:?}");

    // A child that stays behind and keeps the output open does not keep the command from being over.
    let output = testbed.ctl(&["exec", "app/box/0", "--", "/bin/sh", "-c", "sleep 500 & echo done"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "done\n"), "{output:?}");
}

#[test]
fn describe_why_events_and_nodes_tell_the_same_story() {
    let testbed = testbed(Options::default());
    testbed.deploy(&app(&shell("box", "exec sleep 1000", "")), &["--wait"]);
    assert_eq!(pids(&testbed, "app/box").len(), 1);
    let described = testbed.ctl_ok(&["describe", "app/box"]);
    assert!(described.contains("localhost/busybox:1"), "{described}");
    let replica = testbed.ctl_ok(&["describe", "app/box/0"]);
    assert!(replica.contains("rep_"), "{replica}");
    let why = testbed.ctl_ok(&["why", "app/box"]);
    assert!(!why.trim().is_empty());
    let events = testbed.ctl_json(&["events"]);
    assert!(events.to_string().contains("app"), "{events}");
    let nodes = testbed.ctl_ok(&["node", "ls"]);
    assert!(nodes.contains("alive"), "{nodes}");
    let images = testbed.ctl_ok(&["image", "ls"]);
    assert!(images.contains("localhost/busybox:1") && images.contains("localhost/hello:1"), "{images}");
}

#[test]
fn exit_codes_are_those_of_the_manual() {
    let testbed = testbed(Options::default());
    let code = |arguments: &[&str]| testbed.ctl(arguments).code;
    assert_eq!(code(&["status"]), 0);
    assert_eq!(code(&["no-such-command"]), 2);
    let broken = testbed.spec_file("version: v1\ndeployment: x\n");
    assert_eq!(code(&["validate", "-f", broken.to_str().expect("a plain path")]), 3);
    assert_eq!(code(&["describe", "nothing/here"]), 4);
    let nobody = Testbed::prepare(Options::default());
    assert_eq!(nobody.ctl(&["status"]).code, 5);
}
