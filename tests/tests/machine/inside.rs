//! What machines run. Each of these is half a test; the other half is in `outside`.

use orlop_testbed::{DISK, Layout, Options, Role, TestImage, Testbed, get, wait_for};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(180);

/// A node whose data lies on the machine's disk, with nothing started.
fn node(layout: Layout) -> Testbed {
    Testbed::prepare(Options { layout, data: Some(PathBuf::from(DISK).join("data")), ..Options::default() })
}

fn spec(round: u64) -> String {
    format!(
        "version: v1\ndeployment: app\nservices:\n  web:\n    rtype: service\n    \
         image: {{ name: localhost/hello:1, pull_policy: never }}\n    env: {{ ROUND: \"{round}\" }}\n    \
         endpoints: [ {{ name: http, protocol: http, port: 8080, expose: public }} ]\n    \
         health: {{ interval: 1s, timeout: 10s, retries: 9, check: {{ type: http, url: \"http://localhost:8080/up\" }} }}\n"
    )
}

/// The control plane alone, waited for.
fn control_plane() -> Testbed {
    let mut testbed = node(Layout::ProcessPerRole);
    testbed.start_role(Role::ControlPlane);
    wait_for(
        "the control plane to answer",
        PATIENCE,
        || (testbed.ctl(&["status"]).code == 0).then_some(()),
        || testbed.logs_of_programs(),
    );
    testbed
}

fn unsynced(round: u64) -> PathBuf {
    Path::new(DISK).join(format!("unsynced-{round}"))
}

#[test]
#[ignore = "runs in a machine that `outside` boots"]
fn deploys_until_the_power_is_gone() {
    let testbed = control_plane();
    for round in 1.. {
        testbed.deploy(&spec(round), &[]);
        std::fs::write(unsynced(round), "written, and not synced").expect("room on the disk");
        println!("acknowledged {round}");
    }
}

#[test]
#[ignore = "runs in a machine that `outside` boots"]
fn tells_what_is_there() {
    let testbed = control_plane();
    let status = testbed.ctl_json(&["status"]);
    println!("generation {}", status["deployments"][0]["generation"]);
    let rounds = (1..).take_while(|round| unsynced(*round).exists());
    let newest = rounds.last().and_then(|round| std::fs::metadata(unsynced(round)).ok());
    println!("bytes nobody synced: {}", newest.map_or(0, |file| file.len()));
}

fn running(testbed: &Testbed) {
    let explain = || {
        let said = [&["status"][..], &["why", "app/web"], &["events"]].map(|arguments| testbed.ctl(arguments).stdout);
        said.concat() + &testbed.logs_of_programs()
    };
    let healthy = || {
        let status: Value = serde_json::from_str(&testbed.ctl(&["status", "-o", "json"]).stdout).ok()?;
        (status["replicas"][0]["phase"] == "healthy").then_some(())
    };
    wait_for("the replica to be healthy", PATIENCE, healthy, explain);
    let answer = || get(testbed.http(), "/").ok().filter(|answer| answer.status == 200);
    wait_for("an answer", PATIENCE, answer, explain);
}

#[test]
#[ignore = "runs in a machine that `outside` boots"]
fn runs_a_deployment_for_ever() {
    let mut testbed = node(Layout::OneProcess);
    testbed.start_all();
    testbed.import(&[TestImage::Hello]);
    testbed.deploy(&spec(1), &[]);
    running(&testbed);
    println!("the deployment runs");
    loop {
        std::thread::park();
    }
}

#[test]
#[ignore = "runs in a machine that `outside` boots"]
fn finds_the_deployment_running_again() {
    let mut testbed = node(Layout::OneProcess);
    testbed.start_all();
    running(&testbed);
}
