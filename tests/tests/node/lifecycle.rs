//! A replica's life on the node: environment, user, limits, volumes, init, health, crashes, stopping.

use crate::specs::{PATIENCE, app, explain, replicas, shell, testbed, wait_for_phase, wait_for_why};
use orlop_testbed::{Options, wait_for};
use std::time::Instant;

fn wait_for_log(testbed: &orlop_testbed::Testbed, service: &str, words: &str) -> String {
    wait_for(
        &format!("the log of {service} to hold {words:?}"),
        PATIENCE,
        || Some(testbed.ctl(&["logs", service]).stdout).filter(|logs| logs.contains(words)),
        || explain(testbed, service),
    )
}

#[test]
fn a_container_sees_what_its_spec_gives_it_and_no_more() {
    let mut options = Options::default();
    options.environment.insert("DB_URL".into(), "postgres://db".into());
    let testbed = testbed(options);
    let script = "echo env=$DB_URL/$LITERAL dir=$PWD id=$(id -u):$(id -g) host=$(hostname); \
                  grep -c $(hostname) /etc/hosts; grep NoNewPrivs /proc/self/status; grep Seccomp: /proc/self/status; \
                  grep CapEff /proc/self/status; cat /proc/kcore >/dev/null 2>&1 && echo kcore is open; \
                  touch /scratch/x && echo tmpfs; touch /data/x && echo data; ip addr show dev eth0 | grep -c inet; \
                  echo done; exec sleep 1000";
    testbed.deploy(
        &app(&shell(
            "probe",
            script,
            "    env: { DB_URL: \"$E:DB_URL\", LITERAL: plain }\n    working_dir: /tmp\n    user: \"1234:2345\"\n    \
             resources: { cpu: 0.5, memory: 64Mi }\n    volumes:\n      - { type: tmpfs, target: /scratch, size: 1Mi }\n      \
             - { type: named, name: data, target: /data }\n",
        )),
        &["--wait"],
    );
    let logs = wait_for_log(&testbed, "app/probe", "done");
    for words in ["env=postgres://db/plain", "dir=/tmp", "id=1234:2345", "NoNewPrivs:\t1", "Seccomp:\t2", "tmpfs"] {
        assert!(logs.contains(words), "{words} is not in {logs}");
    }
    assert!(logs.contains("CapEff:\t0000000000000000"), "another user than root has no capabilities: {logs}");
    assert!(!logs.contains("kcore is open"), "{logs}");
}

#[test]
fn a_missing_variable_of_the_agents_environment_is_named() {
    let testbed = testbed(Options::default());
    testbed.deploy(&app(&shell("api", "exec sleep 1000", "    env: { KEY: \"$E:ORLOP_TEST_MISSING\" }\n")), &[]);
    wait_for_why(&testbed, "app/api", &["ORLOP_TEST_MISSING"]);
}

#[test]
fn init_steps_run_in_order_before_the_first_start_and_a_failed_one_is_named() {
    let testbed = testbed(Options::default());
    testbed.deploy(
        &app(&(shell(
            "good",
            "cat /data/order; echo main; exec sleep 1000",
            "    volumes: [ { type: named, name: data, target: /data } ]\n    init:\n      steps:\n        \
             - { id: one, uses: init.run, with: { command: [\"/bin/sh\", \"-c\", \"echo one > /data/order\"] } }\n        \
             - { id: two, uses: init.run, with: { command: [\"/bin/sh\", \"-c\", \"echo two >> /data/order\"] } }\n",
        ) + &shell(
            "bad",
            "exec sleep 1000",
            "    errors: { on_init_failure: { action: fail } }\n    init:\n      steps:\n        \
             - { id: never, uses: init.run, with: { command: [\"/bin/false\"] }, timeout: 10s, on_failure: fail }\n",
        ))),
        &[],
    );
    let logs = wait_for_log(&testbed, "app/good", "main");
    let order: Vec<&str> = ["one", "two", "main"].into_iter().filter(|word| logs.contains(word)).collect();
    assert_eq!(order, ["one", "two", "main"], "{logs}");
    wait_for_phase(&testbed, "app/bad", &["failed"]);
    wait_for_why(&testbed, "app/bad", &["never"]);
}

#[test]
fn a_replica_that_exits_is_started_again_with_growing_pauses_and_the_reason_is_shown() {
    let testbed = testbed(Options::default());
    testbed.deploy(&app(&shell("crash", "echo attempt; exit 3", "")), &[]);
    wait_for(
        "a second restart",
        PATIENCE,
        || replicas(&testbed, "app/crash").first().filter(|r| r["restarts"].as_u64() >= Some(2)).map(|_| ()),
        || explain(&testbed, "app/crash"),
    );
    wait_for_why(&testbed, "app/crash", &["code 3"]);
}

#[test]
fn on_panic_decides_what_follows_a_crash() {
    let testbed = testbed(Options::default());
    testbed.deploy(
        &app(&(shell("over", "exit 4", "    errors: { on_panic: { action: shutdown } }\n")
            + &shell("kept", "touch /tmp/evidence; exit 5", "    errors: { on_panic: { action: isolate } }\n"))),
        &[],
    );
    assert_eq!(wait_for_phase(&testbed, "app/over", &["failed"])["restarts"], 0);
    assert_eq!(wait_for_phase(&testbed, "app/kept", &["isolated"])["restarts"], 0);
    wait_for_why(&testbed, "app/over", &["code 4"]);
    wait_for_why(&testbed, "app/kept", &["code 5"]);
    testbed.ctl_ok(&["stop", "app", "--wait"]);
}

#[test]
fn an_unhealthy_replica_is_replaced_by_a_new_start() {
    let testbed = testbed(Options::default());
    testbed.deploy(
        &app(&shell(
            "sick",
            "touch /tmp/well; sleep 1; rm /tmp/well; exec sleep 1000",
            "    health: { start_grace: 0s, interval: 200ms, retries: 2, check: { type: command, command: [\"/bin/test\", \"-e\", \"/tmp/well\"] } }\n",
        )),
        &[],
    );
    wait_for(
        "a restart",
        PATIENCE,
        || replicas(&testbed, "app/sick").first().filter(|r| r["restarts"].as_u64() >= Some(1)).map(|_| ()),
        || explain(&testbed, "app/sick"),
    );
    let events = testbed.ctl_ok(&["events"]);
    assert!(events.to_lowercase().contains("health") || events.contains("unhealthy"), "{events}");
}

#[test]
fn a_process_that_ignores_the_stop_signal_is_killed_when_its_grace_is_over() {
    let testbed = testbed(Options::default());
    testbed.deploy(&app(&shell("deaf", "trap '' TERM; while true; do sleep 1; done", "")), &["--wait"]);
    let start = Instant::now();
    testbed.ctl_ok(&["stop", "app", "--wait"]);
    let took = start.elapsed();
    assert!(took.as_millis() >= 1900, "the grace period of 2 s was not given: {took:?}");
    assert!(took.as_secs() < 20, "{took:?}");

    testbed.deploy(&app(&shell("deaf", "trap '' TERM; while true; do sleep 1; done", "")), &["--wait"]);
    let start = Instant::now();
    testbed.ctl_ok(&["stop", "app", "--force", "--wait"]);
    assert!(start.elapsed().as_millis() < 1900, "a forced stop waited for the grace period: {:?}", start.elapsed());
}

#[test]
fn a_container_over_its_memory_limit_is_killed_and_why_says_memory() {
    let testbed = testbed(Options::default());
    testbed
        .deploy(&app(&shell("hungry", "x=a; while true; do x=$x$x; done", "    resources: { memory: 16Mi }\n")), &[]);
    wait_for_why(&testbed, "app/hungry", &["memory"]);
}
