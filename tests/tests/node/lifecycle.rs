//! A replica's life on the node: environment, user, limits, volumes, init, health, crashes, stopping.

use crate::specs::{PATIENCE, app, explain, pids, replicas, shell, testbed, wait_for_phase, wait_for_why};
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

/// A file of a process's cgroup, by controller (version 1) or as version 2 names it.
fn cgroup_file(pid: u32, controller: &str, v1: &str, v2: &str) -> String {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a process that runs");
    let of = |wanted: &str| {
        groups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|c| c == wanted).then(|| path.to_owned())
        })
    };
    let path = match of(controller) {
        Some(path) => format!("/sys/fs/cgroup/{controller}{path}/{v1}"),
        None => format!("/sys/fs/cgroup{}/{v2}", of("").expect("a cgroup of version 2")),
    };
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim().to_owned()
}

#[test]
fn a_container_sees_what_its_spec_gives_it_and_no_more() {
    let mut options = Options::default();
    options.environment.insert("DB_URL".into(), "postgres://db".into());
    let testbed = testbed(options);
    let bound = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(bound.path().join("given"), "by the host").expect("a file in it");
    let script = "echo env=$DB_URL/$LITERAL dir=$PWD id=$(id -u):$(id -g); \
                  [ $(hostname) = $(cat /etc/hostname) ] && grep -q $(hostname) /etc/hosts && echo it knows its name; \
                  sed 's/^/resolv: /' /etc/resolv.conf; \
                  grep NoNewPrivs /proc/self/status; grep Seccomp: /proc/self/status; \
                  grep CapEff /proc/self/status; cat /proc/kcore >/dev/null 2>&1 && echo kcore is open; \
                  echo given $(cat /given/given); touch /given/x 2>/dev/null && echo the host is open; \
                  echo x > /scratch/x && echo scratch; \
                  dd if=/dev/zero of=/scratch/big bs=64k count=32 2>/dev/null && echo scratch has no end; \
                  echo kept >> /data/x; echo data $(cat /data/x); \
                  ip addr show dev eth0 | grep -q 'inet ' && echo it has an address; echo done; exec sleep 1000";
    let more = format!(
        "    env: {{ DB_URL: \"$E:DB_URL\", LITERAL: plain }}\n    working_dir: /tmp\n    user: \"1234:2345\"\n    \
         resources: {{ cpu: 0.5, memory: 64Mi }}\n    volumes:\n      \
         - {{ type: tmpfs, target: /scratch, size: 1Mi }}\n      - {{ type: named, name: data, target: /data }}\n      \
         - {{ type: bind, source: {}, target: /given, read_only: true }}\n",
        bound.path().display()
    );
    testbed.deploy(&app(&shell("probe", script, &more)), &["--wait"]);
    let logs = wait_for_log(&testbed, "app/probe", "done");
    for words in [
        "env=postgres://db/plain dir=/tmp id=1234:2345",
        "it knows its name",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "given by the host",
        "scratch\n",
        "data kept\n",
        "it has an address",
    ] {
        assert!(logs.contains(words), "{words} is not in {logs}");
    }
    assert!(logs.contains("CapEff:\t0000000000000000"), "another user than root has no capabilities: {logs}");
    for words in ["kcore is open", "the host is open", "scratch has no end"] {
        assert!(!logs.contains(words), "{logs}");
    }
    let resolvers = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    for resolver in resolvers.lines().filter(|line| line.starts_with("nameserver ") && !line.contains(" 127.")) {
        assert!(logs.contains(&format!("resolv: {resolver}")), "{resolver} is not in {logs}");
    }
    let (_, pid) = pids(&testbed, "app/probe")[0];
    assert_eq!(cgroup_file(pid, "memory", "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    let quota = cgroup_file(pid, "cpu", "cpu.cfs_quota_us", "cpu.max");
    assert!(["50000", "50000 100000"].contains(&quota.as_str()), "{quota}");

    // A named volume outlives the deployment.
    testbed.ctl_ok(&["stop", "app", "--wait", "--force"]);
    testbed.deploy(&app(&shell("probe", script, &more)), &["--wait"]);
    wait_for_log(&testbed, "app/probe", "data kept kept");
}

#[test]
fn user_and_program_come_from_the_image_and_from_the_spec_file() {
    let testbed = testbed(Options::default());
    let service = |name: &str, more: &str| {
        format!("  {name}:\n    rtype: service\n    image: {{ name: localhost/busybox:1, pull_policy: never }}\n{more}")
    };
    testbed.deploy(
        &app(&(service(
            "named",
            "    user: nobody\n    args: [\"/bin/sh\", \"-c\", \"echo $(id -u) $(id -g); sleep 1000\"]\n",
        ) + &service("own", "    errors: { on_panic: { action: isolate } }\n"))),
        &[],
    );
    // `args` alone replaces CMD; the group is that of the user's entry in the image.
    wait_for_log(&testbed, "app/named", "65534 65534");
    // The image's own command is a shell, which ends at once without input.
    wait_for_why(&testbed, "app/own", &["code 0"]);
}

#[test]
fn a_replica_is_placed_only_where_its_memory_fits_and_why_says_what_is_missing() {
    let testbed = testbed(Options::default());
    testbed.deploy(
        &app(&(shell("small", "exec sleep 1000", "    resources: { memory: 8Mi }\n")
            + &shell("huge", "exec sleep 1000", "    resources: { memory: 8Ti }\n"))),
        &[],
    );
    wait_for_phase(&testbed, "app/small", &["running"]);
    wait_for_why(&testbed, "app/huge", &["memory"]);
    assert_eq!(replicas(&testbed, "app/huge").len(), 0);
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

/// An init step that runs a shell script, as YAML.
fn init(id: &str, script: &str, more: &str) -> String {
    format!(
        "    init:\n      steps:\n        - {{ id: {id}, uses: init.run, \
         with: {{ command: [\"/bin/sh\", \"-c\", {script:?}] }}{more} }}\n"
    )
}

#[test]
fn an_init_step_that_takes_too_long_is_ended_and_its_replica_told_of() {
    let testbed = testbed(Options::default());
    let endless = init("endless", "echo begun; sleep 1000", ", timeout: 2s, on_failure: fail");
    let fail = "    errors: { on_init_failure: { action: fail } }\n";
    testbed.deploy(&app(&shell("late", "exec sleep 1000", &format!("{fail}{endless}"))), &[]);
    let replica = wait_for_phase(&testbed, "app/late", &["failed"]);
    assert_eq!(replica["reason"]["code"], "init_timeout", "{replica}");
    assert_eq!(replica["restarts"], 0);
    wait_for_why(&testbed, "app/late", &["init step endless took longer than 2s"]);
    assert!(wait_for_log(&testbed, "app/late", "begun").contains("begun"));
    wait_for(
        "the init step's container to be gone",
        PATIENCE,
        || pids(&testbed, "app/late").is_empty().then_some(()),
        || format!("{:?}", pids(&testbed, "app/late")),
    );
}

#[test]
fn an_init_step_that_fails_is_tried_again_until_it_heals_and_one_that_only_warns_holds_nothing_up() {
    let testbed = testbed(Options::default());
    let data = "    volumes: [ { type: named, name: data, target: /data } ]\n";
    let backoff = "    errors: { on_init_failure: { action: backoff } }\n";
    // The third time, both earlier ones have left their mark.
    let heals = init("heals", "cd /data; echo x >> tries; test $(grep -c x tries) -ge 3", "");
    let warns = init("warns", "echo not well; exit 9", ", on_failure: warn");
    testbed.deploy(
        &app(&(shell("heals", "cat /data/tries; echo main; exec sleep 1000", &format!("{data}{backoff}{heals}"))
            + &shell("warns", "echo main; exec sleep 1000", &warns))),
        &["--wait"],
    );
    assert_eq!(wait_for_log(&testbed, "app/heals", "main").matches('x').count(), 3);
    wait_for_log(&testbed, "app/warns", "main");
    let events = testbed.ctl_ok(&["events"]);
    for words in ["init step heals failed", "init step warns failed"] {
        assert!(events.contains(words), "{words} is not in {events}");
    }
    for service in ["app/heals", "app/warns"] {
        assert_eq!(wait_for_phase(&testbed, service, &["running"])["restarts"], 0);
    }
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
    assert!(events.contains("health check"), "{events}");
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
    let events = testbed.ctl_ok(&["events"]);
    assert!(events.contains("within 2s"), "that it had to be killed is not told: {events}");

    testbed.deploy(&app(&shell("deaf", "trap '' TERM; while true; do sleep 1; done", "")), &["--wait"]);
    let start = Instant::now();
    testbed.ctl_ok(&["stop", "app", "--force", "--wait"]);
    assert!(start.elapsed().as_millis() < 1900, "a forced stop waited for the grace period: {:?}", start.elapsed());
}

#[test]
fn the_stop_signal_is_the_services_else_the_images() {
    let testbed = testbed(Options::default());
    let archive = testbed.path("signalled.tar").display().to_string();
    testbed.ctl_ok(&[
        "image",
        "pack",
        "--name",
        "localhost/signalled:1",
        "--file",
        "/bin/busybox:/bin/sh:755",
        "--file",
        "/bin/busybox:/bin/sleep:755",
        "--env",
        "PATH=/bin",
        "--stop-signal",
        "SIGUSR1",
        "--out",
        &archive,
    ]);
    testbed.ctl_ok(&["image", "import", &archive]);
    let traps =
        "for s in USR1 INT TERM; do trap \"echo got $s; exit 0\" $s; done; echo ready; while true; do sleep 0.1; done";
    let signalled =
        |name: &str, more: &str| shell(name, traps, more).replace("localhost/busybox:1", "localhost/signalled:1");
    testbed.deploy(
        &app(&(signalled("image", "") + &signalled("spec", "    stop_signal: INT\n") + &shell("plain", traps, ""))),
        &["--wait"],
    );
    for service in ["app/image", "app/spec", "app/plain"] {
        wait_for_log(&testbed, service, "ready");
    }
    testbed.ctl_ok(&["stop", "app", "--wait"]);
    for (service, words) in [("app/image", "got USR1"), ("app/spec", "got INT"), ("app/plain", "got TERM")] {
        wait_for_log(&testbed, service, words);
    }
}

#[test]
fn a_container_over_its_memory_limit_is_killed_and_why_says_memory() {
    let testbed = testbed(Options::default());
    testbed
        .deploy(&app(&shell("hungry", "x=a; while true; do x=$x$x; done", "    resources: { memory: 16Mi }\n")), &[]);
    wait_for_why(&testbed, "app/hungry", &["used more memory than its limit of 16Mi", "Raise `resources.memory`"]);
}

#[test]
fn waiting_for_a_crash_loop_ends_with_its_reason_and_the_same_file_tries_again() {
    let testbed = testbed(Options::default());
    // Without a health check it is ready each time, for a moment.
    let spec = app(&shell("crash", "echo attempt; sleep 0.3; exit 3", ""));
    let file = testbed.spec_file(&spec);
    let deploy = ["deploy", "-f", file.to_str().expect("a plain path"), "--wait", "--timeout", "60s"];
    let ended = testbed.ctl(&deploy);
    assert_eq!(ended.code, 8, "{ended:?}");
    for words in ["failed 5 times in a row: its process exited with code 3", "the last lines of its log:\n  attempt\n"]
    {
        assert!(ended.stderr.contains(words), "{words} is not in {}", ended.stderr);
    }
    let before = replicas(&testbed, "app/crash")[0]["id"].clone();
    let again = testbed.ctl(&deploy[..3]);
    assert!(again.stdout.contains("tried again: replica 0"), "{again:?}");
    wait_for(
        "another replica to be tried",
        PATIENCE,
        || replicas(&testbed, "app/crash").iter().any(|r| r["id"] != before).then_some(()),
        || explain(&testbed, "app/crash"),
    );
}
