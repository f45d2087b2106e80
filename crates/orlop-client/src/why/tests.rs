use super::*;
use crate::sample;
use orlop_model::{DependencyFault, EndpointFault, Exit, Generation, Level, ReplicaId, Subject};
use std::sync::Arc;

const NOW: Timestamp = Timestamp(1_090_000);

/// `shop/api` with one replica in a phase since 1,000,000 ms, looked at 90 s later.
fn one(phase: Phase) -> (ClusterState, ReplicaId) {
    let mut state = sample::state();
    sample::add_service(&mut state, "shop/api", 1);
    let id = sample::add_replica(&mut state, "shop/api", 0, 0x11, phase);
    (state, id)
}

fn explain_replica(state: &ClusterState, id: ReplicaId) -> String {
    replica(state, &state.replicas[&id], &[], NOW).join("\n")
}

fn explain_service(state: &ClusterState) -> String {
    let found = state.services.values().next().expect("there is one");
    service(state, found, &[], NOW).join("\n")
}

#[test]
fn every_phase_has_its_words() {
    let output = "Its output: `orlopctl logs shop/api --replica rep_00000000000000000000000000000011 --tail 50`.";
    let check = "GET http://localhost:8080/up, expecting 200, every 10s, 3 in a row count";
    let table = [
        (
            Phase::Pending,
            "It was placed on alpha 1m30s ago, and the node has not begun with it: is its agent running? See `orlopctl node ls`.".to_owned(),
        ),
        (
            Phase::Preparing,
            "alpha has been preparing it for 1m30s: pulling the image registry.example/shop/api:1, its network, its volumes.".to_owned(),
        ),
        (Phase::Initializing, format!("Its init steps have been running for 1m30s.\n{output}")),
        (
            Phase::Starting,
            format!("Its process has been running for 1m30s, and no health check has passed yet ({check}).\n{output}"),
        ),
        (
            Phase::Running(Health::Unchecked),
            "It is ready: its process has been running for 1m30s, and the service has no health check.".to_owned(),
        ),
        (Phase::Running(Health::Healthy), "It is ready: healthy for 1m30s.".to_owned()),
        (
            Phase::Running(Health::Unhealthy),
            format!(
                "Its health check has been failing for 1m30s ({check}); it is started again (errors.on_panic: restart).\n{output}"
            ),
        ),
        (
            Phase::BackingOff(Timestamp(1_098_000)),
            "It failed 1m30s ago and tries again in 8s (the wait grows with every failure).".to_owned(),
        ),
        (
            Phase::BackingOff(Timestamp(1_080_000)),
            "It failed 1m30s ago and is about to try again (the wait grows with every failure).".to_owned(),
        ),
        (Phase::Stopping, "It has been stopping for 1m30s (by its stop signal, then SIGKILL after 10s).".to_owned()),
        (Phase::Finished(Outcome::Stopped), "It was stopped 1m30s ago, as asked.".to_owned()),
        (
            Phase::Finished(Outcome::Failed),
            "It failed for good 1m30s ago, and nothing is started in its place until shop is deployed again (the same file will do).".to_owned(),
        ),
        (
            Phase::Finished(Outcome::Isolated),
            "It failed 1m30s ago and was taken aside (errors.on_panic: isolate): nothing of it runs; its files, logs and network stay for a look until it is deployed again or stopped.".to_owned(),
        ),
        (Phase::Finished(Outcome::Lost), "It was lost with its node alpha 1m30s ago.".to_owned()),
    ];
    for (phase, expected) in table {
        let (state, id) = one(phase);
        assert_eq!(explain_replica(&state, id), expected, "{phase:?}");
    }
}

#[test]
fn a_replica_that_was_just_placed_alarms_nobody() {
    let (mut state, id) = one(Phase::Pending);
    state.replicas.get_mut(&id).expect("it is there").status.since = Timestamp(1_087_000);
    assert_eq!(explain_replica(&state, id), "It was placed on alpha 3s ago; the node is about to begin with it.");
}

#[test]
fn a_crash_loop_tells_reason_exit_restarts_and_where_the_output_is() {
    let (mut state, id) = one(Phase::BackingOff(Timestamp(1_094_000)));
    let replica = state.replicas.get_mut(&id).expect("it is there");
    (replica.status.restarts, replica.status.failures) = (4, 5);
    replica.status.last_exit = Some(Exit { code: 1, out_of_memory: false, at: Timestamp(1_000_000) });
    replica.status.reason = Some(Reason::new("exited", "its process exited with code 1"));
    assert_eq!(
        explain_replica(&state, id),
        "It failed 1m30s ago, 5 times in a row, and tries again in 4s (the wait grows with every failure and is forgotten after a calm while).\n\
         Reason: its process exited with code 1. A service's process is meant to stay; its output says why it ended.\n\
         Its process was started again 4 times so far.\n\
         Its output: `orlopctl logs shop/api --replica rep_00000000000000000000000000000011 --tail 50`."
    );
}

#[test]
fn the_last_exit_is_told_when_the_reason_is_about_something_else() {
    let (mut state, id) = one(Phase::Starting);
    let replica = state.replicas.get_mut(&id).expect("it is there");
    replica.status.restarts = 1;
    replica.status.last_exit = Some(Exit { code: 137, out_of_memory: true, at: Timestamp(1_030_000) });
    let text = explain_replica(&state, id);
    let told = "Its process was last killed by the kernel for lack of memory, 1m ago.";
    assert!(text.contains(told), "{text}");
    assert!(text.contains("Its process was started again once so far."), "{text}");
}

#[test]
fn an_endpoint_that_is_not_served_is_told_once_as_long_as_it_is_not() {
    let (mut state, _) = one(Phase::Running(Health::Healthy));
    let name = "shop/api".parse().expect("a name");
    let node = *state.nodes.keys().next().expect("there is one");
    let reason = Reason::new("port_taken", "endpoint sql is not served on 127.0.0.1:5432: stop that process");
    let since = Timestamp(NOW.0 - 5_000);
    let fault = EndpointFault { endpoint: "sql".parse().expect("a name"), node, since, reason: reason.clone() };
    let told = Event { sequence: 1, at: since, level: Level::Warning, subject: Subject::default(), reason };
    let explain = |state: &ClusterState| service(state, &state.services[&name], std::slice::from_ref(&told), NOW);
    let message = "endpoint sql is not served on 127.0.0.1:5432: stop that process.";
    let with_event = format!("5s ago: {message}");
    assert_eq!(explain(&state).last(), Some(&with_event), "it is over, and happened");
    state.services.get_mut(&name).expect("it is there").faults.push(fault);
    let lines = explain(&state);
    assert_eq!(lines[1..], [format!("Not served on alpha for 5s: {message}")], "{lines:?}");
}

#[test]
fn every_code_that_nodes_and_the_planner_give_gets_a_remedy() {
    for (code, remedy) in [
        ("image_not_found", "orlopctl image import"),
        ("image_unauthorized", "credentials"),
        ("image_invalid", "Push the image again"),
        ("image_unavailable", "registry runs"),
        ("no_command", "Set `command`"),
        ("command_not_found", "PATH"),
        ("permission_denied", "chmod 755"),
        ("not_a_program", "architecture"),
        ("interpreter_missing", "first line"),
        ("unknown_user", "\"1000:1000\""),
        ("env_missing", "where the agent is started"),
        ("mount_invalid", "Correct `volumes`"),
        ("working_dir_invalid", "Correct `working_dir`"),
        ("disk_full", "Make room"),
        ("disk_failed", "Look at the node's disk"),
        ("stop_signal_unknown", "Set `stop_signal`"),
        ("limit_not_enforced", "cgroup version 2"),
        ("runtime_unavailable", "containerd"),
        ("out_of_memory", "resources.memory"),
        ("exited", "meant to stay"),
        ("unhealthy", "health.check"),
        ("no_node_fits", "add a node"),
        ("dependency_timeout", "depends.timeout"),
        ("rollout_halted", "deploy the old one again"),
    ] {
        let (mut state, id) = one(Phase::Preparing);
        let reason = Reason::new(code, "it went wrong");
        state.replicas.get_mut(&id).expect("it is there").status.reason = Some(reason);
        let text = explain_replica(&state, id);
        assert!(text.contains("Reason: it went wrong. ") && text.contains(remedy), "{code}: {text}");
    }
    let (mut state, id) = one(Phase::Preparing);
    state.replicas.get_mut(&id).expect("it is there").status.reason = Some(Reason::new("new_word", "it is odd"));
    assert!(explain_replica(&state, id).ends_with("\nReason: it is odd."));
}

#[test]
fn an_order_to_stop_an_older_generation_and_a_silent_node_are_said() {
    let (mut state, id) = one(Phase::Running(Health::Healthy));
    state.services.values_mut().next().expect("there is one").workload_generation = Generation(2);
    assert!(explain_replica(&state, id).ends_with("\nIt runs generation 1; generation 2 will replace it."));

    state.replicas.get_mut(&id).expect("it is there").desired = Desired::Stop(StopOrder::Graceful);
    assert!(explain_replica(&state, id).ends_with("\nIt is to be stopped; its node has not begun with that yet."));

    let (mut state, id) = one(Phase::Running(Health::Healthy));
    state.nodes.values_mut().next().expect("there is one").liveness = Liveness::Suspect(Timestamp(1_060_000));
    assert!(explain_replica(&state, id).contains("Its node alpha has been silent for 30s:"));

    state.nodes.clear();
    assert!(explain_replica(&state, id).contains("is not known to the cluster any more."));
}

#[test]
fn a_forced_stop_and_a_policy_are_named() {
    let (mut state, id) = one(Phase::Stopping);
    state.replicas.get_mut(&id).expect("it is there").desired = Desired::Stop(StopOrder::Forced);
    assert_eq!(explain_replica(&state, id), "It has been stopping for 1m30s (by SIGKILL).");

    for (policy, words) in [
        (OnPanic::Restart, "started again (errors.on_panic: restart)"),
        (OnPanic::Shutdown, "shut down for good (errors.on_panic: shutdown)"),
        (OnPanic::Isolate, "taken aside for a look (errors.on_panic: isolate)"),
    ] {
        let (mut state, id) = one(Phase::Running(Health::Unhealthy));
        let service = state.services.values_mut().next().expect("there is one");
        Arc::make_mut(&mut Arc::make_mut(&mut service.spec).workload).on_panic = policy;
        assert!(explain_replica(&state, id).contains(words), "{policy:?}");
    }
}

#[test]
fn a_service_tells_what_holds_it_back() {
    let with = |change: &dyn Fn(&mut ServiceState, &mut ClusterState)| {
        let mut state = sample::state();
        sample::add_service(&mut state, "shop/api", 2);
        let mut service = state.services.values().next().expect("there is one").clone();
        change(&mut service, &mut state);
        state.services.insert(service.name.clone(), service);
        explain_service(&state)
    };
    let not_ready = "shop/api is not ready: 0 of 2 replicas are ready at generation 1.";
    let blocked = |code: &'static str, message: &'static str| {
        move |s: &mut ServiceState, _: &mut ClusterState| s.status.blocked.push(Reason::new(code, message))
    };
    assert_eq!(
        with(&blocked("no_node_fits", "needs 8 cpu; alpha has 2 free")),
        format!(
            "{not_ready}\nHeld back: needs 8 cpu; alpha has 2 free. Ask for less with `resources`, scale something down, or add a node."
        )
    );
    assert_eq!(
        with(&blocked("waiting_dependency", "waits for db: its replica is not ready yet")),
        format!("{not_ready}\nHeld back: waits for db: its replica is not ready yet.")
    );
    let fault = |failed| {
        move |s: &mut ServiceState, _: &mut ClusterState| {
            s.status.dependency_fault = Some(DependencyFault {
                generation: Generation(1),
                failed,
                reason: Reason::new("dependency_timeout", "db was not ready within 5m"),
            });
        }
    };
    assert_eq!(
        with(&|s, c| {
            fault(true)(s, c);
            blocked("dependency_timeout", "db was not ready within 5m")(s, c);
        }),
        format!(
            "{not_ready}\nHeld back: db was not ready within 5m. Look at what it waited for, then deploy again, or raise `depends.timeout`."
        )
    );
    assert!(with(&fault(false)).starts_with(&format!("{not_ready}\nDependencies: db was not ready within 5m.")));
    assert_eq!(
        with(&|s, _| s.replicas = 0),
        "shop/api has no replicas because 0 are wanted; `orlopctl scale shop/api 1` starts one."
    );
    assert!(with(&|s, _| s.stopping = Some(StopOrder::Graceful)).starts_with("shop/api is being stopped."));
    assert!(with(&|s, _| s.stopping = Some(StopOrder::Forced)).starts_with("shop/api is being stopped by force."));
    assert!(with(&|_, c| c.scheduler = None).contains("No scheduler is at work"));
    assert!(with(&|_, c| c.nodes.clear()).contains("No node has joined the cluster"));
    assert!(with(&|_, _| ()).contains("the scheduler has not acted on it yet"));
}

#[test]
fn a_service_explains_only_the_replicas_that_are_not_well() {
    let mut state = sample::state();
    sample::add_service(&mut state, "shop/api", 2);
    sample::add_replica(&mut state, "shop/api", 0, 0x11, Phase::Running(Health::Healthy));
    assert!(!explain_service(&state).contains("replica 0"));
    sample::add_replica(&mut state, "shop/api", 1, 0x12, Phase::Finished(Outcome::Failed));
    let text = explain_service(&state);
    assert!(text.starts_with("shop/api is not ready: 1 of 2 replicas are ready at generation 1."), "{text}");
    assert!(text.contains("\nreplica 1: It failed for good 1m30s ago") && !text.contains("replica 0"), "{text}");
}

#[test]
fn the_newest_events_come_first_and_are_five_at_most() {
    let (state, id) = one(Phase::Running(Health::Healthy));
    let events: Vec<Event> = (1..=7)
        .map(|n| Event {
            sequence: n,
            at: Timestamp(1_000_000 + n * 10_000),
            level: Level::Info,
            subject: Subject::default(),
            reason: Reason::new("thing", format!("thing {n}")),
        })
        .collect();
    let lines = replica(&state, &state.replicas[&id], &events, NOW);
    assert_eq!(
        lines[1..],
        ["20s ago: thing 7.", "30s ago: thing 6.", "40s ago: thing 5.", "50s ago: thing 4.", "1m ago: thing 3."]
    );
}

#[test]
fn spans_are_read_at_a_glance() {
    for (millis, text) in [
        (0, "0s"),
        (850, "850ms"),
        (12_400, "12s"),
        (60_000, "1m"),
        (200_000, "3m20s"),
        (7_500_000, "2h5m"),
        (363_600_000, "4d5h"),
    ] {
        assert_eq!(span(Millis(millis)), text);
    }
    assert_eq!(age(Timestamp(5), Timestamp(10)), "0s");
}

#[test]
fn nothing_is_told_twice() {
    let reason = Reason::new("exited", "its process exited with code 1");
    let (mut state, id) = one(Phase::BackingOff(Timestamp(1_094_000)));
    state.replicas.get_mut(&id).expect("it is there").status.reason = Some(reason);
    let event = |sequence: u64, message: &str| Event {
        sequence,
        at: Timestamp(1_000_000 + sequence * 10_000),
        level: Level::Warning,
        subject: Subject::default(),
        reason: Reason::new("restarting", message),
    };
    let crash =
        |n, wait: &str| event(n, &format!("shop/api slot 0: its process exited with code 1; tries again in {wait}"));
    let events = [
        event(1, "shop/api slot 0 was placed on alpha: 1 replica is wanted"),
        crash(2, "100ms"),
        event(3, "shop/api slot 0 is ready again"),
        crash(4, "1s"),
        event(5, "shop/api slot 0 is ready again"),
        crash(6, "2s"),
    ];
    let lines = replica(&state, &state.replicas[&id], &events, NOW);
    assert_eq!(
        lines[2..],
        [
            "30s ago: shop/api slot 0: the same (3 times since 1m10s ago).",
            "40s ago: shop/api slot 0 is ready again (2 times since 1m ago).",
            "1m20s ago: shop/api slot 0 was placed on alpha: 1 replica is wanted.",
        ]
    );
    let lines = replica(&state, &state.replicas[&id], &events[..2], NOW);
    assert_eq!(lines[2..], ["1m20s ago: shop/api slot 0 was placed on alpha: 1 replica is wanted."]);
}

#[test]
fn a_deployment_explains_its_services_that_are_not_well() {
    let mut state = sample::state();
    let shop = "shop".parse().expect("a name");
    sample::add_service(&mut state, "shop/api", 1);
    sample::add_service(&mut state, "shop/db", 1);
    sample::add_replica(&mut state, "shop/db", 0, 0x21, Phase::Running(Health::Healthy));
    sample::add_service(&mut state, "other/api", 1);
    let explain = |state: &ClusterState| deployment(state, &shop, &[], NOW);
    let lines = explain(&state);
    assert_eq!(lines[0], "shop/api is not ready: 0 of 1 replicas are ready at generation 1.");
    assert!(lines.iter().all(|line| !line.contains("shop/db") && !line.contains("other")), "{lines:?}");
    sample::add_replica(&mut state, "shop/api", 0, 0x11, Phase::Running(Health::Healthy));
    assert_eq!(explain(&state), ["shop is well: all of its 2 services are ready."]);
}
