//! `orlopctl`, the binary, against a real control plane and scheduler.

mod node;
mod pager;
mod printing;
mod racing;
mod terminal;
mod trust;
mod world;

use serde_json::Value;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_lives_from_deploy_to_stop() {
    let world = World::whole().await;
    let file = world.spec(&[("api", "good", 2)]);
    let plan = world.ctl(&format!("plan -f {file}")).await.expect(0);
    assert!(plan.contains("Deployment shop is new.") && plan.contains("+ api"), "{plan}");
    assert!(plan.contains("start   shop/api/0 on alpha"), "{plan}");

    let deployed = world.ctl(&format!("deploy -f {file} --wait --timeout 30s")).await;
    let text = deployed.expect(0);
    assert!(deployed.out.contains("shop is at generation 1:"), "{text}");
    assert!(deployed.err.contains("shop/api: 2 of 2 ready\nshop is ready after"), "{text}");
    let again = world.ctl(&format!("deploy -f {file}")).await.expect(0);
    assert!(again.contains("shop is as the file says already (generation 1)"), "{again}");

    let status = world.ctl("status").await.expect(0);
    assert!(status.contains("shop/api  2/2    ready"), "{status}");
    assert!(status.contains("shop/api/1  running"), "{status}");
    let ps: Value = serde_json::from_str(&world.ctl("ps shop -o json").await.expect(0)).expect("json");
    assert_eq!(ps[1]["name"], "shop/api/1");
    assert_eq!(
        (&ps[1]["ready"], &ps[1]["node_name"], &ps[1]["desired"]),
        (&true.into(), &"alpha".into(), &"run".into())
    );

    let scaled = world.ctl("scale shop/api 3 --wait").await.expect(0);
    assert!(scaled.contains("shop/api: 3 replicas wanted, 2 before."), "{scaled}");
    assert!(world.ctl("node ls").await.expect(0).contains("alpha"));
    let described = world.ctl("describe shop/api").await.expect(0);
    assert!(described.contains("3 ready, 3 wanted (fixed), 3 there"), "{described}");
    assert!(world.ctl("why shop/api").await.expect(0).starts_with("shop/api is well: 3 of 3"));

    let changed = world.spec(&[("web", "good", 1)]);
    let plan = world.ctl(&format!("deploy -f {changed} --dry-run")).await.expect(0);
    assert!(plan.contains("- api") && plan.contains("+ web") && plan.contains("Nothing was done"), "{plan}");
    assert!(plan.contains("stop    shop/api/0:"), "{plan}");

    let stopped = world.ctl("stop shop --wait --timeout 30s").await.expect(0);
    assert!(stopped.contains("shop is gone after"), "{stopped}");
    assert!(world.ctl("ps").await.expect(0).contains("There are no replicas."));
    let events = world.ctl("events shop").await.expect(0);
    assert!(events.contains("shop/api"), "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_at_once_when_a_replica_failed_for_good() {
    let world = World::whole().await;
    let file = world.spec(&[("api", "broken", 1)]);
    let text = world.ctl(&format!("deploy -f {file} --wait --timeout 50s")).await.expect(8);
    assert!(
        text.contains(
            "shop/api will not become ready: replica 0 failed: the image has no /nothing; see `orlopctl why shop/api`"
        ),
        "{text}"
    );
    let why = world.ctl("why shop/api").await.expect(0);
    assert!(
        why.contains("replica 0: It failed for good") && why.contains("Reason: the image has no /nothing."),
        "{why}"
    );
    assert!(world.ctl("status").await.expect(0).contains("shop/api  0/1    failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_what_crashes_again_and_again_ends_with_the_reason_and_the_last_lines() {
    let world = World::whole().await;
    let file = world.spec(&[("api", "loop", 1)]);
    let ended = world.ctl(&format!("deploy -f {file} --wait --timeout 50s")).await;
    ended.expect(8);
    let told = ended.err.split_once("why shop/api/0:\n").map(|(_, told)| told).unwrap_or_default();
    for words in [
        "  It failed ",
        ", 5 times in a row, and tries again in ",
        "  Reason: its process exited with code 1. A service's process is meant to stay",
        "the last lines of its log:\n  first\n  second\n",
        "orlopctl: shop/api will not become ready: replica 0 failed 5 times in a row: its process exited with code 1; see",
    ] {
        assert!(told.contains(words), "{words:?} is not in {}", ended.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_file_again_tries_again_what_had_failed() {
    let world = World::whole().await;
    let file = world.spec(&[("api", "broken", 1), ("web", "good", 1)]);
    world.ctl(&format!("deploy -f {file} --wait --timeout 50s")).await.expect(8);
    let ids = |text: String| -> Vec<String> {
        let replicas: Value = serde_json::from_str(&text).expect("json");
        replicas.as_array().expect("a list").iter().map(|r| r["id"].as_str().expect("an id").to_owned()).collect()
    };
    let before = ids(world.ctl("ps -o json").await.expect(0));
    let plan = world.ctl(&format!("plan -f {file}")).await.expect(0);
    assert!(plan.contains("! api  unchanged, but for what had failed") && plan.contains("= web"), "{plan}");
    let again = world.ctl(&format!("deploy -f {file} --wait --timeout 50s")).await.expect(8);
    assert!(
        again.contains("shop is as the file says already (generation 1); what had failed is tried again:\n")
            && again.contains("      tried again: replica 0, failed (the image has no /nothing)\n"),
        "{again}"
    );
    let after = ids(world.ctl("ps -o json").await.expect(0));
    assert_ne!(before[0], after[0], "another replica was tried");
    assert_eq!(before[1], after[1], "what runs is not touched");
    let events = world.ctl("events shop").await.expect(0);
    assert!(events.contains("shop/api: tried again: replica 0, failed"), "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_for_ever_ends_when_nobody_reads_it_any_more() {
    let world = World::whole().await;
    let file = world.spec(&[("api", "good", 1)]);
    world.ctl(&format!("deploy -f {file} --wait")).await.expect(0);
    for line in ["logs -f shop/api", "events -w", "status -w", "ps -w -o json"] {
        let mut child = world.command(line).stdout(Stdio::piped()).spawn().expect("orlopctl starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        lines.next_line().await.expect("a pipe").expect("a line");
        drop(lines);
        // Nothing more happens that could be printed, so only the closed pipe can end it.
        let ended = tokio::time::timeout(Duration::from_secs(20), child.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("{line} goes on")).expect("it ran");
        assert_eq!(status.code(), Some(0), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_removed_unless_a_service_uses_them() {
    let world = World::whole().await;
    let file = world.spec(&[("api", "good", 1)]);
    world.ctl(&format!("deploy -f {file} --wait")).await.expect(0);
    let refused = world.ctl("image rm registry.example/good:1").await.expect(1);
    assert!(refused.contains("registry.example/good:1 is used by shop/api; stop that first"), "{refused}");
    let missed = world.ctl("image rm registry.example/other:1").await.expect(4);
    assert!(missed.contains("no node has the image registry.example/other:1"), "{missed}");
    assert!(world.ctl("image prune").await.expect(0).contains("Every image is in use: nothing was removed."));
    world.ctl("stop shop --wait").await.expect(0);
    for line in ["image rm registry.example/good:1 --node alpha", "image prune"] {
        let removed = world.ctl(line).await.expect(0);
        assert!(removed.starts_with("Removed:\n") && removed.contains("registry.example/good:1"), "{removed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_in_vain_says_what_is_missing() {
    let world = World::whole().await;
    let file = world.spec(&[("api", "crash", 1)]);
    let text = world.ctl(&format!("deploy -f {file} --wait --timeout 2s")).await.expect(6);
    assert!(text.contains("shop is not ready after 2s"), "{text}");
    assert!(text.contains("shop/api: 0 of 1 ready (replica 0 backing-off: its process exited with code 1)"), "{text}");
    let why = world.ctl("why shop/api/0").await.expect(0);
    assert!(why.contains("tries again in") && why.contains("started again 3 times"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_are_kept() {
    let world = World::control_only().await;
    let file = world.spec(&[("api", "good", 1)]);
    let bad = world.file("bad.yaml", "version: v1\ndeployment: shop\nservices: { api: { imag: {} } }\n");
    world.ctl("no-such-command").await.expect(2);
    world.ctl("scale shop/api many").await.expect(2);
    world.ctl("deploy -f x.yaml --timeout 3s").await.expect(2);
    world.ctl("--address http://192.0.2.1:1 status").await.expect(2);
    let invalid = world.ctl(&format!("deploy -f {bad}")).await.expect(3);
    assert!(invalid.starts_with(&format!("{bad}:3:")), "{invalid}");
    let listed = world.ctl(&format!("validate -f {bad} -o json")).await;
    assert_eq!((listed.code, listed.err.as_str()), (3, ""));
    let listed: Value = serde_json::from_str(&listed.out).expect("json");
    assert_eq!((&listed["valid"], &listed["problems"][0]["line"]), (&false.into(), &3.into()));
    let missed = world.ctl("deploy -f /nowhere/shop.yaml").await.expect(4);
    assert!(missed.contains("/nowhere/shop.yaml"), "{missed}");
    world.ctl(&format!("deploy -f {file} --expect-generation 3")).await.expect(7);
    world.ctl(&format!("deploy -f {file} --expect-generation 0")).await.expect(0);
    let missed = world.ctl("scale shop/ap 2").await.expect(4);
    assert!(missed.contains("did you mean shop/api?"), "{missed}");
    let missed = world.ctl("logs shop/ap").await.code;
    assert!([1, 4].contains(&missed), "{missed}");
    let nobody = world.ctl("--address unix:/nowhere/control.sock status").await.expect(5);
    assert!(nobody.contains("orlopctl dev"), "{nobody}");
    world.ctl("help exit-codes").await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_scheduler_or_nodes_says_so() {
    let world = World::control_only().await;
    let empty = world.ctl("status").await.expect(0);
    assert!(empty.contains("No scheduler is at work") && empty.contains("Nothing is deployed."), "{empty}");
    assert!(world.ctl("node ls").await.expect(0).contains("No node has joined"));
    let file = world.spec(&[("api", "good", 1)]);
    world.ctl(&format!("deploy -f {file}")).await.expect(0);
    assert!(world.ctl("why shop/api").await.expect(0).contains("No scheduler is at work"));
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_commands_go_through_to_the_node() {
    let world = World::whole().await;
    let file = world.spec(&[("api", "good", 1)]);
    world.ctl(&format!("deploy -f {file} --wait")).await.expect(0);

    assert_eq!(world.ctl("logs shop/api").await.expect(0), "0 | first\n0 | second\n");
    let stamped = world.ctl("logs shop/api/0 --timestamps --tail 5 --since 5m").await.expect(0);
    assert!(stamped.starts_with("1970-01-01T00:00:01.000000001Z 0 | first\n"), "{stamped}");
    let json = world.ctl("logs shop/api --replica 0 -o json").await.expect(0);
    let line: Value = serde_json::from_str(json.lines().nth(1).expect("two lines")).expect("json");
    assert_eq!((&line["stream"], &line["text"]), (&"stderr".into(), &"second".into()));

    let mut follow = world.command("logs -f shop/api").stdout(Stdio::piped()).spawn().expect("orlopctl starts");
    let mut lines = BufReader::new(follow.stdout.take().expect("piped")).lines();
    for expected in ["0 | first", "0 | second", "0 | later"] {
        let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await.expect("in time");
        assert_eq!(line.expect("readable").as_deref(), Some(expected));
    }
    drop(follow);

    assert_eq!(world.ctl_with("exec -i shop/api -- cat", "some input").await.expect(0), "some input");
    let much = "0123456789abcdef".repeat(256 * 1024);
    let echoed = world.ctl_with("exec -i shop/api -- echo", &much).await;
    assert!(echoed.code == 0 && echoed.out == much, "{} of {} bytes came back", echoed.out.len(), much.len());
    // Without -i the command's input ends at once.
    assert_eq!(world.ctl_with("exec shop/api/0 -- cat", "some input").await.expect(0), "");
    let left = world.ctl("exec shop/api/0 -- exit 42").await;
    assert_eq!((left.code, left.err.as_str()), (42, "leaving\n"));
    let none = world.ctl("exec shop/api/0 -- nothing").await.expect(127);
    assert!(none.contains("there is no nothing in the container"), "{none}");
    world.ctl("exec shop/api/9 -- cat").await.expect(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_packed_sent_and_listed() {
    let world = World::whole().await;
    let program = world.file("program", "#!/bin/true\n");
    let archive = world.folder.path().join("image.tar").display().to_string();
    let packed = world
        .ctl(&format!(
            "image pack --name localhost/p:1 --file {program}:/program:755 --entrypoint /program --out {archive}"
        ))
        .await
        .expect(0);
    assert!(packed.contains("localhost/p:1 (sha256:"), "{packed}");
    let size = std::fs::metadata(&archive).expect("the archive is there").len();
    let sent = world.ctl(&format!("image import {archive} --name localhost/p:1 -o json")).await.expect(0);
    let sent: Value = serde_json::from_str(&sent).expect("json");
    assert_eq!((&sent[0]["name"], &sent[0]["size"]), (&"localhost/p:1".into(), &size.into()));
    let listed = world.ctl("image ls").await.expect(0);
    assert!(listed.contains("registry.example/good:1  sha256:abababababab  3Mi   alpha"), "{listed}");
    world.ctl("image import /nowhere.tar").await.expect(4);
    world.ctl(&format!("image import {archive} --node beta")).await.expect(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_watched_is_shown_as_it_changes() {
    let world = World::whole().await;
    let mut events = world.command("events -w -o json").stdout(Stdio::piped()).spawn().expect("orlopctl starts");
    let mut status = world.command("ps -w -o json").stdout(Stdio::piped()).spawn().expect("orlopctl starts");
    let mut events_seen = BufReader::new(events.stdout.take().expect("piped")).lines();
    let mut status_seen = BufReader::new(status.stdout.take().expect("piped")).lines();
    let file = world.spec(&[("api", "good", 1)]);
    // The first picture is there, so the watch is under way.
    let first = tokio::time::timeout(Duration::from_secs(20), status_seen.next_line()).await.expect("in time");
    assert_eq!(first.expect("readable").as_deref(), Some("[]"));
    world.ctl(&format!("deploy -f {file} --wait")).await.expect(0);
    let ready = async {
        loop {
            let line = status_seen.next_line().await.expect("readable").expect("the watch goes on");
            if line.contains("\"ready\":true") {
                return line;
            }
        }
    };
    let line = tokio::time::timeout(Duration::from_secs(20), ready).await.expect("in time");
    assert!(line.contains("\"name\":\"shop/api/0\""), "{line}");
    let about = async {
        loop {
            let line = events_seen.next_line().await.expect("readable").expect("the watch goes on");
            if line.contains("\"service\":\"api\"") {
                return line;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), about).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_outlives_a_restart_of_the_control_plane() {
    let mut world = World::control_only().await;
    let file = world.spec(&[("api", "good", 1)]);
    let mut watching = world.command("status -w -o json").stdout(Stdio::piped()).spawn().expect("orlopctl starts");
    let mut seen = BufReader::new(watching.stdout.take().expect("piped")).lines();
    let first = tokio::time::timeout(Duration::from_secs(20), seen.next_line()).await.expect("in time");
    let first = first.expect("readable").expect("a picture");
    assert!(first.contains("\"services\":[]"), "{first}");
    world.stop().await;
    world.ctl("status").await.expect(5);
    world.serve().await;
    world.ctl(&format!("deploy -f {file}")).await.expect(0);
    let next = tokio::time::timeout(Duration::from_secs(20), seen.next_line()).await.expect("in time");
    let next = next.expect("readable").expect("a picture");
    assert!(next.contains("\"name\":\"shop/api\""), "{next}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_nobody_reads_is_no_failure() {
    let world = World::control_only().await;
    let mut child = world.command("help").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    let ended = child.wait_with_output().await.expect("it ends");
    assert_eq!((ended.status.code(), ended.stderr), (Some(0), Vec::new()));
}
