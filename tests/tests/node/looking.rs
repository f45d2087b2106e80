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
fn logs_of_several_replicas_are_one_stream_in_the_order_of_time_from_a_moment_on() {
    let testbed = testbed(Options::default());
    let script = "i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo line $i; sleep 0.02; done; echo end; exec sleep 1000";
    testbed.deploy(&app(&shell("twins", script, "    scale: { mode: fixed, replicas: 2 }\n")), &["--wait"]);
    let lines = wait_for(
        "both to have counted",
        PATIENCE,
        || {
            let json = testbed.ctl_ok(&["logs", "app/twins", "-o", "json"]);
            let lines: Vec<serde_json::Value> =
                json.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
            (lines.iter().filter(|line| line["text"] == "end").count() == 2).then_some(lines)
        },
        || explain(&testbed, "app/twins"),
    );
    assert_eq!(lines.len(), 62, "{lines:?}");
    let times: Vec<&str> = lines.iter().filter_map(|line| line["at"].as_str()).collect();
    assert_eq!(times.len(), 62, "{lines:?}");
    // Fractions are as long as they must be, and so not in the order of their letters.
    let order = |time: &&str| {
        let (whole, fraction) = time.trim_end_matches('Z').split_once('.').unwrap_or((time.trim_end_matches('Z'), ""));
        format!("{whole}.{fraction:0<9}")
    };
    assert!(times.is_sorted_by_key(order), "{times:?}");

    let since = testbed.ctl_ok(&["logs", "app/twins", "--since", times[40], "-o", "json"]);
    assert_eq!(since.lines().count(), times.iter().filter(|time| order(time) >= order(&times[40])).count());
    let tail = testbed.ctl_ok(&["logs", "app/twins", "--tail", "3", "-o", "json"]);
    let whole = testbed.ctl_ok(&["logs", "app/twins", "-o", "json"]);
    assert_eq!(tail.lines().collect::<Vec<_>>(), whole.lines().skip(59).collect::<Vec<_>>());
}

#[test]
fn a_shell_on_a_terminal_has_its_size_and_its_exit_code() {
    let testbed = testbed(Options::default());
    testbed.deploy(&app(&shell("box", "exec sleep 1000", "")), &["--wait"]);
    // `script` gives the command a terminal; what is typed comes through its own input.
    let mut command = std::process::Command::new("script");
    let ctl = testbed.ctl_command(&["exec", "-it", "app/box/0", "--", "/bin/sh"]);
    let words: Vec<String> = std::iter::once(ctl.get_program())
        .chain(ctl.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let line = format!("stty rows 33 cols 99; exec {}", words.join(" "));
    let output = orlop_testbed::run_with_input(
        command.args(["-qec", &line, "/dev/null"]),
        b"stty size; tty; exit 7\n",
        PATIENCE,
    )
    .expect("a shell that ends");
    assert_eq!(output.code, 7, "{output:?}");
    assert!(output.stdout.contains("33 99"), "{output:?}");
    assert!(output.stdout.contains("/dev/pts/"), "{output:?}");
}

#[test]
fn a_flood_of_lines_is_bounded_on_disk_and_disturbs_nothing() {
    let testbed = testbed(Options::default());
    testbed.deploy(
        &app(&(shell("flood", "yes 0123456789012345678901234567890123456789012345678901234567890123456789", "")
            + &shell("calm", "exec sleep 1000", ""))),
        &["--wait"],
    );
    // A file has at most 10 MiB, and five are kept: by the eighth, old ones must have gone.
    let newest =
        || log_files(&testbed.data()).iter().filter_map(|path| path.file_stem()?.to_str()?.parse::<u64>().ok()).max();
    wait_for(
        "the eighth file of the flood",
        PATIENCE,
        || (newest() >= Some(8)).then_some(()),
        || format!("{:?}\n{}", log_files(&testbed.data()), explain(&testbed, "app/flood")),
    );
    let bytes: u64 = log_files(&testbed.data()).iter().filter_map(|path| Some(path.metadata().ok()?.len())).sum();
    assert!(bytes < 61 << 20, "{bytes} bytes");
    wait_for_phase(&testbed, "app/calm", &["running"]);
    testbed.ctl_ok(&["stop", "app", "--force", "--wait"]);
}

/// The files below every folder `logs`.
fn log_files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let output = std::process::Command::new("find")
        .arg(folder)
        .args(["-path", "*/containerd", "-prune", "-o", "-path", "*/logs/*", "-type", "f", "-print"])
        .output()
        .expect("find runs");
    String::from_utf8_lossy(&output.stdout).lines().map(Into::into).collect()
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

#[test]
fn images_that_nothing_uses_go_and_those_in_use_stay() {
    let testbed = testbed(Options::default());
    testbed.deploy(&app(&shell("box", "exec sleep 1000", "")), &["--wait"]);
    let refused = testbed.ctl(&["image", "rm", "localhost/busybox:1"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("is used by app/box"), "{refused:?}");
    let pruned = testbed.ctl_ok(&["image", "prune"]);
    assert!(pruned.contains("localhost/hello:1") && !pruned.contains("busybox"), "{pruned}");
    assert_eq!(testbed.ctl_json(&["image", "ls"]).as_array().map(Vec::len), Some(1));
    // What runs is made of what is left.
    assert_eq!(testbed.ctl_ok(&["exec", "app/box", "--", "/bin/echo", "here"]), "here\n");
    testbed.ctl_ok(&["stop", "app", "--force", "--wait"]);
    testbed.ctl_ok(&["image", "rm", "localhost/busybox:1"]);
    assert_eq!(testbed.ctl_json(&["image", "ls"]).as_array().map(Vec::len), Some(0));
    // It can come back.
    testbed.import(&[orlop_testbed::TestImage::Busybox]);
    testbed.deploy(&app(&shell("box", "exec sleep 1000", "")), &["--wait"]);
}

#[test]
fn a_command_can_join_a_process_that_is_being_stopped() {
    let testbed = testbed(Options::default());
    let slow = shell("slow", "trap : TERM; while true; do sleep 0.1; done", "");
    testbed.deploy(&app(&slow.replace("stop_grace_period: 2s", "stop_grace_period: 60s")), &["--wait"]);
    testbed.ctl_ok(&["stop", "app"]);
    wait_for_phase(&testbed, "app/slow", &["stopping"]);
    assert_eq!(testbed.ctl_ok(&["exec", "app/slow", "--", "/bin/echo", "here"]), "here\n");
    testbed.ctl_ok(&["stop", "app", "--force", "--wait"]);
}
