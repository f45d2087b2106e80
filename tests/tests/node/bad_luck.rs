//! Processes that are killed: what runs goes on running, nothing is lost, nothing is done twice.

use crate::specs::{PATIENCE, app, explain, hello, pids, replicas, shell, testbed, wait_for_phase};
use orlop_testbed::{Hammer, Layout, Options, Role, Testbed, wait_for};
use std::collections::BTreeMap;

fn per_role() -> Testbed {
    testbed(Options { layout: Layout::ProcessPerRole, ..Options::default() })
}

fn wait_for_answers(testbed: &Testbed, hammer: &Hammer) {
    let seen = hammer.good();
    wait_for("more answers", PATIENCE, || (hammer.good() > seen + 20).then_some(()), || explain(testbed, "app/web"));
}

#[test]
fn killing_the_agent_restarts_no_container_loses_no_line_and_fails_no_request() {
    let mut testbed = per_role();
    let count = "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo line $i; sleep 0.02; done; echo end; exec sleep 1000";
    testbed.deploy(&app(&(hello("web", 2, "") + &shell("count", count, ""))), &["--wait"]);
    // The counting shell has children that come and go; it is the oldest itself.
    let before = (pids(&testbed, "app/web"), pids(&testbed, "app/count").first().cloned());
    let hammer = Hammer::start(testbed.http(), "/");
    wait_for_answers(&testbed, &hammer);

    for _ in 0..5 {
        testbed.kill(Role::Agent);
        wait_for_answers(&testbed, &hammer);
        testbed.start_role(Role::Agent);
        wait_for_answers(&testbed, &hammer);
    }
    let logs = wait_for(
        "the end of the count",
        PATIENCE,
        || Some(testbed.ctl(&["logs", "app/count"]).stdout).filter(|logs| logs.contains("end")),
        || explain(&testbed, "app/count"),
    );
    let (good, failures) = hammer.finish();
    assert_eq!(failures, Vec::<String>::new(), "besides {good} good ones");
    let lines = logs.lines().filter(|line| line.contains("line ")).count();
    assert_eq!(lines, 400, "lines of the log");
    assert_eq!((pids(&testbed, "app/web"), pids(&testbed, "app/count").first().cloned()), before);
    assert!(replicas(&testbed, "app/web").iter().all(|replica| replica["restarts"] == 0));
}

#[test]
fn everything_but_the_containers_may_be_killed_at_once_and_comes_back_to_the_same_state() {
    let mut testbed = per_role();
    testbed.deploy(&app(&hello("web", 2, "")), &["--wait"]);
    let before = pids(&testbed, "app/web");
    let http = testbed.http();
    let hammer = Hammer::start(http, "/");
    wait_for_answers(&testbed, &hammer);

    // The control plane, the scheduler, the agent and the overlay daemon are gone: requests are served all the same.
    for role in [Role::ControlPlane, Role::Scheduler, Role::Agent, Role::Overlay] {
        testbed.kill(role);
    }
    wait_for_answers(&testbed, &hammer);
    testbed.start_all();
    wait_for_answers(&testbed, &hammer);
    let (good, failures) = hammer.finish();
    assert_eq!(failures, Vec::<String>::new(), "besides {good} good ones");

    wait_for_phase(&testbed, "app/web", &["healthy"]);
    assert_eq!(pids(&testbed, "app/web"), before);

    // And it can be changed again.
    testbed.ctl_ok(&["scale", "app/web", "3", "--wait"]);
    let after = pids(&testbed, "app/web");
    assert_eq!(after.len(), 3);
    assert!(before.iter().all(|replica| after.contains(replica)), "{before:?} {after:?}");
}

#[test]
fn the_proxy_serves_from_its_cache_when_it_starts_without_a_control_plane() {
    let mut testbed = per_role();
    testbed.deploy(&app(&hello("web", 1, "")), &["--wait"]);
    wait_for(
        "an answer",
        PATIENCE,
        || orlop_testbed::get(testbed.http(), "/").ok().filter(|a| a.status == 200),
        || explain(&testbed, "app/web"),
    );
    testbed.kill(Role::ControlPlane);
    testbed.terminate(Role::Proxy);
    std::fs::remove_file(testbed.run().join("http.address")).expect("the address file");
    testbed.start_role(Role::Proxy);
    let http = testbed.http();
    wait_for(
        "an answer without a control plane",
        PATIENCE,
        || orlop_testbed::get(http, "/").ok().filter(|answer| answer.status == 200),
        || testbed.logs_of_programs(),
    );
}

#[test]
fn a_scheduler_and_an_agent_killed_in_the_middle_of_a_deploy_leave_one_process_per_replica() {
    let mut testbed = per_role();
    for round in 0..4 {
        testbed.deploy(&app(&hello("web", 4, &format!("    env: {{ ROUND: \"{round}\" }}\n"))), &[]);
        // Wherever they are in their work just now.
        std::thread::sleep(std::time::Duration::from_millis(40 + 90 * round));
        testbed.kill(Role::Scheduler);
        testbed.kill(Role::Agent);
        testbed.start_role(Role::Agent);
        testbed.start_role(Role::Scheduler);
        wait_for(
            "four healthy replicas of the newest generation",
            PATIENCE,
            || {
                let replicas = replicas(&testbed, "app/web");
                let newest = replicas.iter().filter_map(|r| r["generation"].as_u64()).max();
                (replicas.len() == 4
                    && replicas.iter().all(|r| r["phase"] == "healthy" && r["generation"].as_u64() == newest))
                .then_some(())
            },
            || explain(&testbed, "app/web"),
        );
        assert_eq!(pids(&testbed, "app/web").len(), 4);
    }
    testbed.ctl_ok(&["stop", "app", "--wait"]);
    testbed.down();
    assert_eq!(testbed.footprint().lines(), Vec::<&str>::new());
}

#[test]
fn a_scheduler_that_is_killed_is_succeeded_before_its_lease_has_run_out() {
    let mut testbed = per_role();
    testbed.deploy(&app(&shell("box", "exec sleep 1000", "")), &["--wait"]);
    let mut took = Vec::new();
    for replicas in 2..6 {
        testbed.kill(Role::Scheduler);
        testbed.start_role(Role::Scheduler);
        let began = std::time::Instant::now();
        testbed.ctl_ok(&["scale", "app/box", &replicas.to_string(), "--wait"]);
        took.push(began.elapsed());
    }
    eprintln!("from a killed scheduler to another replica: {took:?}");
    // The lease is for 5 s.
    assert!(took.iter().all(|took| *took < std::time::Duration::from_secs(3)), "{took:?}");
}

#[test]
fn containerd_may_go_and_come_back() {
    let mut testbed = per_role();
    testbed.deploy(&app(&hello("web", 2, "")), &["--wait"]);
    let before = pids(&testbed, "app/web");
    let hammer = Hammer::start(testbed.http(), "/");
    wait_for_answers(&testbed, &hammer);
    testbed.kill(Role::Containerd);
    wait_for_answers(&testbed, &hammer);
    testbed.start_role(Role::Containerd);
    wait_for(
        "the node to run containers again",
        PATIENCE,
        || (testbed.ctl(&["scale", "app/web", "3", "--wait", "--timeout", "10s"]).code == 0).then_some(()),
        || explain(&testbed, "app/web"),
    );
    let (good, failures) = hammer.finish();
    assert_eq!(failures, Vec::<String>::new(), "besides {good} good ones");
    let after = pids(&testbed, "app/web");
    assert!(before.iter().all(|replica| after.contains(replica)), "{before:?} {after:?}");
}

#[test]
fn a_control_plane_that_is_killed_forgets_nothing_it_acknowledged() {
    let mut testbed = per_role();
    for round in 1..=5 {
        testbed.deploy(&app(&shell("box", "exec sleep 1000", &format!("    env: {{ ROUND: \"{round}\" }}\n"))), &[]);
        testbed.kill(Role::ControlPlane);
        testbed.start_role(Role::ControlPlane);
        let generation = wait_for(
            "the control plane to answer",
            PATIENCE,
            || {
                let output = testbed.ctl(&["status", "-o", "json"]);
                let status: serde_json::Value = serde_json::from_str(&output.stdout).ok()?;
                status["deployments"][0]["generation"].as_u64()
            },
            || testbed.logs_of_programs(),
        );
        assert_eq!(generation, round);
    }
}

#[test]
fn a_node_that_cannot_start_leaves_the_containers_of_the_one_before_it_alone() {
    let mut testbed = testbed(Options::default());
    testbed.deploy(&app(&hello("web", 2, "")), &["--wait"]);
    let before = pids(&testbed, "app/web");
    testbed.kill(Role::Dev);

    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let http = taken.local_addr().expect("an address").to_string();
    let failed = testbed.dev_command(&http).output().expect("orlopctl runs");
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    assert!(String::from_utf8_lossy(&failed.stderr).contains("--http"), "{failed:?}");

    testbed.start_all();
    wait_for_phase(&testbed, "app/web", &["healthy"]);
    assert_eq!(pids(&testbed, "app/web"), before);
    assert!(replicas(&testbed, "app/web").iter().all(|replica| replica["restarts"] == 0));
}

#[test]
fn a_killed_shim_costs_its_few_replicas_a_restart_and_the_others_nothing() {
    let testbed = testbed(Options::default());
    // More than the machine makes side by side, so that some share a shim.
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let number = (2 * cores).clamp(4, 16) + 4;
    let scale = format!("    scale: {{ mode: fixed, replicas: {number} }}\n");
    testbed.deploy(&app(&shell("many", "exec sleep 1000", &scale)), &["--wait"]);
    let mut by_shim: BTreeMap<u32, Vec<(String, u32)>> = BTreeMap::new();
    for (replica, pid) in pids(&testbed, "app/many") {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a living process");
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).and_then(|pid| pid.trim().parse().ok());
        by_shim.entry(parent.expect("a parent")).or_default().push((replica, pid));
    }
    let shim = *by_shim.iter().max_by_key(|(_, replicas)| replicas.len()).expect("a shim").0;
    let killed = by_shim.remove(&shim).expect("its replicas");
    assert!((2..=8).contains(&killed.len()), "{killed:?}");
    let status = std::process::Command::new("kill").args(["-KILL", &shim.to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()));

    let restarted = |replica: &serde_json::Value| {
        let was_killed = killed.iter().any(|(id, _)| replica["id"] == *id);
        replica["phase"] == "running" && (replica["restarts"].as_u64() > Some(0)) == was_killed
    };
    wait_for(
        "those of the shim to run again, and only those",
        PATIENCE,
        || replicas(&testbed, "app/many").iter().all(restarted).then_some(()),
        || explain(&testbed, "app/many"),
    );
    let mut after = pids(&testbed, "app/many");
    // Whoever inherits an orphan may take its time to reap it; what is dead has no program any more.
    after.retain(|(_, pid)| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok());
    assert_eq!(after.len(), number, "{after:?}");
    assert!(killed.iter().all(|old| !after.contains(old)), "{killed:?} {after:?}");
    assert!(by_shim.values().flatten().all(|other| after.contains(other)), "{by_shim:?} {after:?}");
    let again = replicas(&testbed, "app/many").into_iter().find(|replica| replica["id"] == killed[0].0);
    let slot = again.expect("a replica")["slot"].clone();
    testbed.ctl_ok(&["exec", &format!("app/many/{slot}"), "--", "/bin/sh", "-c", "exit 0"]);
}
