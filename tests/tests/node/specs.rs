//! Spec files that several tests use, and what `orlopctl status` says about them.

use orlop_testbed::{TestImage, Testbed, wait_for};
use serde_json::Value;
use std::time::Duration;

/// Long enough for a loaded machine with two cores; a test that needs it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A deployment `app` with the services given as YAML, indented by two.
pub(crate) fn app(services: &str) -> String {
    format!("version: v1\ndeployment: app\nservices:\n{services}")
}

/// A service of the busybox image that runs a shell script.
pub(crate) fn shell(name: &str, script: &str, more: &str) -> String {
    format!(
        "  {name}:\n    rtype: service\n    image: {{ name: localhost/busybox:1, pull_policy: never }}\n    \
         command: [\"/bin/sh\", \"-c\"]\n    args: [{script:?}]\n    stop_grace_period: 2s\n{more}"
    )
}

/// The hello example as a service with a public endpoint and a health check.
pub(crate) fn hello(name: &str, replicas: u32, more: &str) -> String {
    format!(
        "  {name}:\n    rtype: service\n    image: {{ name: localhost/hello:1, pull_policy: never }}\n    \
         scale: {{ mode: fixed, replicas: {replicas} }}\n    \
         endpoints: [ {{ name: http, protocol: http, port: 8080, expose: public }} ]\n    \
         health: {{ interval: 200ms, timeout: 1s, retries: 3, check: {{ type: http, url: \"http://localhost:8080/up\" }} }}\n{more}"
    )
}

/// The replicas of a service, by slot, as `orlopctl status -o json` shows them.
pub(crate) fn replicas(testbed: &Testbed, service: &str) -> Vec<Value> {
    of_service(&testbed.ctl_json(&["status"]), service)
}

/// The same, or `None` while the control plane does not answer.
pub(crate) fn replicas_if_told(testbed: &Testbed, service: &str) -> Option<Vec<Value>> {
    let status = serde_json::from_str(&testbed.ctl(&["status", "-o", "json"]).stdout).ok()?;
    Some(of_service(&status, service))
}

fn of_service(status: &Value, service: &str) -> Vec<Value> {
    let mut found: Vec<Value> = status["replicas"]
        .as_array()
        .map(|replicas| replicas.iter().filter(|r| r["service"] == service).cloned().collect())
        .unwrap_or_default();
    found.sort_by_key(|replica| replica["slot"].as_u64());
    found
}

/// Waits until a service has a replica in the phase given, and gives it.
pub(crate) fn wait_for_phase(testbed: &Testbed, service: &str, phases: &[&str]) -> Value {
    wait_for(
        &format!("a replica of {service} to be {phases:?}"),
        PATIENCE,
        || replicas(testbed, service).into_iter().find(|r| phases.iter().any(|phase| r["phase"] == *phase)),
        || explain(testbed, service),
    )
}

/// What `status`, `why`, `events` and the programs' logs say, for the message of a failed test.
pub(crate) fn explain(testbed: &Testbed, service: &str) -> String {
    format!(
        "{}{}{}{}",
        testbed.ctl(&["status"]).stdout,
        testbed.ctl(&["why", service]).stdout,
        testbed.ctl(&["events"]).stdout,
        testbed.logs_of_programs()
    )
}

/// Waits until `orlopctl why` says something.
pub(crate) fn wait_for_why(testbed: &Testbed, what: &str, words: &[&str]) {
    wait_for(
        &format!("`why {what}` to say {words:?}"),
        PATIENCE,
        || {
            let why = testbed.ctl(&["why", what]).stdout.to_lowercase();
            words.iter().all(|word| why.contains(&word.to_lowercase())).then_some(())
        },
        || explain(testbed, what),
    );
}

/// A testbed with the busybox and hello images on its node.
pub(crate) fn testbed(options: orlop_testbed::Options) -> Testbed {
    let testbed = Testbed::start(options);
    testbed.import(&[TestImage::Busybox, TestImage::Hello]);
    testbed
}

/// The process ids that run in a deployment's containers, by replica id.
pub(crate) fn pids(testbed: &Testbed, service: &str) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for replica in replicas(testbed, service) {
        let id = replica["id"].as_str().unwrap_or_default().to_owned();
        let mut own = Vec::new();
        // The hostname of a container is derived from its replica; the cgroup path carries the replica's id.
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let cgroup = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
            if cgroup.contains(&id) {
                own.push((parent(pid), pid));
            }
        }
        // Numbers begin again at their end, so the oldest has not always the smallest.
        let all: Vec<u32> = own.iter().map(|(_, pid)| *pid).collect();
        own.sort_by_key(|(parent, pid)| (parent.is_some_and(|parent| all.contains(&parent)), *pid));
        found.extend(own.into_iter().map(|(_, pid)| (id.clone(), pid)));
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may have spaces and brackets.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
