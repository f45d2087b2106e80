//! Golden pictures of a small cluster in all kinds of trouble; `UPDATE_GOLDEN=1` writes them anew.

use super::*;
use crate::output::StatusOut;
use orlop_client::rollout::ServiceProgress;
use orlop_client::{ClusterState, Image, Planned};
use orlop_model::lifecycle::{Exit, Health, Outcome, Phase};
use orlop_model::plan::Step;
use orlop_model::*;

const NOW: Timestamp = Timestamp(1_000_090_000);
const THEN: Timestamp = Timestamp(1_000_000_000);
const ALPHA: NodeId = NodeId::from_u128(0xa);
const BETA: NodeId = NodeId::from_u128(0xb);

const SPEC: &str = r#"
version: v1
deployment: shop
services:
  api:
    image: { name: registry.example/shop/api:1.4 }
    command: ["/api"]
    args: ["--port", "8080"]
    working_dir: /srv
    user: "1000:1000"
    env: { LOG: info, DB_URL: $E:DB_URL }
    resources: { cpu: 0.5, memory: 256Mi }
    endpoints:
      - { name: http, protocol: http, port: 8080, path: /api, host: shop.example, expose: public }
      - { name: raw, protocol: tcp, port: 9000, expose: public }
    scale: { mode: fixed, replicas: 3 }
    depends:
      - { service: db, condition: healthy, timeout: 300s, on_timeout: fail }
    health:
      start_grace: 5s
      interval: 10s
      timeout: 5s
      retries: 3
      check: { type: http, url: "http://localhost:8080/up", expect_status: 200 }
    init:
      steps:
        - { id: wait-db, uses: init.wait_tcp, with: { host: localhost, port: 5432 }, timeout: 60s, on_failure: fail }
    placement: { constraints: ["node.labels.disk == ssd"] }
    volumes: [ { type: named, name: data, target: /data } ]
  db:
    image: { name: registry.example/db:16 }
    scale: { mode: fixed, replicas: 1 }
"#;

fn node(id: NodeId, name: &str, liveness: Liveness) -> Node {
    Node {
        id,
        name: name.parse().expect("a name"),
        cpu: Cpu(4000),
        memory: Memory(8 << 30),
        labels: [("disk".to_owned(), "ssd".to_owned())].into(),
        subnet: "10.77.0.0/24".parse().expect("a subnet"),
        version: "0.1.0".into(),
        registered_at: THEN,
        address: None,
        liveness,
        scheduling: orlop_model::Scheduling::Open,
    }
}

fn replica(state: &mut ClusterState, service: &str, slot: u32, phase: Phase, change: impl Fn(&mut Replica)) {
    let id = ReplicaId::from_u128(0x10 + state.replicas.len() as u128);
    let service: ServiceRef = service.parse().expect("a name");
    let mut replica = Replica {
        id,
        reserved: state.services[&service].spec.workload.resources,
        service,
        slot,
        generation: Generation(2),
        node: ALPHA,
        desired: Desired::Run,
        status: ReplicaStatus { phase, ..ReplicaStatus::pending(THEN) },
    };
    change(&mut replica);
    state.replicas.insert(id, replica);
}

/// `shop` in the middle of an update: one ready, one crashing, one old on its way out; `db` is held back.
fn troubled() -> ClusterState {
    let deployment = orlop_spec::parse("shop.yaml", SPEC).unwrap_or_else(|problems| panic!("{problems}"));
    let mut state = ClusterState {
        cluster: Some(ClusterId::from_u128(1)),
        revision: Revision(17),
        scheduler: Some("scheduler-1".into()),
        ..ClusterState::default()
    };
    for node in [node(ALPHA, "alpha", Liveness::Alive), node(BETA, "beta", Liveness::Suspect(Timestamp(1_000_060_000)))]
    {
        state.nodes.insert(node.id, node);
    }
    for (service, spec) in deployment.services {
        let name = ServiceRef { deployment: deployment.name.clone(), service };
        let replicas = if name.service.as_str() == "api" { 3 } else { 1 };
        let service = ServiceState {
            name: name.clone(),
            generation: Generation(3),
            workload_generation: Generation(2),
            spec: spec.into(),
            replicas,
            changed_at: THEN,
            stopping: None,
            status: ServiceStatus::default(),
            faults: Vec::new(),
        };
        state.services.insert(name, service);
    }
    let api = state.services.get_mut(&"shop/api".parse().expect("a name")).expect("it is there");
    let message = "endpoint http is not served: shop/web/http has */ already; give one of them another path";
    api.faults.push(EndpointFault {
        endpoint: "http".parse().expect("a name"),
        node: BETA,
        since: THEN,
        reason: Reason::new("route_taken", message),
    });
    let db = state.services.get_mut(&"shop/db".parse().expect("a name")).expect("it is there");
    db.status.blocked.push(Reason::new("no_node_fits", "needs 8 cpu; alpha has 2.5 free"));
    replica(&mut state, "shop/api", 0, Phase::Running(Health::Healthy), |r| {
        r.status.address = Some([10, 77, 0, 2].into());
        r.status.image_digest = Some("sha256:abcd".into());
    });
    replica(&mut state, "shop/api", 1, Phase::BackingOff(Timestamp(1_000_098_000)), |r| {
        r.status.restarts = 4;
        r.status.last_exit = Some(Exit { code: 1, out_of_memory: false, at: Timestamp(1_000_080_000) });
        r.status.reason = Some(Reason::new("exited", "its process exited with code 1"));
    });
    replica(&mut state, "shop/api", 1, Phase::Running(Health::Healthy), |r| {
        r.generation = Generation(1);
        r.desired = Desired::Stop(StopOrder::Graceful);
        r.node = BETA;
    });
    state
}

fn event() -> Event {
    Event {
        sequence: 9,
        at: THEN,
        level: Level::Warning,
        subject: Subject {
            deployment: Some("shop".parse().expect("a name")),
            service: Some("api".parse().expect("a name")),
            slot: Some(1),
            ..Subject::default()
        },
        reason: Reason::new("exited", "its process exited\nwith code 1"),
    }
}

/// Compares with `golden/NAME`.
#[track_caller]
fn check(name: &str, found: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/render/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, found).expect("the golden text is written");
    }
    let expected = std::fs::read_to_string(&path).expect("there is a golden text");
    assert_eq!(found, expected, "\n{found}");
}

#[test]
fn a_troubled_cluster_is_pictured_for_people_and_for_programs() {
    let state = troubled();
    let api = &state.services[&"shop/api".parse::<ServiceRef>().expect("a name")];
    let crashing = state.replicas.values().nth(1).expect("there are three");
    check("status.txt", &status(&state, NOW));
    check("nodes.txt", &nodes(&state, NOW));
    let shop = DeploymentState {
        name: "shop".parse().expect("a name"),
        generation: Generation(2),
        changed_at: THEN,
        stopping: false,
    };
    check("describe-deployment.txt", &describe_deployment(&state, &shop, &[event()], NOW));
    check("describe-service.txt", &describe_service(&state, api, &[event()], NOW));
    check("describe-replica.txt", &describe_replica(&state, crashing, &[event()], NOW));
    check("describe-node.txt", &describe_node(&state, &state.nodes[&BETA], &[], NOW));
    // The names of these fields are a promise to scripts.
    let value = serde_json::to_string_pretty(&StatusOut::of(&state)).expect("it can be written");
    check("status.json", &format!("{value}\n"));
    let value = serde_json::to_string_pretty(&crate::output::EventOut::of(&event())).expect("it can be written");
    check("event.json", &format!("{value}\n"));
}

#[test]
fn an_empty_cluster_says_what_to_do() {
    let empty = ClusterState::default();
    let text = status(&empty, NOW);
    for part in ["No scheduler is at work", "No node has joined: start an agent", "orlopctl deploy -f FILE"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(nodes(&empty, NOW).contains("orlopctl dev"));
    assert!(images(&empty, &[]).contains("orlopctl image import FILE"));
    assert_eq!(events(&empty, &[]), "Nothing has happened yet.\n");
}

#[test]
fn a_control_plane_that_takes_no_writes_is_told_at_the_top() {
    let state = ClusterState { writes_refused: Some("no writes are taken: it is full".into()), ..troubled() };
    assert!(status(&state, NOW).starts_with("Control plane: no writes are taken: it is full\n"));
    let value = serde_json::to_value(StatusOut::of(&state)).expect("it can be written");
    assert_eq!(value["writes_refused"], "no writes are taken: it is full");
    assert_eq!(writes_refused(&troubled()), "");
}

#[test]
fn each_state_of_a_service_has_its_word() {
    let word_of = |change: &dyn Fn(&mut ClusterState)| {
        let mut state = troubled();
        change(&mut state);
        let text = status(&state, NOW);
        let line = text.lines().find(|line| line.starts_with("shop/api ")).expect("the service is listed").to_owned();
        line.split_whitespace().skip(2).take_while(|word| word.parse::<u64>().is_err()).collect::<Vec<_>>().join(" ")
    };
    let api = |s: &mut ClusterState, change: &dyn Fn(&mut ServiceState)| {
        change(s.services.get_mut(&"shop/api".parse().expect("a name")).expect("it is there"));
    };
    let ready = |s: &mut ClusterState| {
        s.replicas.retain(|_, r| r.is_ready());
        api(s, &|service| service.replicas = 1);
    };
    assert_eq!(word_of(&|_| ()), "updating");
    assert_eq!(word_of(&ready), "ready, route_taken");
    let served = |s: &mut ClusterState| {
        ready(s);
        api(s, &|service| service.faults.clear());
    };
    assert_eq!(word_of(&served), "ready");
    assert_eq!(word_of(&|s| s.replicas.clear()), "not ready");
    assert_eq!(word_of(&|s| api(s, &|service| service.replicas = 0)), "updating");
    assert_eq!(word_of(&|s| api(s, &|service| service.stopping = Some(StopOrder::Graceful))), "stopping");
    assert_eq!(word_of(&|s| api(s, &|service| service.stopping = Some(StopOrder::Forced))), "stopping by force");
    let failed = Phase::Finished(Outcome::Failed);
    assert_eq!(word_of(&|s| replica(s, "shop/api", 2, failed, |_| ())), "failed");
    let blocked = Reason::new("waiting_dependency", "waits for db");
    let block = |service: &mut ServiceState| service.status.blocked.push(blocked.clone());
    assert_eq!(word_of(&|s| api(s, &block)), "blocked: waiting_dependency");
}

#[test]
fn a_plan_names_what_changes_and_what_happens_at_once() {
    let state = troubled();
    let change = |service: &str, kind, fields: &[&str]| ServiceChange {
        service: service.parse().expect("a name"),
        kind,
        fields: fields.iter().map(|f| (*f).to_owned()).collect(),
    };
    let why = |message: &str| Reason::new("replace", message);
    let service: ServiceRef = "shop/api".parse().expect("a name");
    let planned = Planned {
        generation: Generation(3),
        changes: vec![
            change(
                "api",
                ChangeKind::Replaced,
                &["image.name: registry.example/shop/api:1.4 → registry.example/shop/api:1.5"],
            ),
            change("db", ChangeKind::Unchanged, &[]),
            change("mail", ChangeKind::Added, &[]),
            change("old", ChangeKind::Removed, &[]),
            change("web", ChangeKind::Updated, &["scale: fixed, 1 replicas → manual"]),
        ],
        steps: vec![
            Step::Start {
                replica: ReplicaId::from_u128(0x99),
                service: service.clone(),
                slot: 0,
                generation: Generation(4),
                node: ALPHA,
                why: why("replaces slot 0 of generation 2"),
            },
            Step::Stop {
                replica: ReplicaId::from_u128(0x11),
                order: StopOrder::Graceful,
                why: why("generation 4 replaces it"),
            },
            Step::Stop {
                replica: ReplicaId::from_u128(0x12),
                order: StopOrder::Forced,
                why: why("it is being removed"),
            },
            Step::Forget { replica: ReplicaId::from_u128(0x77) },
            Step::Note {
                service: "shop/mail".parse().expect("a name"),
                generation: Generation(4),
                status: ServiceStatus {
                    blocked: vec![why("waits for db: its replica is not ready yet")],
                    dependency_fault: None,
                },
            },
            Step::Note { service, generation: Generation(4), status: ServiceStatus::default() },
            Step::Remove { service: "shop/old".parse().expect("a name") },
        ],
    };
    let name = "shop".parse().expect("a name");
    check("plan.txt", &plan(&state, &name, &planned));
    let value = crate::output::PlanOut {
        deployment: "shop".into(),
        generation: 3,
        changes: planned.changes.iter().map(crate::output::ChangeOut::of).collect(),
        steps: planned.steps.iter().map(crate::output::StepOut::of).collect(),
    };
    check("plan.json", &format!("{}\n", serde_json::to_string_pretty(&value).expect("it can be written")));
    let nothing = Planned { changes: vec![change("db", ChangeKind::Unchanged, &[])], ..planned };
    assert_eq!(plan(&state, &name, &nothing), "Deployment shop is at generation 3.\nA deploy would change nothing.\n");
}

#[test]
fn images_are_listed_with_sizes_that_can_be_read() {
    let image = |size| Image {
        name: "localhost/hello:1".into(),
        digest: format!("sha256:{}", "0f".repeat(32)),
        size,
        node: Some(ALPHA),
    };
    assert_eq!(
        images(&troubled(), &[image(1_234_567)]),
        "IMAGE              DIGEST               SIZE   NODE\nlocalhost/hello:1  sha256:0f0f0f0f0f0f  1.2Mi  alpha\n"
    );
    for (bytes, text) in [(0, "0"), (1023, "1023"), (1024, "1Ki"), (150 << 20, "150Mi"), (3 << 40, "3Ti")] {
        assert_eq!(size(bytes), text);
    }
}

#[test]
fn progress_is_drawn_over_itself_on_a_terminal_and_told_once_elsewhere() {
    let at = |ready, note: Option<&str>| ServiceProgress {
        service: "shop/api".parse().expect("a name"),
        wanted: 2,
        ready,
        others: 1,
        note: note.map(str::to_owned),
    };
    let mut progress = Progress::default();
    let first = progress.redraw(&[at(0, Some("replica 0 preparing"))], 200);
    assert_eq!(first, "shop/api: 0 of 2 ready, 1 other to stop (replica 0 preparing)\n");
    assert_eq!(progress.redraw(&[at(0, Some("replica 0 preparing"))], 200), "");
    let second = progress.redraw(&[at(1, None)], 20);
    assert_eq!(second, "\x1b[1A\x1b[Jshop/api: 1 of 2 re…\n");

    let mut lines = Progress::default();
    assert_eq!(lines.append(&[at(0, None)]), "shop/api: 0 of 2 ready, 1 other to stop\n");
    assert_eq!(lines.append(&[at(0, None)]), "");
    assert_eq!(lines.append(&[at(2, Some("a\nb"))]), "shop/api: 2 of 2 ready, 1 other to stop (a b)\n");
}

#[test]
fn what_comes_from_elsewhere_cannot_write_escape_sequences() {
    let mut event = event();
    event.reason.message = "\x1b]0;owned\x07 text".into();
    assert!(!event_line(&troubled(), &event).contains('\x1b'));
    let mut state = troubled();
    let replica = state.replicas.values_mut().next().expect("there is one");
    replica.status.reason = Some(Reason::new("exited", "\x1b[2Jgone"));
    let text = status(&state, NOW);
    assert!(!text.contains('\x1b') && text.contains("[2Jgone"), "{text}");
    let api = &state.services[&"shop/api".parse::<ServiceRef>().expect("a name")];
    assert!(!describe_service(&state, api, &[event.clone()], NOW).contains('\x1b'));
    let first = state.replicas.values().next().expect("there is one");
    assert!(!describe_replica(&state, first, &[event], NOW).contains('\x1b'));
}
