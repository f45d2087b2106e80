//! The agent with a runtime in memory: what it does, what it survives, what it says.

use crate::cluster::{CLUSTER, Cluster, assignment, replica_id, until, within, workload};
use orlop_agent::Running;
use orlop_model::spec::{
    Check, EnvValue, HealthCheck, InitAction, InitStep, OnFailure, OnInitFailure, OnPanic, OnSecretChange, SecretFile,
    SecretMode, Signal,
};
use orlop_model::trust::{SecretName, SecretValue};
use orlop_model::*;
use orlop_proto::node::v1 as pb;
use orlop_proto::node::v1::session_frame::Frame;
use orlop_proto::node::v1::session_start::Kind;
use orlop_runtime::fake::{Behaviour, ExecBehaviour, Operation};
use orlop_runtime::{ContainerRuntime, ContainerState, FakeRuntime, MountSource, labels};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(crate) const IMAGE: &str = "registry.example/shop/api:1";

/// A cluster whose overlay is in memory too.
pub(crate) fn cluster() -> Cluster {
    let cluster = Cluster::start();
    cluster.start_overlay();
    cluster
}

pub(crate) fn runtime() -> FakeRuntime {
    let runtime = FakeRuntime::new(|| SystemTime::now().into());
    runtime.add_image(IMAGE, Behaviour::default());
    runtime
}

pub(crate) async fn start(cluster: &Cluster, runtime: &FakeRuntime) -> Running {
    cluster.agent(Arc::new(runtime.clone())).await
}

fn touched(runtime: &FakeRuntime) -> Vec<Operation> {
    let changes = [Operation::Create, Operation::Start, Operation::Signal, Operation::Remove];
    runtime.take_calls().into_iter().map(|c| c.operation).filter(|o| changes.contains(o)).collect()
}

pub(crate) async fn ids(runtime: &FakeRuntime) -> Vec<String> {
    runtime.list().await.expect("listed").into_iter().map(|c| c.id).collect()
}

#[tokio::test]
async fn a_placed_replica_runs_with_all_it_was_promised_and_is_gone_without_a_trace_when_stopped() {
    let (cluster, runtime) = (cluster(), runtime());
    let _agent = start(&cluster, &runtime).await;
    let replica = replica_id(1);
    let mut workload = workload(IMAGE);
    workload.env.insert("LOG".into(), EnvValue::Literal("info".into()));
    workload.args = Some(vec!["--port".into(), "80".into()]);
    cluster.control.assign(assignment(replica, workload));
    let status = cluster.control.until_phase(replica, Phase::Running(Health::Unchecked)).await;
    assert_eq!(status.address, Some("10.0.0.3".parse().expect("an address")));
    assert!(status.image_digest.is_some_and(|d| d.starts_with("sha256:")));
    assert_eq!(status.restarts, 0);
    let spec = runtime.spec(&format!("{replica}-1")).expect("its container");
    assert_eq!(spec.hostname, "api-0");
    assert_eq!(spec.env.get("LOG").map(String::as_str), Some("info"));
    assert_eq!(spec.args.as_deref(), Some(["--port".to_owned(), "80".to_owned()].as_slice()));
    assert_eq!(spec.labels.get(labels::SERVICE).map(String::as_str), Some("api"));
    assert_eq!(spec.labels.get(labels::CLUSTER), Some(&CLUSTER.to_string()));
    let hosts = std::fs::read_to_string(cluster.data().join(format!("replicas/{replica}/hosts"))).expect("hosts");
    assert!(hosts.contains("10.0.0.3\t0.api.shop.internal api-0\n"), "{hosts}");
    cluster.control.order(replica, Desired::Stop(StopOrder::Graceful));
    cluster.control.until_phase(replica, Phase::Finished(Outcome::Stopped)).await;
    assert!(ids(&runtime).await.is_empty() && cluster.overlay.attached.lock().is_empty());
    cluster.control.withdraw(replica);
    let directory = cluster.data().join(format!("replicas/{replica}"));
    until("its files are gone", || !directory.exists()).await;
}

#[tokio::test]
async fn a_secret_in_a_file_changes_under_its_process_which_is_told_also_of_what_an_agent_missed() {
    let (cluster, runtime) = (cluster(), runtime());
    runtime.add_image(IMAGE, Behaviour { ignores_signals: true, ..Behaviour::default() });
    let agent = start(&cluster, &runtime).await;
    let replica = replica_id(1);
    let container = format!("{replica}-1");
    let secret: SecretName = "db-password".parse().expect("a name");
    let hup = Signal::parse("SIGHUP").expect("a signal");
    let mut workload = workload(IMAGE);
    workload.stop_grace_period = Millis(100);
    workload.secret_files.push(SecretFile {
        secret: secret.clone(),
        path: "/run/secrets/db-password".parse().expect("a path"),
        mode: SecretMode::ALL,
        uid: 0,
        gid: 0,
        on_change: OnSecretChange::Signal(hup),
    });
    let with_value = |value: &str| {
        let mut assignment = assignment(replica, workload.clone());
        assignment.secrets.insert(secret.clone(), SecretValue(value.as_bytes().into()));
        assignment
    };
    cluster.control.assign(with_value("one"));
    cluster.control.until_phase(replica, Phase::Running(Health::Unchecked)).await;
    let mounts = runtime.spec(&container).expect("its container").mounts;
    let mount = mounts.last().expect("a mount");
    assert_eq!((mount.target.as_str(), mount.read_only), ("/run/secrets", true));
    let MountSource::Data(directory) = &mount.source else { panic!("{mount:?}") };
    let value = || std::fs::read_to_string(directory.join("db-password")).expect("the file");
    assert_eq!((value(), runtime.signals(&container)), ("one".into(), vec![]));

    cluster.control.assign(with_value("two"));
    within(runtime.until(|runtime| runtime.signals(&container) == [hup])).await;
    assert_eq!(value(), "two");
    agent.kill().await;
    cluster.control.assign(with_value("three"));
    let _agent = start(&cluster, &runtime).await;
    // Once more than needed, if the first agent was killed before it had noted that the process was told.
    within(runtime.until(|runtime| runtime.signals(&container).len() >= 2 && value() == "three")).await;
    assert_eq!(cluster.control.last(replica).map(|status| status.restarts), Some(0));

    cluster.control.order(replica, Desired::Stop(StopOrder::Graceful));
    cluster.control.until_phase(replica, Phase::Finished(Outcome::Stopped)).await;
    assert!(!directory.exists(), "nothing of it is left");
}

#[tokio::test]
async fn an_agent_that_is_killed_and_started_again_touches_no_container() {
    let (cluster, runtime) = (cluster(), runtime());
    let agent = start(&cluster, &runtime).await;
    let replicas: Vec<ReplicaId> = (1..=5).map(replica_id).collect();
    for (slot, replica) in (0..).zip(&replicas) {
        let mut assignment = assignment(*replica, workload(IMAGE));
        assignment.replica.slot = slot;
        cluster.control.assign(assignment);
    }
    for replica in &replicas {
        cluster.control.until_phase(*replica, Phase::Running(Health::Unchecked)).await;
    }
    let node = agent.node();
    agent.kill().await;
    runtime.take_calls();
    cluster.control.reports.send_replace(Vec::new());
    let agent = start(&cluster, &runtime).await;
    assert_eq!(agent.node(), node);
    for replica in &replicas {
        let status = cluster.control.until_phase(*replica, Phase::Running(Health::Unchecked)).await;
        assert_eq!(status.restarts, 0);
    }
    assert_eq!(touched(&runtime), []);
    // It looks after them again: a crash is noticed.
    assert!(runtime.exit(&format!("{}-1", replicas[0]), 7));
    let status = cluster.control.until(replicas[0], |s| s.restarts == 1 && s.phase.is_ready()).await;
    assert_eq!(status.last_exit.map(|e| e.code), Some(7));
}

#[tokio::test]
async fn a_replica_whose_logger_cannot_be_replaced_is_started_again_and_people_hear_of_both() {
    let (cluster, runtime) = (cluster(), runtime());
    runtime.add_image(IMAGE, Behaviour { ignores_signals: true, ..Behaviour::default() });
    let _agent = start(&cluster, &runtime).await;
    let replica = replica_id(1);
    cluster.control.assign(assignment(replica, workload(IMAGE)));
    cluster.control.until_phase(replica, Phase::Running(Health::Unchecked)).await;
    let container = format!("{replica}-1");
    runtime.lose_logger(&container, Ok(()));
    cluster.control.until_event("logger_replaced").await;
    assert_eq!(runtime.signals(&container), []);
    runtime.lose_logger(&container, Err("its shim is gone".into()));
    cluster.control.until_event("logger_lost").await;
    let status = cluster.control.until(replica, |s| s.restarts == 1 && s.phase.is_ready()).await;
    assert_eq!(status.last_exit.map(|e| e.code), Some(137));
}

#[tokio::test]
async fn without_a_control_plane_crashes_are_still_cured_also_by_a_new_agent_and_nothing_is_removed() {
    let (cluster, runtime) = (cluster(), runtime());
    let agent = start(&cluster, &runtime).await;
    let replica = replica_id(1);
    cluster.control.assign(assignment(replica, workload(IMAGE)));
    cluster.control.until_phase(replica, Phase::Running(Health::Unchecked)).await;
    cluster.stop("control");
    assert!(runtime.exit(&format!("{replica}-1"), 1));
    let runs = |id: String| {
        move |runtime: &FakeRuntime| runtime.spec(&id).is_some() && !runtime.signals(&id).contains(&Signal::KILL)
    };
    within(runtime.until(runs(format!("{replica}-2")))).await;
    // The view must be on disk before the agent dies; that it is written a little later is no loss.
    let cache = cluster.data().join("view");
    until("the view is on disk", || cache.exists()).await;
    agent.kill().await;
    let _agent = start(&cluster, &runtime).await;
    within(runtime.until(|r| !r.take_calls().is_empty())).await;
    runtime.exit(&format!("{replica}-2"), 1);
    within(runtime.until(runs(format!("{replica}-3")))).await;
    cluster.start_control();
    let status = cluster.control.until(replica, |s| s.restarts == 2 && s.phase.is_ready()).await;
    assert_eq!(status.phase, Phase::Running(Health::Unchecked));
}

#[tokio::test]
async fn what_a_live_view_does_not_hold_is_removed_and_what_belongs_to_others_is_left() {
    let (cluster, runtime) = (cluster(), runtime());
    let agent = start(&cluster, &runtime).await;
    let (stays, goes) = (replica_id(1), replica_id(2));
    cluster.control.assign(assignment(stays, workload(IMAGE)));
    let mut other = assignment(goes, workload(IMAGE));
    other.replica.slot = 1;
    cluster.control.assign(other);
    cluster.control.until_phase(stays, Phase::Running(Health::Unchecked)).await;
    cluster.control.until_phase(goes, Phase::Running(Health::Unchecked)).await;
    agent.kill().await;
    cluster.overlay.attached.lock().insert(replica_id(99));
    let mut foreign = runtime.spec(&format!("{goes}-1")).expect("its container");
    foreign.id = "someone-elses".into();
    foreign.labels.insert("orlop.dev/node".into(), NodeId::from_u128(5).to_string());
    runtime.create(&foreign).await.expect("made");
    cluster.control.withdraw(goes);
    let _agent = start(&cluster, &runtime).await;
    let overlay = cluster.overlay.clone();
    until("only what is wanted is attached", || overlay.attached.lock().iter().eq([&stays])).await;
    assert_eq!(ids(&runtime).await, [format!("{stays}-1"), "someone-elses".into()]);
    assert_eq!(runtime.signals(&format!("{stays}-1")), []);
}

#[tokio::test]
async fn a_runtime_that_goes_away_changes_no_status_and_is_waited_for() {
    let (cluster, runtime) = (cluster(), runtime());
    let _agent = start(&cluster, &runtime).await;
    let (old, new) = (replica_id(1), replica_id(2));
    cluster.control.assign(assignment(old, workload(IMAGE)));
    let before = cluster.control.until_phase(old, Phase::Running(Health::Unchecked)).await;
    runtime.set_available(false);
    cluster.control.until_event("runtime_unavailable").await;
    let mut second = assignment(new, workload(IMAGE));
    second.replica.slot = 1;
    cluster.control.assign(second);
    let waits = |s: &ReplicaStatus| s.reason.as_ref().is_some_and(|r| r.code == "runtime_unavailable");
    let status = cluster.control.until(new, waits).await;
    assert_eq!(status.phase, Phase::Preparing);
    runtime.set_available(true);
    cluster.control.until_event("runtime_back").await;
    let status = cluster.control.until_phase(new, Phase::Running(Health::Unchecked)).await;
    assert_eq!((status.restarts, status.reason), (0, None));
    assert_eq!(cluster.control.last(old), Some(before));
}

#[tokio::test]
async fn a_replica_without_its_variable_says_so_and_starts_when_the_agent_has_it() {
    let (cluster, runtime) = (cluster(), runtime());
    let agent = start(&cluster, &runtime).await;
    let replica = replica_id(1);
    let mut wants = workload(IMAGE);
    for (name, variable) in [("DB_URL", "SHOP_DB"), ("DB_READ_URL", "SHOP_DB"), ("CACHE_URL", "SHOP_CACHE")] {
        wants.env.insert(name.into(), EnvValue::AgentEnv(variable.into()));
    }
    cluster.control.assign(assignment(replica, wants));
    let status = cluster.control.until(replica, |s| matches!(s.phase, Phase::BackingOff(_))).await;
    let reason = status.reason.expect("a reason");
    assert_eq!(reason.code, "env_missing");
    assert_eq!(reason.message, "the environment of the node's agent has no SHOP_CACHE, SHOP_DB", "each once");
    agent.kill().await;
    let mut config = cluster.config();
    config.environment.insert("SHOP_DB".into(), "postgres://".into());
    config.environment.insert("SHOP_CACHE".into(), "redis://".into());
    let _agent = cluster.agent_with(config, Arc::new(runtime.clone())).await;
    cluster.control.until_phase(replica, Phase::Running(Health::Unchecked)).await;
    let spec = runtime.spec(&format!("{replica}-1")).expect("its container");
    assert_eq!(spec.env.get("DB_URL").map(String::as_str), Some("postgres://"));
}

#[tokio::test]
async fn an_init_step_that_fails_for_good_gives_the_replica_up_if_the_service_says_so() {
    let (cluster, runtime) = (cluster(), runtime());
    runtime.add_image("registry.example/broken:1", Behaviour { exits: Some(3), ..Behaviour::default() });
    let _agent = start(&cluster, &runtime).await;
    let replica = replica_id(1);
    let mut workload = workload("registry.example/broken:1");
    workload.on_init_failure = OnInitFailure::Fail;
    workload.init = vec![InitStep {
        id: "migrate".parse().expect("a name"),
        action: InitAction::Run { command: vec!["/migrate".into()] },
        timeout: Millis::from_secs(20),
        retries: 1,
        on_failure: OnFailure::Fail,
    }];
    cluster.control.assign(assignment(replica, workload));
    let status = cluster.control.until_phase(replica, Phase::Finished(Outcome::Failed)).await;
    let reason = status.reason.expect("a reason");
    assert!(reason.message.contains("migrate") && reason.message.contains("code 3"), "{reason}");
    let created = |c: &orlop_runtime::fake::Call| c.operation == Operation::Create;
    let tries: Vec<String> = runtime.take_calls().into_iter().filter(created).map(|c| c.subject).collect();
    assert_eq!(tries, [format!("{replica}-init-0-0"), format!("{replica}-init-0-1")]);
    until("nothing is left", || cluster.overlay.attached.lock().is_empty()).await;
    assert!(ids(&runtime).await.is_empty());
}

#[tokio::test]
async fn a_replica_waits_for_a_port_before_it_starts_and_is_ready_when_its_check_passes() {
    let (cluster, runtime) = (cluster(), runtime());
    let _agent = start(&cluster, &runtime).await;
    let replica = replica_id(1);
    // A port that was free a moment ago, for the server that is not there yet.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let mut workload = workload(IMAGE);
    workload.init = vec![InitStep {
        id: "wait-db".parse().expect("a name"),
        action: InitAction::WaitTcp { host: "localhost".into(), port: address.port() },
        timeout: Millis::from_secs(60),
        retries: 0,
        on_failure: OnFailure::Fail,
    }];
    workload.health = Some(HealthCheck {
        start_grace: Millis::from_secs(20),
        interval: Millis(200),
        timeout: Millis::from_secs(5),
        retries: 2,
        check: Check::Http { url: format!("http://localhost:{}/up?x=1", address.port()), expect_status: 204 },
    });
    cluster.control.assign(assignment(replica, workload));
    cluster.control.until_phase(replica, Phase::Initializing).await;
    assert!(ids(&runtime).await.is_empty(), "it started before its init step was done");
    let answer = Arc::new(std::sync::atomic::AtomicU32::new(503));
    let server = tokio::spawn(answers(address, answer.clone()));
    cluster.control.until_phase(replica, Phase::Starting).await;
    answer.store(204, std::sync::atomic::Ordering::Relaxed);
    cluster.control.until_phase(replica, Phase::Running(Health::Healthy)).await;
    answer.store(500, std::sync::atomic::Ordering::Relaxed);
    let unhealthy = cluster.control.until_phase(replica, Phase::Running(Health::Unhealthy)).await;
    let reason = unhealthy.reason.expect("a reason");
    assert!(reason.message.contains("500 instead of 204"), "{reason}");
    answer.store(204, std::sync::atomic::Ordering::Relaxed);
    let status = cluster.control.until(replica, |s| s.phase.is_ready() && s.restarts == 1).await;
    assert_eq!(status.phase, Phase::Running(Health::Healthy));
    server.abort();
}

/// A server that answers every request with a status.
pub(crate) async fn answers(address: std::net::SocketAddr, status: Arc<std::sync::atomic::AtomicU32>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind(address).await.expect("bound");
    while let Ok((mut stream, _)) = listener.accept().await {
        let status = status.load(std::sync::atomic::Ordering::Relaxed);
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            if stream.read(&mut buffer).await.is_ok_and(|n| buffer[..n].starts_with(b"GET /up?x=1 HTTP/1.1\r\n")) {
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all(head.as_bytes()).await;
            }
        });
    }
}

#[tokio::test]
async fn a_crash_means_what_the_service_says() {
    let (cluster, runtime) = (cluster(), runtime());
    let _agent = start(&cluster, &runtime).await;
    let (down, apart) = (replica_id(1), replica_id(2));
    for (replica, slot, on_panic) in [(down, 0, OnPanic::Shutdown), (apart, 1, OnPanic::Isolate)] {
        let mut workload = workload(IMAGE);
        workload.on_panic = on_panic;
        let mut assignment = assignment(replica, workload);
        assignment.replica.slot = slot;
        cluster.control.assign(assignment);
        cluster.control.until_phase(replica, Phase::Running(Health::Unchecked)).await;
        assert!(runtime.out_of_memory(&format!("{replica}-1")));
    }
    let status = cluster.control.until_phase(down, Phase::Finished(Outcome::Failed)).await;
    assert_eq!(status.reason.map(|r| r.code).as_deref(), Some("out_of_memory"));
    cluster.control.until_phase(apart, Phase::Finished(Outcome::Isolated)).await;
    let overlay = cluster.overlay.clone();
    until("only the isolated one is attached", || overlay.attached.lock().iter().eq([&apart])).await;
    assert_eq!(ids(&runtime).await, [format!("{apart}-1")]);
    cluster.control.order(apart, Desired::Stop(StopOrder::Graceful));
    cluster.control.until_phase(apart, Phase::Finished(Outcome::Stopped)).await;
    assert!(ids(&runtime).await.is_empty());
}

#[tokio::test]
async fn a_process_that_ignores_its_stop_signal_is_killed_after_its_grace_and_at_once_when_forced() {
    let (cluster, runtime) = (cluster(), runtime());
    runtime.add_image(IMAGE, Behaviour { ignores_signals: true, ..Behaviour::default() });
    let _agent = start(&cluster, &runtime).await;
    let (patient, forced) = (replica_id(1), replica_id(2));
    let mut deaf = workload(IMAGE);
    deaf.stop_grace_period = Millis(300);
    deaf.stop_signal = Signal::parse("SIGUSR1");
    cluster.control.assign(assignment(patient, deaf));
    let mut other = assignment(forced, workload(IMAGE));
    other.replica.slot = 1;
    cluster.control.assign(other);
    for replica in [patient, forced] {
        cluster.control.until_phase(replica, Phase::Running(Health::Unchecked)).await;
    }
    // Removed containers forget their signals: what they were sent is looked at before.
    runtime.hold(Operation::Remove, format!("{patient}-1"));
    runtime.hold(Operation::Remove, format!("{forced}-1"));
    let begin = std::time::Instant::now();
    cluster.control.order(patient, Desired::Stop(StopOrder::Graceful));
    cluster.control.order(forced, Desired::Stop(StopOrder::Forced));
    let killed = |replica: ReplicaId| {
        move |runtime: &FakeRuntime| runtime.signals(&format!("{replica}-1")).contains(&Signal::KILL)
    };
    within(runtime.until(killed(forced))).await;
    within(runtime.until(killed(patient))).await;
    assert!(begin.elapsed() >= Duration::from_millis(300), "killed before its grace was over");
    assert_eq!(runtime.signals(&format!("{forced}-1")), [Signal::KILL]);
    assert_eq!(runtime.signals(&format!("{patient}-1")), [Signal::parse("USR1").expect("a signal"), Signal::KILL]);
    runtime.release(Operation::Remove, &format!("{patient}-1"));
    runtime.release(Operation::Remove, &format!("{forced}-1"));
    for replica in [patient, forced] {
        cluster.control.until_phase(replica, Phase::Finished(Outcome::Stopped)).await;
    }
    cluster.control.until_event("killed_after_grace").await;
}

#[tokio::test]
async fn the_images_stop_signal_is_used_also_by_the_next_agent_and_one_that_is_none_is_told() {
    let (cluster, runtime) = (cluster(), runtime());
    let image = |stop_signal: &str| {
        let mut behaviour = Behaviour::default();
        behaviour.config.stop_signal = Some(stop_signal.into());
        behaviour
    };
    runtime.add_image(IMAGE, image("SIGUSR1"));
    runtime.add_image("registry.example/strange:1", image("SIGRTMIN+3"));
    let agent = start(&cluster, &runtime).await;
    let (usual, strange) = (replica_id(1), replica_id(2));
    cluster.control.assign(assignment(usual, workload(IMAGE)));
    let mut second = assignment(strange, workload("registry.example/strange:1"));
    second.replica.slot = 1;
    cluster.control.assign(second);
    for replica in [usual, strange] {
        cluster.control.until_phase(replica, Phase::Running(Health::Unchecked)).await;
    }
    cluster.control.until_event("stop_signal_unknown").await;
    agent.kill().await;
    let _agent = start(&cluster, &runtime).await;
    for (replica, signal) in [(usual, "SIGUSR1"), (strange, "SIGTERM")] {
        let id = format!("{replica}-1");
        runtime.hold(Operation::Remove, &id);
        cluster.control.order(replica, Desired::Stop(StopOrder::Graceful));
        let sent = [Signal::parse(signal).expect("a signal")];
        within(runtime.until(|runtime| runtime.signals(&id) == sent)).await;
        runtime.release(Operation::Remove, &id);
        cluster.control.until_phase(replica, Phase::Finished(Outcome::Stopped)).await;
    }
}

#[tokio::test]
async fn a_stop_cancels_a_pull_that_hangs() {
    let (cluster, runtime) = (cluster(), runtime());
    runtime.hold(Operation::EnsureImage, IMAGE);
    let _agent = start(&cluster, &runtime).await;
    let replica = replica_id(1);
    cluster.control.assign(assignment(replica, workload(IMAGE)));
    cluster.control.until_phase(replica, Phase::Preparing).await;
    cluster.control.order(replica, Desired::Stop(StopOrder::Graceful));
    cluster.control.until_phase(replica, Phase::Finished(Outcome::Stopped)).await;
    assert!(cluster.overlay.attached.lock().is_empty());
}

#[tokio::test]
async fn a_replica_of_an_older_generation_is_not_begun_beside_a_newer_one() {
    let (cluster, runtime) = (cluster(), runtime());
    let _agent = start(&cluster, &runtime).await;
    let (new, old) = (replica_id(1), replica_id(2));
    cluster.control.assign(assignment(new, workload(IMAGE)));
    cluster.control.until_phase(new, Phase::Running(Health::Unchecked)).await;
    let mut stale = assignment(old, workload(IMAGE));
    stale.replica.generation = Generation(2);
    cluster.control.assign(stale);
    let status = cluster.control.until_phase(old, Phase::Finished(Outcome::Failed)).await;
    assert_eq!(status.reason.map(|r| r.code).as_deref(), Some("stale_generation"));
    assert_eq!(ids(&runtime).await, [format!("{new}-1")]);
}

#[tokio::test]
async fn a_restarted_machine_starts_its_replicas_again_without_blaming_them() {
    let (cluster, runtime) = (cluster(), runtime());
    let agent = start(&cluster, &runtime).await;
    let replica = replica_id(1);
    cluster.control.assign(assignment(replica, workload(IMAGE)));
    cluster.control.until_phase(replica, Phase::Running(Health::Unchecked)).await;
    agent.kill().await;
    runtime.reboot();
    cluster.overlay.attached.lock().clear();
    cluster.control.reports.send_replace(Vec::new());
    let _agent = start(&cluster, &runtime).await;
    let status = cluster.control.until(replica, |s| s.phase.is_ready() && s.restarts == 1).await;
    assert_eq!(status.last_exit, None);
    let backed_off = cluster.control.reports.borrow().iter().any(|(_, s)| matches!(s.phase, Phase::BackingOff(_)));
    assert!(!backed_off);
    assert_eq!(ids(&runtime).await, [format!("{replica}-2")]);
}

#[tokio::test]
async fn a_command_runs_in_a_replica_and_images_are_imported_and_listed() {
    let (cluster, runtime) = (cluster(), runtime());
    runtime.add_exec("/hello", ExecBehaviour { exits: Some(4), stdout: b"hello\n".to_vec() });
    let _agent = start(&cluster, &runtime).await;
    let replica = replica_id(1);
    cluster.control.assign(assignment(replica, workload(IMAGE)));
    cluster.control.until_phase(replica, Phase::Running(Health::Unchecked)).await;
    let exec = |replica: String| {
        Kind::Exec(pb::ExecStart { replica, command: vec!["/hello".into()], terminal: false, size: None })
    };
    let mut session = cluster.control.session("ses_1", exec(replica.to_string())).await;
    let output = pb::Output { stream: pb::Stream::Stdout.into(), data: b"hello\n".to_vec() };
    assert_eq!(session.next().await, Some(Frame::Output(output)));
    assert_eq!(session.next().await, Some(Frame::ExitCode(4)));
    let mut session = cluster.control.session("ses_2", exec(replica_id(9).to_string())).await;
    let Some(Frame::Failure(reason)) = session.next().await else { panic!("no failure") };
    assert_eq!(reason.code, "replica_unknown");
    let import = Kind::ImageImport(pb::ImageImportStart { name: "registry.example/new:1".into() });
    let mut session = cluster.control.session("ses_3", import).await;
    session.say(Frame::Input(vec![1; 1000])).await;
    session.say(Frame::Input(vec![2; 24])).await;
    session.say(Frame::Input(Vec::new())).await;
    let Some(Frame::Images(images)) = session.next().await else { panic!("no images") };
    assert_eq!(
        images.images.iter().map(|i| (i.name.as_str(), i.size)).collect::<Vec<_>>(),
        [("registry.example/new:1", 1024)]
    );
    let broken = Kind::ImageImport(pb::ImageImportStart { name: "registry.example/broken:1".into() });
    let mut session = cluster.control.session("ses_4", broken).await;
    session.say(Frame::Input(vec![1; 10])).await;
    let (gone, _) = tokio::sync::mpsc::channel(1);
    session.send = gone;
    assert!(matches!(session.next().await, Some(Frame::Failure(_))), "half an archive is no archive");
    let mut session = cluster.control.session("ses_5", Kind::ImageList(pb::ImageListStart {})).await;
    let Some(Frame::Images(images)) = session.next().await else { panic!("no images") };
    let names: Vec<&str> = images.images.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["registry.example/new:1", IMAGE]);
}

#[tokio::test]
async fn stopping_the_agent_leaves_its_containers_and_tells_its_last_words() {
    let (cluster, runtime) = (cluster(), runtime());
    let stop = tokio_util::sync::CancellationToken::new();
    let mut agent =
        orlop_agent::start(cluster.config(), Arc::new(runtime.clone()), stop.clone()).await.expect("started");
    let replica = replica_id(1);
    cluster.control.assign(assignment(replica, workload(IMAGE)));
    cluster.control.until_phase(replica, Phase::Running(Health::Unchecked)).await;
    stop.cancel();
    within(agent.ended()).await.expect("it ends because it was asked to");
    let containers = runtime.list().await.expect("listed");
    assert!(matches!(containers[0].state, ContainerState::Running { .. }));
    assert_eq!(runtime.signals(&containers[0].id), []);
}

#[tokio::test]
async fn what_a_session_said_last_waits_for_a_reader_who_takes_their_time() {
    let (cluster, runtime) = (cluster(), runtime());
    let _agent = start(&cluster, &runtime).await;
    let directory = cluster.data().join(format!("logs/shop/api/0/{}", replica_id(1)));
    std::fs::create_dir_all(&directory).expect("made");
    let file = directory.join("0.log");
    let line = |n: u32| format!("2026-11-21T07:53:50.{n:09}Z stdout F {}\n", "x".repeat(60_000));
    std::fs::write(&file, (0..40).map(line).collect::<String>()).expect("written");
    let logs = Kind::Logs(pb::LogsStart {
        service: Some((&"shop/api".parse::<ServiceRef>().expect("a name")).into()),
        ..pb::LogsStart::default()
    });
    let mut session = cluster.control.session_of("ses_1", logs, 1).await;
    assert!(matches!(session.next().await, Some(Frame::Log(_))));
    let is_read = || {
        let open = std::fs::read_dir("/proc/self/fd").expect("own files").flatten();
        !open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|open| open == file)
    };
    until("all is read and waits to be taken", is_read).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(15)).await;
    tokio::time::resume();
    for n in 1..40 {
        assert!(matches!(session.next().await, Some(Frame::Log(_))), "line {n}");
    }
    assert!(matches!(session.next().await, Some(Frame::CaughtUp(_))));
}
