//! Deploys: compare-and-set, plans, dependencies, rolling updates without a failed request.

use crate::specs::{PATIENCE, app, explain, hello, pids, replicas, shell, testbed, wait_for_phase, wait_for_why};
use orlop_testbed::{Hammer, Options, wait_for};

#[test]
fn a_plan_says_what_a_deploy_would_do_and_does_nothing() {
    let testbed = testbed(Options::default());
    let file = testbed.spec_file(&app(&hello("web", 2, "")));
    let file = file.to_str().expect("a plain path");

    let plan = testbed.ctl_ok(&["plan", "-f", file]);
    assert!(plan.contains("web") && plan.contains("added"), "{plan}");
    testbed.ctl_ok(&["deploy", "-f", file, "--dry-run"]);
    assert_eq!(replicas(&testbed, "app/web").len(), 0);

    testbed.deploy(&app(&hello("web", 2, "")), &["--wait"]);
    let before = pids(&testbed, "app/web");
    let plan = testbed.ctl_ok(&["plan", "-f", file]);
    assert!(plan.contains("change nothing"), "{plan}");

    // A change that a container does not see touches no container.
    testbed.deploy(&app(&hello("web", 2, "    update: { min_healthy: 1s }\n")), &["--wait"]);
    assert_eq!(pids(&testbed, "app/web"), before);

    // Somebody else deployed in between: compare-and-set refuses.
    let stale = testbed.ctl(&["deploy", "-f", file, "--expect-generation", "1"]);
    assert_eq!(stale.code, 7, "{stale:?}");
    assert!(stale.stderr.contains("generation"), "{stale:?}");
}

#[test]
fn a_rolling_update_loses_no_request_and_replaces_every_replica() {
    let testbed = testbed(Options::default());
    testbed.deploy(&app(&hello("web", 2, "")), &["--wait"]);
    let before = pids(&testbed, "app/web");
    wait_for(
        "the first answer",
        PATIENCE,
        || orlop_testbed::get(testbed.http(), "/").ok().filter(|a| a.status == 200),
        || explain(&testbed, "app/web"),
    );

    let hammer = Hammer::start(testbed.http(), "/");
    testbed.deploy(&app(&hello("web", 2, "    env: { VERSION: \"2\" }\n")), &["--wait", "--timeout", "60s"]);
    wait_for(
        "the old replicas to be gone",
        PATIENCE,
        || (replicas(&testbed, "app/web").len() == 2).then_some(()),
        || explain(&testbed, "app/web"),
    );
    let seen = hammer.good();
    wait_for("requests after the update", PATIENCE, || (hammer.good() > seen + 20).then_some(()), String::new);
    let (good, failures) = hammer.finish();

    assert_eq!(failures, Vec::<String>::new(), "besides {good} good ones");
    let after = pids(&testbed, "app/web");
    assert_eq!(after.len(), 2);
    assert!(after.iter().all(|replica| !before.contains(replica)), "{before:?} {after:?}");
}

#[test]
fn a_service_waits_for_its_dependency_and_says_so() {
    let testbed = testbed(Options::default());
    let services = |ready: &str| {
        shell(
            "db",
            "touch /tmp/up; exec sleep 1000",
            &format!(
                "    health: {{ interval: 200ms, start_grace: 60s, check: {{ type: command, command: [\"/bin/test\", \"-e\", \"{ready}\"] }} }}\n"
            ),
        ) + &shell("api", "exec sleep 1000", "    depends: [ { service: db, condition: healthy } ]\n")
    };
    testbed.deploy(&app(&services("/tmp/never")), &[]);
    wait_for_phase(&testbed, "app/db", &["starting"]);
    wait_for_why(&testbed, "app/api", &["db", "healthy"]);
    assert_eq!(replicas(&testbed, "app/api").len(), 0);

    testbed.deploy(&app(&services("/tmp/up")), &["--wait", "--timeout", "60s"]);
    assert_eq!(replicas(&testbed, "app/api").len(), 1);
}

#[test]
fn a_dependency_that_does_not_come_up_in_time_fails_the_service() {
    let testbed = testbed(Options::default());
    let never = "    health: { start_grace: 60s, check: { type: command, command: [\"/bin/false\"] } }\n";
    let spec = app(&(shell("db", "exec sleep 1000", never)
        + &shell(
            "api",
            "exec sleep 1000",
            "    depends: [ { service: db, condition: ready, timeout: 1s, on_timeout: fail } ]\n",
        )
        + &shell(
            "web",
            "exec sleep 1000",
            "    depends: [ { service: db, condition: ready, timeout: 1s, on_timeout: warn } ]\n",
        )));
    let file = testbed.spec_file(&spec);
    let deploy = testbed.ctl(&["deploy", "-f", file.to_str().expect("a plain path"), "--wait", "--timeout", "30s"]);
    assert_eq!(deploy.code, 8, "{deploy:?}");
    wait_for_why(&testbed, "app/api", &["db"]);
    wait_for_phase(&testbed, "app/web", &["running"]);
    assert_eq!(replicas(&testbed, "app/api").len(), 0);
}

#[test]
fn a_service_that_fits_nowhere_says_what_is_missing() {
    let testbed = testbed(Options::default());
    testbed.deploy(&app(&shell("big", "exec sleep 1000", "    resources: { cpu: 500, memory: 1Gi }\n")), &[]);
    wait_for_why(&testbed, "app/big", &["cpu", "500"]);
    assert_eq!(replicas(&testbed, "app/big").len(), 0);
}

#[test]
fn requests_are_spread_over_the_ready_replicas_and_over_no_other() {
    let testbed = testbed(Options::default());
    // Each tells its own name; the one in slot 2 never becomes healthy.
    let script = "mkdir -p /tmp/www; hostname > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www";
    let more = "    scale: { mode: fixed, replicas: 3 }\n    \
                endpoints: [ { name: http, protocol: http, port: 8080, expose: public } ]\n    \
                health: { start_grace: 0s, interval: 200ms, retries: 1000, check: { type: command, \
                command: [\"/bin/sh\", \"-c\", \"case $(hostname) in *-2) exit 1;; esac\"] } }\n";
    testbed.deploy(&app(&shell("web", script, more)), &[]);
    wait_for(
        "two healthy replicas",
        PATIENCE,
        || {
            let replicas = replicas(&testbed, "app/web");
            (replicas.iter().filter(|replica| replica["phase"] == "healthy").count() == 2).then_some(())
        },
        || explain(&testbed, "app/web"),
    );
    let mut answers = std::collections::BTreeMap::<String, u32>::new();
    wait_for(
        "answers of both",
        PATIENCE,
        || {
            let answer = orlop_testbed::get(testbed.http(), "/").ok().filter(|answer| answer.status == 200)?;
            *answers.entry(answer.body.trim().to_owned()).or_default() += 1;
            (answers.values().filter(|count| **count >= 10).count() == 2).then_some(())
        },
        || explain(&testbed, "app/web"),
    );
    assert!(answers.keys().all(|name| !name.ends_with("-2")), "{answers:?}");
}
