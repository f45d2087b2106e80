//! How `orlopctl dev` ends: asked by a signal, with `--keep`, and by `--down`.

use crate::specs::{PATIENCE, app, explain, hello, pids, replicas, shell, testbed, wait_for_phase};
use orlop_testbed::{Options, Role, get, wait_for};
use std::path::Path;
use std::time::Instant;

#[test]
fn a_node_that_is_asked_to_end_leaves_nothing() {
    let mut testbed = testbed(Options::default());
    for signal in ["TERM", "INT"] {
        testbed.deploy(&app(&hello("web", 2, "")), &["--wait"]);
        wait_for(
            "two processes",
            PATIENCE,
            || (pids(&testbed, "app/web").len() == 2).then_some(()),
            || explain(&testbed, "app/web"),
        );
        let running = testbed.footprint();
        for kind in ["interface: ", "table: ", "mount: ", "cgroup: ", "process: "] {
            assert!(running.lines().iter().any(|line| line.starts_with(kind)), "{kind} is not seen in {running:#?}");
        }
        let (_, pid) = pids(&testbed, "app/web")[0];
        let seen = format!("process: {pid} ");
        assert!(running.lines().iter().any(|line| line.starts_with(&seen)), "{seen} is not seen in {running:#?}");

        let ended = testbed.end(Role::Dev, signal).expect("it ran");
        assert!(ended.success(), "{signal}: {ended}\n{}", testbed.logs_of_programs());
        assert_eq!(testbed.footprint().lines(), Vec::<&str>::new(), "after SIG{signal}");
        // What is deployed stays so: the next start runs it again.
        testbed.start_all();
    }
}

#[test]
fn containers_that_are_kept_run_on_and_the_next_start_adopts_them() {
    let mut testbed = testbed(Options { dev_flags: vec!["--keep".into()], ..Options::default() });
    testbed.deploy(&app(&hello("web", 2, "")), &["--wait"]);
    let before = pids(&testbed, "app/web");
    assert_eq!(before.len(), 2);
    for signal in ["TERM", "INT"] {
        let ended = testbed.end(Role::Dev, signal).expect("it ran");
        assert!(ended.success(), "{signal}: {ended}\n{}", testbed.logs_of_programs());
        for (_, pid) in &before {
            assert!(Path::new("/proc").join(pid.to_string()).exists(), "process {pid} ended with SIG{signal}");
        }
        testbed.start_all();
        wait_for_phase(&testbed, "app/web", &["healthy"]);
        assert_eq!(pids(&testbed, "app/web"), before);
        assert!(replicas(&testbed, "app/web").iter().all(|replica| replica["restarts"] == 0));
    }
    wait_for(
        "the adopted replicas to answer",
        PATIENCE,
        || get(testbed.http(), "/").ok().filter(|answer| answer.status == 200),
        || explain(&testbed, "app/web"),
    );
}

/// A container that tells how it was asked to end, in a file of the node.
fn teller(folder: &Path, more: &str) -> String {
    let script = "trap 'echo usr1 >> /out/told; exit 0' USR1; trap 'echo term >> /out/told' TERM; echo ready > /out/ready; \
                  while true; do sleep 0.1; done";
    shell("teller", script, "").replace("    stop_grace_period: 2s\n", "")
        + &format!("    volumes: [ {{ type: bind, source: {}, target: /out }} ]\n{more}", folder.display())
}

#[test]
fn containers_are_ended_by_their_own_signal_and_within_their_own_time() {
    let mut testbed = testbed(Options::default());
    let folder = testbed.path("out");
    std::fs::create_dir(&folder).expect("a folder");
    let told = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    let start = |testbed: &orlop_testbed::Testbed, more: &str| {
        // The deployment of before came back with the node, and tells how it is replaced.
        testbed.ctl(&["stop", "app", "--force", "--wait"]);
        for name in ["ready", "told"] {
            let _ = std::fs::remove_file(folder.join(name));
        }
        testbed.deploy(&app(&teller(&folder, more)), &[]);
        wait_for(
            "the traps",
            PATIENCE,
            || (told("ready") == "ready\n").then_some(()),
            || explain(testbed, "app/teller"),
        );
    };

    start(&testbed, "    stop_signal: SIGUSR1\n    stop_grace_period: 1m\n");
    let begun = Instant::now();
    testbed.end(Role::Dev, "TERM");
    assert_eq!(told("told"), "usr1\n");
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());

    // Deaf to its signal, and to be killed after a second.
    testbed.start_all();
    start(&testbed, "    stop_signal: SIGTERM\n    stop_grace_period: 1s\n");
    let begun = Instant::now();
    testbed.end(Role::Dev, "TERM");
    assert_eq!(told("told"), "term\n");
    assert!((1..8).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());

    // Whoever does not want to wait for it says so: with `--grace`, or by a second signal.
    testbed.start_all();
    start(&testbed, "    stop_signal: SIGTERM\n    stop_grace_period: 10m\n");
    let begun = Instant::now();
    testbed.signal(Role::Dev, "TERM");
    wait_for("the first signal", PATIENCE, || (told("told") == "term\n").then_some(()), || testbed.logs_of_programs());
    testbed.end(Role::Dev, "TERM");
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    assert_eq!(testbed.footprint().lines(), Vec::<&str>::new());
}
