//! Golden bytes: what this version writes is what it wrote when the file was made, and what was written then still reads.
//!
//! A failure here means that clusters could not be upgraded, or not be downgraded again. A new kind of command gets a file
//! when the test runs with `UPDATE_GOLDEN=1`; that never rewrites a file that is there.

use crate::sample::*;
use orlop_model::plan::{Plan, Step};
use orlop_model::spec::*;
use orlop_model::*;
use orlop_state::command::*;
use orlop_state::{Command, Kind, stored};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

const NODE: u128 = 0x0192_3456_789a_7bcd_8ef0_1234_5678_9abc;

/// A service in which every field of a spec is set.
fn full_service() -> Service {
    let name = |text: &str| text.parse().expect("a name");
    Service {
        workload: Arc::new(Workload {
            image: Image { name: "registry.test/shop/api:1.4".into(), pull_policy: PullPolicy::Always },
            command: Some(vec!["/api".into()]),
            args: Some(vec!["--port".into(), "8080".into()]),
            working_dir: Some("/srv".into()),
            user: Some("1000:1000".into()),
            env: BTreeMap::from([
                ("DB_URL".into(), EnvValue::AgentEnv("DB_URL".into())),
                ("LOG".into(), EnvValue::Literal("info".into())),
            ]),
            resources: Resources { cpu: Some(Cpu(500)), memory: Some(Memory(256 << 20)) },
            health: Some(HealthCheck {
                start_grace: Millis(5_000),
                interval: Millis(10_000),
                timeout: Millis(5_000),
                retries: 3,
                check: Check::Http { url: "http://localhost:8080/up".into(), expect_status: 200 },
            }),
            init: vec![
                InitStep {
                    id: "wait-db".parse().expect("a name"),
                    action: InitAction::WaitTcp { host: "db.shop.test".into(), port: 5432 },
                    timeout: Millis(60_000),
                    retries: 0,
                    on_failure: OnFailure::Fail,
                },
                InitStep {
                    id: "wait-web".parse().expect("a name"),
                    action: InitAction::WaitHttp { url: "http://web.test/".into(), expect_status: 204 },
                    timeout: Millis(60_000),
                    retries: 0,
                    on_failure: OnFailure::Warn,
                },
                InitStep {
                    id: "migrate".parse().expect("a name"),
                    action: InitAction::Run { command: vec!["/migrate".into()] },
                    timeout: Millis(60_000),
                    retries: 2,
                    on_failure: OnFailure::Continue,
                },
            ],
            on_init_failure: OnInitFailure::Restart,
            on_panic: OnPanic::Isolate,
            volumes: vec![
                Volume { target: "/data".into(), read_only: false, source: VolumeSource::Named(name("data")) },
                Volume { target: "/etc/x".into(), read_only: true, source: VolumeSource::Bind("/etc/x".into()) },
                Volume {
                    target: "/tmp".into(),
                    read_only: false,
                    source: VolumeSource::Tmpfs { size: Some(Memory(1 << 20)) },
                },
            ],
            secret_files: Vec::new(),
            stop_signal: Some(Signal::TERM),
            stop_grace_period: Millis(10_000),
        }),
        endpoints: vec![
            Endpoint {
                name: "http".parse().expect("a name"),
                protocol: Protocol::Http,
                port: 8080,
                path: "/api".into(),
                host: Some("shop.test".into()),
            },
            Endpoint {
                name: "tcp".parse().expect("a name"),
                protocol: Protocol::Tcp,
                port: 9000,
                path: "/".into(),
                host: None,
            },
        ],
        scale: orlop_model::spec::Scale::Manual,
        depends: vec![Dependency {
            service: "db".parse().expect("a name"),
            condition: Condition::Healthy,
            timeout: Some(Millis(300_000)),
            on_timeout: OnFailure::Fail,
        }],
        update: Update { max_surge: 2, max_unavailable: 1, min_healthy: Millis(10_000) },
        placement: Placement {
            constraints: vec![
                Constraint { attribute: NodeAttribute::Label("disk".into()), equal: true, value: "ssd".into() },
                Constraint { attribute: NodeAttribute::Name, equal: false, value: "beta".into() },
            ],
        },
    }
}

fn full_deployment() -> Deployment {
    let mut db = service("registry.test/db:1", "/db", 5432, 1);
    let mut workload = workload("registry.test/db:1");
    workload.health = Some(HealthCheck {
        start_grace: Millis(0),
        interval: Millis(1_000),
        timeout: Millis(1_000),
        retries: 1,
        check: Check::Tcp { port: 5432 },
    });
    db.workload = Arc::new(workload);
    let mut web = service("registry.test/web:1", "/", 80, 2);
    let mut workload = (*web.workload).clone();
    workload.health = Some(HealthCheck {
        start_grace: Millis(0),
        interval: Millis(1_000),
        timeout: Millis(1_000),
        retries: 1,
        check: Check::Command { command: vec!["/up".into()] },
    });
    web.workload = Arc::new(workload);
    with_services("shop", [("api", full_service()), ("db", db), ("web", web)])
}

fn full_status() -> ReplicaStatus {
    ReplicaStatus {
        phase: Phase::BackingOff(Timestamp(1_700_000_010_000)),
        since: Timestamp(1_700_000_000_000),
        restarts: 3,
        failures: 0,
        address: Some("10.77.0.9".parse().expect("an address")),
        reason: Some(Reason::new("exited", "exited with code 1")),
        last_exit: Some(Exit { code: 1, out_of_memory: true, at: Timestamp(1_700_000_000_000) }),
        image_digest: Some("sha256:00".into()),
    }
}

fn commands() -> Vec<(&'static str, Kind)> {
    let node = NodeId::from_u128(NODE);
    let replica = ReplicaId::from_u128(0x0192_3456_789a_7bcd_8ef0_1234_5678_9abd);
    let status = ServiceStatus {
        blocked: vec![Reason::new("no_node_fits", "no node has 0.5 cpu left")],
        dependency_fault: Some(DependencyFault {
            generation: Generation(3),
            failed: true,
            reason: Reason::new("dependency_timeout", "db was not healthy within 5m"),
        }),
    };
    let steps = vec![
        Step::Start {
            replica,
            service: at("shop/api"),
            slot: 2,
            generation: Generation(3),
            node,
            why: Reason::new("new", "3 replicas are wanted"),
        },
        Step::Stop { replica, order: StopOrder::Forced, why: Reason::new("scale_down", "1 replica is wanted") },
        Step::Forget { replica },
        Step::Note { service: at("shop/api"), generation: Generation(3), status },
        Step::Remove { service: at("shop/api") },
    ];
    let subject = Subject {
        deployment: Some("shop".parse().expect("a name")),
        service: Some("api".parse().expect("a name")),
        replica: Some(replica),
        slot: Some(2),
        node: Some(node),
    };
    let event = EventRecord {
        at: Timestamp(1_700_000_000_000),
        level: Level::Warning,
        subject,
        reason: Reason::new("slow_pull", "the image took long"),
    };
    let report = ReplicaReport { replica, generation: Generation(3), status: full_status() };
    let deploy = Deploy { deployment: full_deployment(), expected_generation: Some(Generation(2)), retry: false };
    let again = Deploy { retry: true, ..deploy.clone() };
    let failing = ReplicaStatus { failures: 4, ..full_status() };
    let failing = vec![ReplicaReport { replica, generation: Generation(3), status: failing }];
    let init = InitCluster {
        cluster: ClusterId::from_u128(0x0192_3456_789a_7bcd_8ef0_1234_5678_9abe),
        range: "10.77.0.0/16".parse().expect("a range"),
        trust: None,
    };
    let stop = Stop {
        deployment: "shop".parse().expect("a name"),
        service: Some("api".parse().expect("a name")),
        order: StopOrder::Forced,
    };
    let plan = SubmitPlan { fence: 7, plan: Plan { revision: Revision(41), steps, wake_at: None } };
    let reachable =
        RegisterNode { node, address: Some("192.0.2.7".parse().expect("an address")), ..register(1, "alpha") };
    let all = [Verdict::Alive, Verdict::Suspect, Verdict::Lost, Verdict::Suspect];
    let judge = JudgeNodes { verdicts: (1..).map(NodeId::from_u128).zip(all).collect() };
    vec![
        ("init_cluster", Kind::InitCluster(init)),
        ("deploy", Kind::Deploy(deploy)),
        ("deploy_again", Kind::Deploy(again)),
        ("scale", Kind::Scale(orlop_state::command::Scale { service: at("shop/api"), replicas: 5 })),
        ("stop", Kind::Stop(stop)),
        ("register_node", Kind::RegisterNode(RegisterNode { node, ..register(1, "alpha") })),
        ("register_node_address", Kind::RegisterNode(reachable)),
        ("judge_nodes", Kind::JudgeNodes(judge)),
        ("schedule_node", Kind::ScheduleNode(ScheduleNode { node, scheduling: Scheduling::Draining })),
        ("remove_node", Kind::RemoveNode(RemoveNode { node, identity: None })),
        (
            "remove_node_with_identity",
            Kind::RemoveNode(RemoveNode { node, identity: Some("orlop://clu_1/node/node_1".into()) }),
        ),
        ("report_replicas", Kind::ReportReplicas(ReportReplicas { node, reports: vec![report] })),
        ("report_failures", Kind::ReportReplicas(ReportReplicas { node, reports: failing.clone() })),
        ("report_many", Kind::ReportMany(ReportMany { nodes: vec![ReportReplicas { node, reports: failing }] })),
        ("submit_plan", Kind::SubmitPlan(plan)),
        ("acquire_lease", Kind::AcquireLease(AcquireLease { holder: "one".into(), ttl: Millis(15_000) })),
        ("record_events", Kind::RecordEvents(RecordEvents { events: vec![event] })),
        ("add_member", Kind::AddMember(add_member(None, "three"))),
        ("add_first_member", Kind::AddMember(add_member(Some(MemberId::FIRST), "one"))),
        ("move_member", Kind::MoveMember(MoveMember { id: MemberId(7), address: "10.0.0.9:7700".into() })),
        ("remove_member", Kind::RemoveMember(RemoveMember { id: MemberId(7) })),
        ("report_endpoints", Kind::ReportEndpoints(ReportEndpoints { node, unserved: vec![unserved("shop/api")] })),
    ]
}

fn add_member(id: Option<MemberId>, name: &str) -> AddMember {
    AddMember { id, name: name.parse().expect("a name"), address: format!("{name}.test:7700") }
}

fn unserved(service: &str) -> UnservedEndpoint {
    UnservedEndpoint {
        route: RouteKey { service: at(service), endpoint: "http".parse().expect("a name") },
        reason: Reason::new("port_taken", "port 5432 is taken by another process"),
    }
}

/// A state in which everything that a snapshot could hold at first is there.
fn full_state() -> orlop_state::State {
    let mut machine = Machine { now: Timestamp(1_700_000_000_000), ..Machine::default() };
    machine.init("10.77.0.0/16");
    machine.register(1, "alpha");
    machine.register(2, "beta");
    machine.apply(Kind::AcquireLease(AcquireLease { holder: "one".into(), ttl: Millis::from_secs(60) }));
    machine.deploy(&shop("gone", "a:1", 0));
    machine.stop("gone", None, StopOrder::Graceful);
    machine.plan(vec![Step::Remove { service: at("gone/api") }]);
    machine.deploy(&full_deployment());
    let generation = machine.state.generation_of(&"shop".parse().expect("a name")).0;
    machine.plan(vec![start(1, "shop/api", 0, generation, 1), start(2, "shop/web", 0, generation, 2)]);
    machine.report(1, 1, full_status());
    machine.report(2, 2, in_phase(READY));
    let mut next = full_deployment();
    next.services.remove("db");
    if let Some(web) = next.services.get_mut("web") {
        web.workload = Arc::new(workload("registry.test/web:2"));
    }
    if let Some(api) = next.services.get_mut("api") {
        api.depends.clear();
    }
    machine.deploy(&next);
    machine.plan(vec![end(2, StopOrder::Graceful)]);
    machine.apply(silent(NodeId::from_u128(2)));
    machine.state
}

fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|b| format!("{b:02x}")).collect::<String>();
    bytes.chunks(60).map(|chunk| line(chunk) + "\n").collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("hexadecimal digits");
    digits.chunks(2).map(byte).collect()
}

/// Compares bytes with a file, and gives the bytes of the file.
pub(crate) fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.hex"));
    if !path.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, hex(bytes)).expect("written");
    }
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{name} has no golden bytes ({e}); make them with UPDATE_GOLDEN=1"));
    assert_eq!(hex(bytes), text, "{name} is written in another form than before");
    unhex(&text)
}

#[test]
fn commands_are_written_and_read_as_ever() {
    for (name, kind) in commands() {
        let command = Command::new(Timestamp(1_700_000_000_000), kind);
        let bytes = golden(&format!("command_{name}"), &stored::encode_command(&command));
        assert_eq!(stored::decode_command(&bytes), command, "{name} is read as something else than before");
    }
}

/// Older versions stored the default of the time, SIGTERM, as if it had been asked for.
#[test]
fn a_workload_that_leaves_its_stop_signal_to_the_image_is_read_by_versions_that_cannot() {
    let mut deployment = full_deployment();
    deployment.services.retain(|name, _| name.as_str() == "db");
    for service in deployment.services.values_mut() {
        Arc::make_mut(&mut service.workload).stop_signal = None;
    }
    let kind = Kind::Deploy(Deploy { deployment, expected_generation: None, retry: false });
    let command = Command::new(Timestamp(1_700_000_000_000), kind);
    let bytes = golden("command_deploy_stop_signal_of_image", &stored::encode_command(&command));
    assert_eq!(stored::decode_command(&bytes), command);
    let Some(orlop_proto::store::v1::command::Kind::Deploy(wire)) =
        orlop_proto::store::v1::Command::from(&command).kind
    else {
        panic!("it is a deploy");
    };
    let services = wire.deployment.expect("a deployment").services;
    let workload = services["db"].workload.as_ref().expect("a workload");
    assert_eq!((workload.stop_signal, workload.stop_signal_of_image), (15, true));
}

#[test]
fn secrets_as_files_are_written_and_read_as_ever() {
    let file = |path: &str, mode, on_change| SecretFile {
        secret: "db-password".parse().expect("a name"),
        path: path.parse().expect("a path"),
        mode: SecretMode::from_bits(mode).expect("permissions to read"),
        uid: 1000,
        gid: 2000,
        on_change,
    };
    let hup = Signal::from_number(1).and_then(OnSecretChange::signal).expect("it is heard of");
    let mut deployment = full_deployment();
    deployment.services.retain(|name, _| name.as_str() == "db");
    for service in deployment.services.values_mut() {
        Arc::make_mut(&mut service.workload).secret_files = vec![
            file("/run/secrets/db-password", 0o444, OnSecretChange::Restart),
            file("/run/secrets/tls/key", 0o400, hup),
            file("/vault/other", 0o440, OnSecretChange::Nothing),
        ];
    }
    let kind = Kind::Deploy(Deploy { deployment, expected_generation: None, retry: false });
    let command = Command::new(Timestamp(1_700_000_000_000), kind);
    let bytes = golden("command_deploy_secret_files", &stored::encode_command(&command));
    assert_eq!(stored::decode_command(&bytes), command);
}

#[test]
fn every_kind_of_command_has_golden_bytes() {
    use orlop_proto::store::v1::command::Kind as Wire;
    let mut covered = 0;
    for (_, kind) in commands() {
        let command = Command::new(Timestamp(0), kind);
        // A new kind does not compile here until it is thought of.
        covered += match orlop_proto::store::v1::Command::from(&command).kind {
            Some(
                Wire::InitCluster(_)
                | Wire::Deploy(_)
                | Wire::Scale(_)
                | Wire::Stop(_)
                | Wire::RegisterNode(_)
                | Wire::JudgeNodes(_)
                | Wire::ScheduleNode(_)
                | Wire::RemoveNode(_)
                | Wire::ReportReplicas(_)
                | Wire::ReportMany(_)
                | Wire::SubmitPlan(_)
                | Wire::AcquireLease(_)
                | Wire::RecordEvents(_)
                | Wire::ReportEndpoints(_)
                | Wire::AddMember(_)
                | Wire::MoveMember(_)
                | Wire::RemoveMember(_),
            ) => 1,
            // Read, and not written any more: below.
            Some(Wire::NodeSilent(_) | Wire::NodeAlive(_)) | None => 0,
            // Theirs are in `trust`.
            Some(
                Wire::CreateJoinToken(_)
                | Wire::UseJoinToken(_)
                | Wire::RevokeJoinToken(_)
                | Wire::PutOperator(_)
                | Wire::RemoveOperator(_)
                | Wire::IssueOperatorToken(_)
                | Wire::RevokeOperatorToken(_)
                | Wire::RotateSigningKey(_)
                | Wire::RevokeIdentity(_)
                | Wire::SetSecret(_)
                | Wire::RemoveSecret(_)
                | Wire::SealSecretsAgain(_),
            ) => 0,
        };
    }
    assert_eq!(covered, 22, "five of them in two forms");
}

#[test]
fn snapshots_are_written_and_read_as_ever() {
    let state = full_state();
    let bytes = golden("snapshot", &stored::encode_state(&state));
    assert_eq!(stored::decode_state(&bytes), Ok(state));
}

#[test]
fn members_are_written_and_read_as_ever() {
    let mut machine = Machine { now: Timestamp(1_700_000_000_000), ..Machine::default() };
    machine.init("10.77.0.0/16");
    machine.apply(Kind::AddMember(add_member(Some(MemberId::FIRST), "one")));
    machine.apply(Kind::AddMember(add_member(None, "two")));
    let bytes = golden("snapshot_members", &stored::encode_state(&machine.state));
    assert_eq!(stored::decode_state(&bytes), Ok(machine.state));
}

#[test]
fn faults_of_endpoints_are_written_and_read_as_ever() {
    let mut machine = Machine { now: Timestamp(1_700_000_000_000), ..Machine::default() };
    machine.init("10.77.0.0/16");
    machine.register(1, "alpha");
    machine.deploy(&full_deployment());
    let unserved = full_deployment().services.keys().map(|name| unserved(&format!("shop/{name}"))).collect();
    machine.apply(Kind::ReportEndpoints(ReportEndpoints { node: NodeId::from_u128(1), unserved }));
    assert!(machine.state.services().any(|service| !service.faults.is_empty()), "one of them has such an endpoint");
    let bytes = golden("snapshot_faults", &stored::encode_state(&machine.state));
    assert_eq!(stored::decode_state(&bytes), Ok(machine.state));
}

#[test]
fn verdicts_of_one_node_are_read_as_ever() {
    let node = NodeId::from_u128(NODE);
    for (name, verdict) in [("node_silent", Verdict::Suspect), ("node_alive", Verdict::Alive)] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("command_{name}.hex"));
        let bytes = unhex(&std::fs::read_to_string(&path).expect("golden bytes"));
        let kind = Kind::JudgeNodes(JudgeNodes::one(node, verdict));
        assert_eq!(stored::decode_command(&bytes), Command::new(Timestamp(1_700_000_000_000), kind), "{name}");
    }
}

#[test]
fn how_a_node_stands_is_written_and_read_as_ever() {
    let mut machine = Machine { now: Timestamp(1_700_000_000_000), ..Machine::default() };
    machine.init("10.77.0.0/16");
    let address = Some("fd00::7".parse().expect("an address"));
    machine.apply(Kind::RegisterNode(RegisterNode { address, ..register(1, "alpha") }));
    machine.register(2, "beta");
    machine.apply(Kind::ScheduleNode(ScheduleNode { node: NodeId::from_u128(1), scheduling: Scheduling::Cordoned }));
    machine.apply(Kind::JudgeNodes(JudgeNodes::one(NodeId::from_u128(2), Verdict::Lost)));
    let bytes = golden("snapshot_nodes", &stored::encode_state(&machine.state));
    assert_eq!(stored::decode_state(&bytes), Ok(machine.state));
}
