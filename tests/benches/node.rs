//! `make bench-node`: how fast one node is, how much it uses, and what the death of an agent costs.
//!
//! The peer of a start is `ctr run` of the same image on the same containerd, alternating with ours; both are measured from
//! the start of the command line program to the first thing the container's process does. Absolute times mean little on a
//! shared machine; the ratios and differences of one run do. A goal that a run does not reach is marked MISSED.

use orlop_testbed::{Hammer, Layout, Options, Role, TestImage, Testbed, get, wait_for};
use orlop_tests::measure::{cpu, mebibytes};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    // `cargo bench` passes `--bench`; anything else chooses what to run.
    let chosen: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|c| c == name);
    println!("{:<58} {:>10} {:>10} {:>12}", "", "p50", "p99", "goal");
    if wanted("start") {
        start();
    }
    if wanted("ready") {
        ready();
    }
    if wanted("idle") {
        idle();
    }
    if wanted("agent") {
        agent_restart();
    }
}

/// A service whose process touches a file of its own in a folder of the node as its first deed.
fn marker(folder: &Path) -> String {
    format!(
        "version: v1\ndeployment: bench\nservices:\n  box:\n    rtype: service\n    \
         image: {{ name: localhost/busybox:1, pull_policy: never }}\n    scale: {{ mode: manual }}\n    \
         command: [\"/bin/sh\", \"-c\", \"touch /out/$HOSTNAME; exec sleep 100000\"]\n    stop_grace_period: 100ms\n    \
         volumes: [ {{ type: bind, source: {}, target: /out }} ]\n",
        folder.display()
    )
}

fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).map(Iterator::count).unwrap_or(0)
}

fn wait_for_count(testbed: &Testbed, folder: &Path, wanted: usize) -> Instant {
    let start = Instant::now();
    while count(folder) < wanted {
        assert!(start.elapsed() < PATIENCE, "{} of {wanted} started\n{}", count(folder), testbed.logs_of_programs());
        std::thread::sleep(Duration::from_millis(1));
    }
    Instant::now()
}

fn clear(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let _ = std::fs::remove_file(entry.path());
    }
}

fn quiet(command: &mut Command) {
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output().expect("the command starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn start() {
    let testbed = Testbed::start(Options { layout: Layout::ProcessPerRole, ..Options::default() });
    testbed.import(&[TestImage::Busybox]);
    let image = TestImage::Busybox.write(&testbed.path(""));
    let folder = testbed.path("out");
    std::fs::create_dir(&folder).expect("a folder");
    testbed.deploy(&marker(&folder), &["--wait"]);

    let ctr = |arguments: &[&str]| {
        let mut command = Command::new("ctr");
        command.args(["--address", &testbed.containerd().display().to_string(), "-n", "bench"]);
        command.args(arguments);
        command
    };
    quiet(&mut ctr(&["image", "import", image.to_str().expect("a plain path")]));
    let mount = format!("type=bind,src={},dst=/out,options=rbind:rw", folder.display());
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for round in 0..40 {
        testbed.ctl_ok(&["scale", "bench/box", "0", "--wait"]);
        clear(&folder);
        let begun = Instant::now();
        let mut submit = testbed.ctl_command(&["scale", "bench/box", "1"]);
        let mut child = submit.stdout(Stdio::null()).spawn().expect("orlopctl starts");
        ours.push(wait_for_count(&testbed, &folder, 1) - begun);
        assert!(child.wait().is_ok_and(|status| status.success()));
        testbed.ctl_ok(&["scale", "bench/box", "0", "--wait"]);
        clear(&folder);

        let name = format!("peer{round}");
        let begun = Instant::now();
        quiet(&mut ctr(&[
            "run",
            "-d",
            "--mount",
            &mount,
            "localhost/busybox:1",
            &name,
            "/bin/sh",
            "-c",
            "touch /out/peer; exec sleep 100000",
        ]));
        peers.push(wait_for_count(&testbed, &folder, 1) - begun);
        quiet(&mut ctr(&["task", "kill", "-s", "9", &name]));
        quiet(&mut ctr(&["task", "delete", "-f", &name]));
        quiet(&mut ctr(&["container", "delete", &name]));
    }
    row("submit → process running, one replica", &mut ours, Some(millis(150)), Some(millis(400)));
    row("  peer: ctr run of the same image", &mut peers, None, None);
    let above = at(&mut ours, 50).saturating_sub(at(&mut peers, 50));
    line("  above ctr run", &milliseconds(above), "", "50 ms", above <= millis(50));

    let mut fifty = Vec::new();
    let mut fifty_peers = Vec::new();
    for round in 0..3 {
        testbed.ctl_ok(&["scale", "bench/box", "0", "--wait"]);
        clear(&folder);
        let begun = Instant::now();
        testbed.ctl_ok(&["scale", "bench/box", "50"]);
        fifty.push(wait_for_count(&testbed, &folder, 50) - begun);
        testbed.ctl_ok(&["scale", "bench/box", "0", "--wait"]);
        clear(&folder);

        let begun = Instant::now();
        let names: Vec<String> = (0..50).map(|n| format!("peer{round}x{n}")).collect();
        // Two at a time, one for each core.
        for pair in names.chunks(2) {
            let children: Vec<_> = pair
                .iter()
                .map(|name| {
                    let touch = format!("touch /out/{name}; exec sleep 100000");
                    ctr(&["run", "-d", "--mount", &mount, "localhost/busybox:1", name, "/bin/sh", "-c", &touch])
                        .spawn()
                        .expect("ctr starts")
                })
                .collect();
            for mut child in children {
                assert!(child.wait().is_ok_and(|status| status.success()));
            }
        }
        fifty_peers.push(wait_for_count(&testbed, &folder, 50) - begun);
        for name in &names {
            quiet(&mut ctr(&["task", "kill", "-s", "9", name]));
            quiet(&mut ctr(&["task", "delete", "-f", name]));
            quiet(&mut ctr(&["container", "delete", name]));
        }
    }
    row("submit → process running, 50 replicas", &mut fifty, Some(millis(2000)), None);
    row("  peer: 50 × ctr run, two at a time", &mut fifty_peers, None, None);
}

fn ready() {
    let (mut ready, mut answered) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let mut testbed = Testbed::prepare(Options::default());
        let begun = Instant::now();
        testbed.start_all();
        ready.push(begun.elapsed());
        testbed.import(&[TestImage::Hello]);
        let spec = "version: v1\ndeployment: bench\nservices:\n  web:\n    rtype: service\n    \
                    image: { name: localhost/hello:1, pull_policy: never }\n    endpoints: [ { name: http, protocol: http, port: 8080, expose: public } ]\n    \
                    health: { interval: 1s, check: { type: http, url: \"http://localhost:8080/up\" } }\n";
        let http = testbed.http();
        let begun = Instant::now();
        testbed.deploy(spec, &[]);
        wait_for(
            "the first 200",
            PATIENCE,
            || get(http, "/").ok().filter(|answer| answer.status == 200),
            || testbed.logs_of_programs(),
        );
        answered.push(begun.elapsed());
    }
    row("empty data directory → orlopctl dev ready", &mut ready, Some(millis(1000)), None);
    row("deploy → first 200 through the proxy", &mut answered, Some(millis(1500)), None);
}

const EXAMPLE: &str = "version: v1\ndeployment: bench\nservices:\n  web:\n    rtype: service\n    \
    image: { name: localhost/hello:1, pull_policy: never }\n    scale: { mode: fixed, replicas: 2 }\n    \
    endpoints: [ { name: http, protocol: http, port: 8080, expose: public } ]\n    \
    health: { interval: 5s, check: { type: http, url: \"http://localhost:8080/up\" } }\n";

fn with_example(layout: Layout) -> Testbed {
    let testbed = Testbed::start(Options { layout, ..Options::default() });
    testbed.import(&[TestImage::Hello]);
    testbed.deploy(EXAMPLE, &["--wait"]);
    testbed
}

fn idle() {
    const SPAN: Duration = Duration::from_secs(30);
    let together = with_example(Layout::OneProcess);
    let apart = with_example(Layout::ProcessPerRole);
    let dev = together.pid(Role::Dev).expect("orlopctl dev runs");
    let agent = apart.pid(Role::Agent).expect("the agent runs");
    // The caches and buffers of the start are part of what stays.
    let before = cpu(dev);
    std::thread::sleep(SPAN);
    let used = cpu(dev) - before;
    let share = 100.0 * used.as_secs_f64() / SPAN.as_secs_f64();
    let resident = |what, mebibytes: f64, goal: f64| {
        line(what, &format!("{mebibytes:.1} MiB"), "", &format!("{goal} MiB"), mebibytes <= goal);
    };
    resident("idle, all roles in one process: resident", mebibytes(dev), 40.0);
    line("idle, all roles in one process: of a core", &format!("{share:.2}%"), "", "0.5%", share <= 0.5);
    resident("idle, the agent alone: resident", mebibytes(agent), 15.0);
}

fn agent_restart() {
    let mut testbed = with_example(Layout::ProcessPerRole);
    let http = testbed.http();
    wait_for("an answer", PATIENCE, || get(http, "/").ok().filter(|a| a.status == 200), || testbed.logs_of_programs());
    let hammer = Hammer::start(http, "/");
    for _ in 0..10 {
        testbed.kill(Role::Agent);
        let seen = hammer.good();
        testbed.start_role(Role::Agent);
        wait_for("more answers", PATIENCE, || (hammer.good() > seen + 50).then_some(()), String::new);
    }
    let (good, failures) = hammer.finish();
    let what = format!("10 agent kills: failed of {} requests", good + failures.len() as u64);
    line(&what, &failures.len().to_string(), "", "0", failures.is_empty());
    let status = testbed.ctl_json(&["status"]);
    let restarts: u64 = status["replicas"]
        .as_array()
        .map(|replicas| replicas.iter().filter_map(|replica| replica["restarts"].as_u64()).sum())
        .unwrap_or(u64::MAX);
    line("10 agent kills: containers restarted", &restarts.to_string(), "", "0", restarts == 0);
}

/// The time at a percentile; sorts as it goes.
fn at(times: &mut [Duration], percentile: usize) -> Duration {
    times.sort();
    times[(times.len() * percentile).div_ceil(100).saturating_sub(1).min(times.len() - 1)]
}

/// Times beside the most that their median and their 99th percentile should be.
fn row(what: &str, times: &mut [Duration], median: Option<Duration>, tail: Option<Duration>) {
    let (p50, p99) = (at(times, 50), at(times, 99));
    let goals: Vec<String> = [median, tail].iter().flatten().map(|goal| format!("{}", goal.as_millis())).collect();
    let goal = if goals.is_empty() { String::new() } else { format!("{} ms", goals.join("/")) };
    let met = median.is_none_or(|goal| p50 <= goal) && tail.is_none_or(|goal| p99 <= goal);
    line(what, &milliseconds(p50), &milliseconds(p99), &goal, met);
}

fn line(what: &str, p50: &str, p99: &str, goal: &str, met: bool) {
    let verdict = if met { "" } else { "  MISSED" };
    println!("{what:<58} {p50:>10} {p99:>10} {goal:>12}{verdict}");
}

fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
