//! Each command: what it refuses, what it changes, what it tells.

use crate::sample::*;
use orlop_model::plan::{Plan, Step};
use orlop_model::spec::{Endpoint, Protocol, Scale as ScaleMode};
use orlop_model::*;
use orlop_state::command::*;
use orlop_state::{Answer, Entity, Kind, RefusalKind, stored, view};

const GRACEFUL: StopOrder = StopOrder::Graceful;

fn generation(answer: &Answer) -> u64 {
    match answer {
        Answer::Deployed { generation, .. } => generation.0,
        answer => panic!("{answer:?}"),
    }
}

fn kinds(answer: &Answer) -> Vec<(String, ChangeKind)> {
    match answer {
        Answer::Deployed { changes, .. } => changes.iter().map(|c| (c.service.to_string(), c.kind)).collect(),
        answer => panic!("{answer:?}"),
    }
}

#[test]
fn nothing_is_taken_before_the_cluster_is_made_and_it_is_made_once() {
    let mut machine = Machine::default();
    assert_eq!(refused(&machine.deploy(&shop("shop", "a", 1))), "no_cluster");
    assert_eq!(refused(&machine.init("10.0.0.0/25")), "range_too_small");
    assert_eq!(machine.init("10.77.3.0/16"), Answer::Done);
    assert_eq!(machine.state.range().map(|r| r.to_string()).as_deref(), Some("10.77.0.0/16"));
    assert_eq!(refused(&machine.init("10.0.0.0/8")), "cluster_exists");
}

#[test]
fn a_revision_is_applied_once() {
    let mut machine = Machine::with_cluster();
    let before = machine.state.clone();
    let deploy = Deploy { deployment: shop("shop", "a", 1), expected_generation: None, retry: true };
    let again = orlop_state::Command::new(Timestamp(9), Kind::Deploy(deploy));
    let applied = machine.state.apply(before.revision(), again);
    assert_eq!(refused(&applied.answer), "applied_already");
    assert_eq!(machine.state, before);
}

#[test]
fn a_deploy_expects_a_generation() {
    for (deployed, expected, outcome) in [
        (0, Some(0), Ok(1)),
        (0, None, Ok(1)),
        (0, Some(1), Err("generation_mismatch")),
        (1, Some(0), Err("generation_mismatch")),
        (1, Some(1), Ok(2)),
        (1, None, Ok(2)),
        (3, Some(2), Err("generation_mismatch")),
    ] {
        let mut machine = Machine::with_cluster();
        for i in 0..deployed {
            machine.deploy(&shop("shop", &format!("a:{i}"), 1));
        }
        let deployment = shop("shop", "a:new", 1);
        let deploy = Deploy { deployment, expected_generation: expected.map(Generation), retry: false };
        let answer = machine.apply(Kind::Deploy(deploy)).answer;
        match outcome {
            Ok(next) => assert_eq!(generation(&answer), next, "{deployed} {expected:?}"),
            Err(code) => assert_eq!(refused(&answer), code, "{deployed} {expected:?}"),
        }
    }
}

#[test]
fn the_same_spec_again_changes_nothing() {
    let mut machine = Machine::with_cluster();
    machine.deploy(&shop("shop", "a", 2));
    let deploy = Deploy { deployment: shop("shop", "a", 2), expected_generation: None, retry: true };
    let applied = machine.apply(Kind::Deploy(deploy));
    assert_eq!(generation(&applied.answer), 1);
    assert_eq!(kinds(&applied.answer), [("api".to_owned(), ChangeKind::Unchanged)]);
    assert_eq!(applied.changed, []);
}

#[test]
fn the_same_spec_again_tries_again_what_had_failed_and_touches_nothing_else() {
    let fails = |code: &str| ReplicaStatus {
        reason: Some(Reason::new(code, format!("it {code}"))),
        ..in_phase(Phase::Finished(Outcome::Failed))
    };
    let mut machine = Machine::with_cluster();
    machine.deploy(&shop("shop", "a", 4));
    machine.plan((1..=4).map(|n| start(n, "shop/api", n as u32 - 1, 1, 1)).collect());
    machine.report(1, 1, in_phase(READY));
    machine.report(1, 2, fails("broke"));
    machine.report(1, 3, in_phase(Phase::BackingOff(Timestamp(99_000))));
    machine.report(1, 4, in_phase(Phase::Preparing));
    let deploy = |retry| Kind::Deploy(Deploy { deployment: shop("shop", "a", 4), expected_generation: None, retry });
    // As an entry of the log that an earlier version wrote.
    let before = machine.state.clone();
    assert_eq!(machine.apply(deploy(false)).changed, []);
    assert_eq!(before.replicas().collect::<Vec<_>>(), machine.state.replicas().collect::<Vec<_>>());

    let applied = machine.apply(deploy(true));
    let Answer::Deployed { generation, changes } = applied.answer else { panic!("{:?}", applied.answer) };
    assert_eq!((generation, changes[0].kind), (Generation(1), ChangeKind::Retried));
    assert_eq!(changes[0].fields, ["tried again: replica 1, failed (it broke)", "tried again: replica 2, backing-off"]);
    let desired: Vec<Desired> = machine.state.replicas().map(|r| r.desired).collect();
    assert_eq!(desired, [Desired::Run, Desired::Stop(GRACEFUL), Desired::Stop(GRACEFUL), Desired::Run]);
    assert_eq!(machine.codes().last(), Some(&"retried"));
    // A third time, there is nothing left to try again.
    let again = machine.apply(deploy(true)).answer;
    assert_eq!(kinds(&again), [("api".to_owned(), ChangeKind::Unchanged)]);
    // Their slots are free for others.
    machine.plan(vec![forget(2), start(5, "shop/api", 1, 1, 1), start(6, "shop/api", 2, 1, 1)]);
    assert_eq!(machine.state.replicas().filter(|r| r.desired == Desired::Run).count(), 4);
}

#[test]
fn the_same_spec_again_waits_anew_for_a_dependency_that_did_not_come_up() {
    let mut machine = Machine::with_cluster();
    machine.deploy(&shop("shop", "a", 1));
    let fault = DependencyFault {
        generation: Generation(1),
        failed: true,
        reason: Reason::new("dependency_timeout", "db was not ready within 5m"),
    };
    let status = ServiceStatus { blocked: vec![fault.reason.clone()], dependency_fault: Some(fault) };
    machine.plan(vec![Step::Note { service: at("shop/api"), generation: Generation(1), status }]);
    machine.now = Timestamp(machine.now.0 + 400_000);
    let again = Deploy { deployment: shop("shop", "a", 1), expected_generation: None, retry: true };
    let answer = machine.apply(Kind::Deploy(again)).answer;
    assert_eq!(kinds(&answer), [("api".to_owned(), ChangeKind::Retried)]);
    let service = machine.state.service(&at("shop/api")).expect("a service");
    assert_eq!((service.generation, service.status.dependency_fault.clone()), (Generation(1), None));
    assert!(service.changed_at.0 >= 400_000, "the timeout counts from now on");
}

#[test]
fn a_deploy_says_what_becomes_of_each_service() {
    let mut machine = Machine::with_cluster();
    let one = |image: &str, path: &str| service(image, path, 8080, 1);
    machine.deploy(&with_services(
        "shop",
        [("a", one("i:1", "/a")), ("b", one("i:1", "/b")), ("c", one("i:1", "/c")), ("d", one("i:1", "/d"))],
    ));
    let answer = machine.deploy(&with_services(
        "shop",
        [("a", one("i:1", "/a")), ("b", one("i:2", "/b")), ("c", one("i:1", "/x")), ("e", one("i:1", "/e"))],
    ));
    let expected = [
        ("a", ChangeKind::Unchanged),
        ("b", ChangeKind::Replaced),
        ("c", ChangeKind::Updated),
        ("d", ChangeKind::Removed),
        ("e", ChangeKind::Added),
    ];
    assert_eq!(kinds(&answer), expected.map(|(name, kind)| (name.to_owned(), kind)));
    let of = |name: &str| machine.state.service(&at(name)).expect("a service");
    let generations = |name: &str| (of(name).generation.0, of(name).workload_generation.0);
    assert_eq!(generations("shop/a"), (1, 1));
    assert_eq!(generations("shop/b"), (2, 2));
    assert_eq!(generations("shop/c"), (2, 1), "its replicas stay");
    assert_eq!(of("shop/d").stopping, Some(GRACEFUL));
    assert_eq!(of("shop/d").replicas, 0);
    assert_eq!(generations("shop/e"), (2, 2));
}

#[test]
fn two_deployments_do_not_claim_the_same_route() {
    let mut machine = Machine::with_cluster();
    let tcp = |port| {
        let mut service = service("i", "/", port, 1);
        service.endpoints = vec![Endpoint {
            name: "tcp".parse().expect("a name"),
            protocol: Protocol::Tcp,
            port,
            path: "/".into(),
            host: None,
        }];
        service
    };
    machine.deploy(&with_services("first", [("web", service("i", "/api", 80, 1)), ("db", tcp(5432))]));
    let taken = machine.deploy(&with_services("second", [("web", service("i", "/api", 81, 1))]));
    let Answer::Refused(refusal) = &taken else { panic!("{taken:?}") };
    assert_eq!((refusal.kind, refusal.reason.code.as_str()), (RefusalKind::Precondition, "route_taken"));
    assert!(refusal.reason.message.contains("first/web"), "{refusal}");
    assert_eq!(refused(&machine.deploy(&with_services("second", [("db", tcp(5432))]))), "route_taken");
    generation(&machine.deploy(&with_services("second", [("web", service("i", "/other", 80, 1)), ("db", tcp(5433))])));
    // What is being removed gives its routes up at once.
    machine.stop("first", None, GRACEFUL);
    generation(&machine.deploy(&with_services("third", [("web", service("i", "/api", 80, 1))])));
}

#[test]
fn a_generation_never_means_two_things_under_one_name() {
    let mut machine = Machine::with_cluster();
    machine.deploy(&shop("shop", "a:1", 0));
    machine.deploy(&shop("shop", "a:2", 0));
    machine.stop("shop", None, GRACEFUL);
    assert_eq!(machine.plan(vec![Step::Remove { service: at("shop/api") }]), []);
    assert_eq!(machine.state.deployments().count(), 0);
    assert_eq!(generation(&machine.deploy(&shop("shop", "a:1", 0))), 4);
}

#[test]
fn a_deploy_of_what_is_being_removed_starts_it_anew() {
    let mut machine = Machine::with_cluster();
    machine.deploy(&shop("shop", "a", 1));
    machine.plan(vec![start(1, "shop/api", 0, 1, 1)]);
    machine.stop("shop", None, GRACEFUL);
    let answer = machine.deploy(&shop("shop", "a", 1));
    assert_eq!(kinds(&answer), [("api".to_owned(), ChangeKind::Added)]);
    let service = machine.state.service(&at("shop/api")).expect("a service");
    assert_eq!((service.stopping, service.workload_generation, service.replicas), (None, Generation(3), 1));
    let refused = machine.plan(vec![start(2, "shop/api", 0, 3, 1)]);
    assert_eq!(refused, [], "beside the one of the earlier generation");
}

#[test]
fn scale_lasts_until_the_next_deploy_unless_it_is_manual() {
    for (mode, after_deploy) in [(ScaleMode::Fixed { replicas: 2 }, 2), (ScaleMode::Manual, 5)] {
        let mut machine = Machine::with_cluster();
        let mut deployment = shop("shop", "a", 2);
        for service in deployment.services.values_mut() {
            service.scale = mode;
        }
        machine.deploy(&deployment);
        let first = machine.state.service(&at("shop/api")).expect("a service").replicas;
        let scale = |replicas| Kind::Scale(Scale { service: at("shop/api"), replicas });
        let applied = machine.apply(scale(5));
        assert_eq!(applied.answer, Answer::Scaled { previous: first });
        let service = machine.state.service(&at("shop/api")).expect("a service");
        assert_eq!((service.generation.0, service.workload_generation.0), (2, 1));
        assert_eq!(machine.apply(scale(5)).changed, [], "it has as many already");
        machine.deploy(&deployment);
        assert_eq!(machine.state.service(&at("shop/api")).expect("a service").replicas, after_deploy, "{mode:?}");
    }
}

#[test]
fn scale_refuses_what_is_not_there_ending_or_too_many() {
    let mut machine = Machine::with_cluster();
    machine.deploy(&shop("shop", "a", 1));
    let mut scale = |service, replicas| machine.apply(Kind::Scale(Scale { service: at(service), replicas })).answer;
    assert_eq!(refused(&scale("shop/none", 1)), "service_not_found");
    assert_eq!(refused(&scale("shop/api", 10_001)), "too_many_replicas");
    machine.stop("shop", None, GRACEFUL);
    let scale = Kind::Scale(Scale { service: at("shop/api"), replicas: 2 });
    assert_eq!(refused(&machine.apply(scale).answer), "service_stopping");
}

#[test]
fn a_stop_may_become_firmer_but_not_milder() {
    let mut machine = Machine::with_cluster();
    machine.deploy(&with_services("shop", [("a", service("i", "/a", 80, 1)), ("b", service("i", "/b", 80, 1))]));
    assert_eq!(refused(&machine.stop("none", None, GRACEFUL)), "deployment_not_found");
    assert_eq!(refused(&machine.stop("shop", Some("none"), GRACEFUL)), "service_not_found");
    let stopping = |machine: &Machine, name: &str| machine.state.service(&at(name)).expect("a service").stopping;
    machine.stop("shop", Some("a"), GRACEFUL);
    assert_eq!((stopping(&machine, "shop/a"), stopping(&machine, "shop/b")), (Some(GRACEFUL), None));
    assert!(!machine.state.deployments().next().expect("a deployment").stopping);
    machine.stop("shop", None, StopOrder::Forced);
    assert!(machine.state.deployments().next().expect("a deployment").stopping);
    let before = machine.state.generation_of(&"shop".parse().expect("a name"));
    machine.stop("shop", None, GRACEFUL);
    assert_eq!(stopping(&machine, "shop/a"), Some(StopOrder::Forced));
    assert_eq!(machine.state.generation_of(&"shop".parse().expect("a name")), before, "nothing changed");
}

#[test]
fn a_node_keeps_its_subnet_and_its_name_is_its_own() {
    let mut machine = Machine::with_cluster();
    let subnet = |answer: Answer| match answer {
        Answer::Registered { subnet } => subnet.to_string(),
        answer => panic!("{answer:?}"),
    };
    assert_eq!(subnet(machine.register(2, "beta")), "10.77.1.0/24");
    assert_eq!(subnet(machine.register(2, "gamma")), "10.77.1.0/24", "also under another name");
    assert_eq!(refused(&machine.register(3, "alpha")), "node_name_taken");
    assert_eq!(subnet(machine.register(3, "beta")), "10.77.2.0/24");
}

#[test]
fn a_cluster_has_as_many_nodes_as_its_range_has_subnets() {
    let mut machine = Machine::default();
    machine.init("10.0.0.0/23");
    machine.register(1, "alpha");
    machine.register(2, "beta");
    let full = machine.register(3, "gamma");
    assert_eq!(refused(&full), "no_subnet_left");
}

#[test]
fn a_machine_that_lost_its_agents_directory_takes_its_place_again() {
    let mut machine = Machine::with_cluster();
    machine.deploy(&shop("shop", "a", 2));
    machine.plan(vec![start(1, "shop/api", 0, 1, 1), start(2, "shop/api", 1, 1, 2)]);
    machine.report(1, 1, in_phase(READY));
    machine.apply(silent(NodeId::from_u128(1)));
    let applied = machine.apply(Kind::RegisterNode(register(9, "alpha")));
    assert_eq!(applied.answer, Answer::Registered { subnet: "10.77.0.0/24".parse().expect("a subnet") });
    assert!(machine.state.node(NodeId::from_u128(1)).is_none());
    let phase = |id| machine.state.replica(ReplicaId::from_u128(id)).expect("a replica").status.phase;
    assert_eq!(phase(1), Phase::Finished(Outcome::Lost));
    assert_eq!(phase(2), Phase::Pending, "it is elsewhere");
    assert!(applied.changed.iter().any(|e| matches!(e, Entity::Route(_))), "{:?}", applied.changed);
    assert!(machine.codes().contains(&"node_replaced"));
}

#[test]
fn silence_and_return_are_told_once() {
    let mut machine = Machine::with_cluster();
    let node = NodeId::from_u128(1);
    let alive = |machine: &Machine| machine.state.node(node).expect("a node").liveness == Liveness::Alive;
    assert_eq!(machine.apply(Kind::JudgeNodes(JudgeNodes::one(node, Verdict::Alive))).changed, []);
    machine.apply(silent(node));
    assert!(!alive(&machine));
    assert_eq!(machine.apply(silent(node)).changed, []);
    machine.apply(Kind::JudgeNodes(JudgeNodes::one(node, Verdict::Alive)));
    assert!(alive(&machine));
    assert_eq!(machine.apply(silent(NodeId::from_u128(99))).changed, [], "it was removed meanwhile");
}

#[test]
fn a_lease_changes_hands_when_it_is_over_or_given_back() {
    let mut machine = Machine::default();
    machine.init("10.77.0.0/16");
    // The machine's clock goes on by one second with each.
    let mut ask = |holder: &str, ttl| {
        let asked =
            machine.apply(Kind::AcquireLease(AcquireLease { holder: holder.into(), ttl: Millis::from_secs(ttl) }));
        match asked.answer {
            Answer::Lease { held, lease } => (held, lease.holder, lease.fence),
            answer => panic!("{answer:?}"),
        }
    };
    assert_eq!(ask("one", 3), (true, "one".into(), 1));
    assert_eq!(ask("two", 3), (false, "one".into(), 1));
    assert_eq!(ask("one", 3), (true, "one".into(), 1), "renewed");
    assert_eq!(ask("two", 3), (false, "one".into(), 1));
    assert_eq!(ask("two", 3), (false, "one".into(), 1));
    assert_eq!(ask("two", 3), (true, "two".into(), 2), "three seconds later");
    assert_eq!(ask("one", 0), (false, "two".into(), 2), "not its to give back");
    assert_eq!(ask("two", 0), (false, "two".into(), 2));
    assert_eq!(ask("one", 3), (true, "one".into(), 3));
    let nameless = Kind::AcquireLease(AcquireLease { holder: String::new(), ttl: Millis(1) });
    assert_eq!(refused(&machine.apply(nameless).answer), "invalid_holder");
}

#[test]
fn a_plan_without_the_lease_is_refused_as_a_whole() {
    let mut machine = Machine::with_cluster();
    for fence in [0, 2] {
        let plan = SubmitPlan { fence, plan: Plan::default() };
        assert_eq!(refused(&machine.apply(Kind::SubmitPlan(plan)).answer), "stale_fence");
    }
}

#[test]
fn a_node_takes_no_more_replicas_than_it_has_room_for() {
    let mut machine = Machine::with_cluster();
    machine.deploy(&shop("shop", "a:1", 9));
    // Each asks for half a core of a node's four.
    let starts = (0..9).map(|slot| start(u128::from(slot) + 1, "shop/api", slot, 1, 1)).collect();
    assert_eq!(machine.plan(starts), [(8, "no_room".to_owned())]);
    assert_eq!(machine.plan(vec![end(1, GRACEFUL), start(20, "shop/api", 8, 1, 1)]), [(1, "no_room".to_owned())]);
}

#[test]
fn a_start_is_refused_when_it_does_not_hold_any_more() {
    let code = |steps: Vec<Step>, adjust: fn(&mut Machine)| {
        let mut machine = Machine::with_cluster();
        machine.deploy(&shop("shop", "a:1", 2));
        machine.plan(vec![start(1, "shop/api", 0, 1, 1)]);
        adjust(&mut machine);
        machine.plan(steps).into_iter().map(|(i, code)| format!("{i} {code}")).collect::<Vec<_>>().join(", ")
    };
    let as_it_is: fn(&mut Machine) = |_| {};
    for (expected, steps, adjust) in [
        ("", vec![start(2, "shop/api", 1, 1, 1)], as_it_is),
        ("0 replica_exists", vec![start(1, "shop/api", 1, 1, 1)], as_it_is),
        ("0 service_not_found", vec![start(2, "shop/none", 1, 1, 1)], as_it_is),
        ("0 stale_generation", vec![start(2, "shop/api", 1, 2, 1)], as_it_is),
        ("0 node_not_found", vec![start(2, "shop/api", 1, 1, 9)], as_it_is),
        ("0 slot_taken", vec![start(2, "shop/api", 0, 1, 1)], as_it_is),
        ("1 enough_replicas", vec![start(2, "shop/api", 1, 1, 1), start(3, "shop/api", 2, 1, 1)], as_it_is),
        ("1 slot_taken", vec![start(2, "shop/api", 1, 1, 1), start(3, "shop/api", 1, 1, 1)], as_it_is),
        ("", vec![end(1, GRACEFUL), start(2, "shop/api", 0, 1, 1)], as_it_is),
        ("0 stale_generation", vec![start(2, "shop/api", 1, 1, 1)], |m| {
            m.deploy(&shop("shop", "a:2", 2));
        }),
        // A replacement shares the slot with the one it replaces, but not with two.
        ("", vec![start(2, "shop/api", 0, 2, 1)], |m| {
            m.deploy(&shop("shop", "a:2", 2));
        }),
        ("1 slot_taken", vec![start(2, "shop/api", 0, 2, 1), start(3, "shop/api", 0, 2, 1)], |m| {
            m.deploy(&shop("shop", "a:2", 2));
        }),
        ("0 slot_taken", vec![start(3, "shop/api", 0, 3, 1)], |m| {
            m.deploy(&shop("shop", "a:2", 2));
            m.plan(vec![start(2, "shop/api", 0, 2, 1)]);
            m.deploy(&shop("shop", "a:3", 2));
        }),
        ("0 service_stopping", vec![start(2, "shop/api", 1, 1, 1)], |m| {
            m.stop("shop", None, GRACEFUL);
        }),
        ("0 node_not_alive", vec![start(2, "shop/api", 1, 1, 1)], |m| {
            m.apply(silent(NodeId::from_u128(1)));
        }),
        // What failed for good holds its slot; what is lost does not.
        ("0 slot_taken", vec![start(2, "shop/api", 0, 1, 1)], |m| {
            m.report(1, 1, in_phase(Phase::Finished(Outcome::Failed)));
        }),
        ("", vec![start(2, "shop/api", 0, 1, 1)], |m| {
            m.report(1, 1, in_phase(Phase::Finished(Outcome::Lost)));
        }),
    ] {
        assert_eq!(code(steps.clone(), adjust), expected, "{steps:?}");
    }
}

#[test]
fn what_may_still_run_is_not_forgotten() {
    let mut machine = Machine::with_cluster();
    machine.deploy(&shop("shop", "a", 1));
    let remove = || Step::Remove { service: at("shop/api") };
    assert_eq!(machine.plan(vec![remove()]), [(0, "service_wanted".into())]);
    machine.plan(vec![start(1, "shop/api", 0, 1, 1)]);
    machine.stop("shop", None, GRACEFUL);
    assert_eq!(machine.plan(vec![remove(), forget(1)]), [(0, "replicas_left".into()), (1, "not_finished".into())]);
    assert_eq!(machine.plan(vec![end(1, GRACEFUL), end(1, GRACEFUL)]), [(1, "already_stopping".into())]);
    assert_eq!(machine.plan(vec![end(1, StopOrder::Forced), end(1, GRACEFUL)]), [(1, "already_stopping".into())]);
    machine.report(1, 1, in_phase(Phase::Finished(Outcome::Isolated)));
    assert_eq!(machine.plan(vec![forget(1)]), [(0, "not_finished".into())], "its files are kept for a look");
    machine.report(1, 1, in_phase(Phase::Finished(Outcome::Stopped)));
    assert_eq!(machine.plan(vec![end(1, GRACEFUL)]), [(0, "already_finished".into())]);
    assert_eq!(machine.plan(vec![forget(1), remove(), remove()]), [(2, "service_not_found".into())]);
    assert_eq!(machine.state.services().count() + machine.state.deployments().count(), 0);
    assert_eq!(machine.plan(vec![forget(1), end(1, GRACEFUL)]).len(), 2);
}

#[test]
fn a_note_is_taken_at_its_generation_and_tells_what_is_new() {
    let mut machine = Machine::with_cluster();
    machine.deploy(&shop("shop", "a", 1));
    let status = |message: &str, failed| ServiceStatus {
        blocked: vec![Reason::new("no_node_fits", message)],
        dependency_fault: Some(DependencyFault {
            generation: Generation(1),
            failed,
            reason: Reason::new("dependency_timeout", "db did not come up"),
        }),
    };
    let note = |status, generation| Step::Note { service: at("shop/api"), generation: Generation(generation), status };
    assert_eq!(machine.plan(vec![note(status("a", false), 2)]), [(0, "stale_generation".into())]);
    let before = machine.codes().len();
    assert_eq!(machine.plan(vec![note(status("a", false), 1)]), []);
    assert_eq!(machine.codes()[before..], ["dependency_timeout", "no_node_fits"]);
    machine.plan(vec![note(status("b", false), 1)]);
    assert_eq!(machine.codes().len(), before + 2, "the same in other words");
    machine.plan(vec![note(status("b", true), 1)]);
    assert_eq!(machine.codes().len(), before + 3, "now it failed");
}

#[test]
fn reports_are_taken_in_order_and_repeats_change_nothing() {
    let mut machine = Machine::with_cluster();
    machine.deploy(&shop("shop", "a", 1));
    machine.plan(vec![start(1, "shop/api", 0, 1, 1)]);
    let route = Entity::Route(RouteKey { service: at("shop/api"), endpoint: "http".parse().expect("a name") });
    let own = Entity::Replica { id: ReplicaId::from_u128(1), service: at("shop/api"), node: NodeId::from_u128(1) };
    assert_eq!(lasting(machine.report(1, 1, in_phase(Phase::Preparing))), std::slice::from_ref(&own));
    assert_eq!(lasting(machine.report(1, 1, in_phase(READY))), [own.clone(), route.clone()]);
    assert_eq!(machine.report(1, 1, in_phase(READY)).changed, []);
    let later = ReplicaStatus { since: Timestamp(99), ..in_phase(READY) };
    assert_eq!(machine.report(1, 1, later).changed, [], "only the time differs");
    assert_eq!(lasting(machine.report(1, 1, in_phase(Phase::Finished(Outcome::Failed)))), [own, route]);
    assert_eq!(machine.report(1, 1, in_phase(READY)).changed, [], "what is finished stays finished");
}

#[test]
fn a_replica_that_gave_way_does_not_take_its_slot_back_by_failing() {
    for outcome in [Outcome::Stopped, Outcome::Lost] {
        let mut machine = Machine::with_cluster();
        machine.deploy(&shop("shop", "a", 1));
        machine.plan(vec![start(1, "shop/api", 0, 1, 1)]);
        machine.report(1, 1, in_phase(Phase::Finished(outcome)));
        machine.plan(vec![start(2, "shop/api", 0, 1, 1)]);
        machine.report(1, 1, in_phase(Phase::Finished(Outcome::Failed)));
        let of = |id| machine.state.replica(ReplicaId::from_u128(id)).map(|r| r.status.phase);
        assert_eq!((of(1), of(2)), (Some(Phase::Finished(outcome)), Some(Phase::Pending)));
    }
    // One that was isolated may still be stopped.
    let mut machine = Machine::with_cluster();
    machine.deploy(&shop("shop", "a", 1));
    machine.plan(vec![start(1, "shop/api", 0, 1, 1)]);
    machine.report(1, 1, in_phase(Phase::Finished(Outcome::Isolated)));
    machine.report(1, 1, in_phase(Phase::Finished(Outcome::Stopped)));
    let phase = machine.state.replica(ReplicaId::from_u128(1)).map(|r| r.status.phase);
    assert_eq!(phase, Some(Phase::Finished(Outcome::Stopped)));
}

#[test]
fn reports_that_do_not_fit_are_named() {
    let mut machine = Machine::with_cluster();
    machine.deploy(&shop("shop", "a", 1));
    machine.plan(vec![start(1, "shop/api", 0, 1, 1)]);
    let before = machine.state.replica(ReplicaId::from_u128(1)).cloned();
    let report = |replica, generation| ReplicaReport {
        replica: ReplicaId::from_u128(replica),
        generation: Generation(generation),
        status: in_phase(READY),
    };
    let mut send = |node, reports| {
        machine.apply(Kind::ReportReplicas(ReportReplicas { node: NodeId::from_u128(node), reports })).answer
    };
    let ids = |ids: &[u128]| ids.iter().map(|id| ReplicaId::from_u128(*id)).collect::<Vec<_>>();
    let answer = send(2, vec![report(1, 1), report(7, 1)]);
    assert_eq!(answer, Answer::Reported { unknown: ids(&[1, 7]), stale: vec![] }, "at another node, and nowhere");
    assert_eq!(send(1, vec![report(1, 0)]), Answer::Reported { unknown: vec![], stale: ids(&[1]) });
    assert_eq!(refused(&send(9, vec![])), "node_not_found");
    assert_eq!(machine.state.replica(ReplicaId::from_u128(1)).cloned(), before);
}

#[test]
fn what_a_proxy_cannot_serve_is_known_until_it_can_or_the_endpoint_is_another() {
    let mut machine = Machine::with_cluster();
    machine.deploy(&shop("shop", "a", 1));
    let unserved = |service: &str, message: &str| UnservedEndpoint {
        route: RouteKey { service: at(service), endpoint: "http".parse().expect("a name") },
        reason: Reason::new("port_taken", message),
    };
    let report = |node, unserved: Vec<_>| ReportEndpoints { node: NodeId::from_u128(node), unserved };
    let faults = |machine: &Machine| {
        let service = machine.state.service(&at("shop/api")).expect("it is there");
        service.faults.iter().map(|f| (f.node.as_u128(), f.reason.message.clone(), f.since)).collect::<Vec<_>>()
    };
    let say = |machine: &mut Machine, node, unserved: Vec<_>| {
        let report = report(node, unserved);
        let (news, kind) = (report.brings_news(&machine.state), Kind::ReportEndpoints(report));
        let applied = machine.apply(kind);
        assert_eq!(applied.answer, Answer::Done);
        let changed = !applied.changed.is_empty();
        assert_eq!(news, changed, "who asks first need not send what changes nothing");
        changed
    };
    let before = machine.codes().len();
    assert!(say(&mut machine, 1, vec![unserved("shop/api", "taken"), unserved("shop/gone", "what is that?")]));
    let since = machine.now;
    assert!(!say(&mut machine, 1, vec![unserved("shop/api", "taken")]), "the same again");
    assert!(say(&mut machine, 2, vec![unserved("shop/api", "taken there")]));
    assert!(say(&mut machine, 1, vec![unserved("shop/api", "by another")]));
    let there = machine.now;
    let other = (2, "taken there".to_owned(), Timestamp(there.0 - 1000));
    assert_eq!(faults(&machine), [(1, "by another".to_owned(), since), other.clone()]);

    // A deploy of something else leaves it; another endpoint of that name does not.
    machine.deploy(&shop("shop", "b", 1));
    assert_eq!(faults(&machine).len(), 2);
    assert!(say(&mut machine, 1, vec![]));
    assert_eq!(faults(&machine), [other]);
    let news: Vec<_> =
        machine.codes()[before..].iter().filter(|c| c.contains("port") || c.contains("served")).copied().collect();
    assert_eq!(news, ["port_taken", "port_taken", "port_taken", "endpoint_served"]);
    machine.deploy(&with_services("shop", [("api", service("b", "/elsewhere", 8080, 1))]));
    assert_eq!(faults(&machine), []);
    assert!(say(&mut machine, 2, vec![unserved("shop/api", "taken there")]));
    machine.stop("shop", None, StopOrder::Graceful);
    assert_eq!(faults(&machine), [], "what is being removed offers nothing");
    assert!(!say(&mut machine, 2, vec![unserved("shop/api", "taken there")]));

    let answer = machine.apply(Kind::ReportEndpoints(report(9, vec![]))).answer;
    assert_eq!(refused(&answer), "node_not_found");
    let many = vec![unserved("shop/api", "taken"); orlop_state::limit::UNSERVED_MAX + 1];
    assert_eq!(refused(&machine.apply(Kind::ReportEndpoints(report(1, many))).answer), "too_many_endpoints");
}

#[test]
fn faults_of_a_service_are_bounded() {
    let mut machine = Machine::with_cluster();
    machine.deploy(&shop("shop", "a", 1));
    for node in 10..100 {
        machine.register(node, &format!("node{node}"));
        let route = RouteKey { service: at("shop/api"), endpoint: "http".parse().expect("a name") };
        let unserved = vec![UnservedEndpoint { route, reason: Reason::new("port_taken", "taken") }];
        machine.apply(Kind::ReportEndpoints(ReportEndpoints { node: NodeId::from_u128(node), unserved }));
    }
    let faults = &machine.state.service(&at("shop/api")).expect("it is there").faults;
    assert_eq!(faults.len(), orlop_state::limit::FAULTS_PER_SERVICE_MAX);
}

#[test]
fn transitions_worth_telling_are_told() {
    let exit = Some(Exit { code: 1, out_of_memory: false, at: Timestamp(5) });
    let backing_off = ReplicaStatus { last_exit: exit, ..in_phase(Phase::BackingOff(Timestamp(1077))) };
    let backing_off_long = ReplicaStatus { last_exit: exit, ..in_phase(Phase::BackingOff(Timestamp(32_059))) };
    let restarted = ReplicaStatus { restarts: 1, last_exit: exit, ..in_phase(READY) };
    let gone = ReplicaStatus { restarts: 1, ..in_phase(READY) };
    for (first, then, code, message) in [
        (Phase::Starting, in_phase(READY), "ready", "is ready"),
        (READY, backing_off, "restarting", "exited with code 1; tries again in 1s"),
        (READY, backing_off_long, "restarting", "; tries again in 32s"),
        (READY, restarted, "restarted", "exited with code 1"),
        (READY, gone, "restarted", "its container was gone"),
        (READY, in_phase(Phase::Running(Health::Unhealthy)), "unhealthy", "its check failed"),
        (READY, in_phase(Phase::Finished(Outcome::Failed)), "failed", "failed"),
        (READY, in_phase(Phase::Finished(Outcome::Isolated)), "isolated", "isolated"),
        (READY, in_phase(Phase::Finished(Outcome::Stopped)), "stopped", "by somebody else"),
    ] {
        let mut machine = Machine::with_cluster();
        machine.deploy(&shop("shop", "a", 1));
        machine.plan(vec![start(1, "shop/api", 0, 1, 1)]);
        machine.report(1, 1, in_phase(first));
        let before = machine.state.events_recorded();
        machine.report(1, 1, then);
        let told: Vec<_> = machine.state.events().filter(|e| e.sequence > before).collect();
        assert_eq!(told.len(), 1, "{first:?}: {told:?}");
        assert_eq!(told[0].reason.code, code);
        assert!(told[0].reason.message.contains(message), "{}", told[0].reason);
        assert_eq!(told[0].subject.slot, Some(0));
    }
}

#[test]
fn recorded_events_say_what_they_are_about() {
    let mut machine = Machine::with_cluster();
    machine.deploy(&shop("shop", "a", 1));
    machine.plan(vec![start(1, "shop/api", 0, 1, 1)]);
    let subject = Subject { replica: Some(ReplicaId::from_u128(1)), ..Subject::default() };
    let event = EventRecord { at: Timestamp(5), level: Level::Warning, subject, reason: Reason::new("pull", "slow") };
    machine.apply(Kind::RecordEvents(RecordEvents { events: vec![event.clone()] }));
    let told = machine.state.events().next_back().expect("an event");
    assert_eq!((told.at, &told.reason), (Timestamp(5), &event.reason));
    assert_eq!(told.subject.deployment, Some("shop".parse().expect("a name")));
    assert_eq!(told.subject.node, Some(NodeId::from_u128(1)));
    let many = RecordEvents { events: vec![event; 1_001] };
    assert_eq!(refused(&machine.apply(Kind::RecordEvents(many)).answer), "too_many_events");
}

#[test]
fn events_are_bounded() {
    let mut machine = Machine::with_cluster();
    let event = EventRecord {
        at: Timestamp(5),
        level: Level::Info,
        subject: Subject::default(),
        reason: Reason::new("x", "y"),
    };
    for _ in 0..11 {
        machine.apply(Kind::RecordEvents(RecordEvents { events: vec![event.clone(); 1_000] }));
    }
    assert_eq!(machine.state.events().count(), orlop_state::limit::EVENTS_MAX);
    let newest = machine.state.events_recorded();
    assert_eq!(machine.state.event(newest).map(|e| e.sequence), Some(newest));
    assert_eq!(machine.state.event(newest - 10_000), None);
    assert_eq!(machine.state.event(newest + 1), None);
}

#[test]
fn an_unreadable_command_is_left_out_and_told_of() {
    let mut machine = Machine::with_cluster();
    let before = machine.state.clone();
    // Field 200, which no version of this command has, and nothing of the kinds that are known.
    for bytes in [&[0xc2, 0x0c, 0x01, 0x00][..], b"\xff\xff not protobuf", b""] {
        let command = stored::decode_command(bytes);
        assert!(matches!(command.kind, Kind::Unreadable(_)), "{command:?}");
        let applied = machine.state.apply(Revision(machine.state.revision().0 + 1), command);
        assert_eq!(refused(&applied.answer), "written_by_newer_version");
        assert_eq!(applied.changed.len(), 1, "only an event");
    }
    assert_eq!(machine.state.services().count(), before.services().count());
    assert_eq!(machine.codes()[machine.codes().len() - 3..], ["written_by_newer_version"; 3]);
}

#[test]
fn a_route_has_the_ready_replicas_each_at_the_port_of_its_generation() {
    let mut machine = Machine::with_cluster();
    let deploy = |machine: &mut Machine, image: &str, port| {
        machine.deploy(&with_services("shop", [("api", service(image, "/", port, 2))]));
    };
    let backends = |machine: &Machine| -> Vec<(u128, u16)> {
        match &view::snapshot(&machine.state, &View::Routes)[..] {
            [Object::Route(route)] => route.backends.iter().map(|b| (b.replica.as_u128(), b.port)).collect(),
            other => panic!("{other:?}"),
        }
    };
    deploy(&mut machine, "a:1", 80);
    machine.plan(vec![start(1, "shop/api", 0, 1, 1), start(2, "shop/api", 1, 1, 1)]);
    assert_eq!(backends(&machine), []);
    machine.report(1, 1, in_phase(READY));
    machine.report(1, 2, in_phase(Phase::Running(Health::Unhealthy)));
    assert_eq!(backends(&machine), [(1, 80)]);
    deploy(&mut machine, "a:2", 90);
    machine.plan(vec![start(3, "shop/api", 0, 2, 1)]);
    machine.report(1, 3, in_phase(READY));
    assert_eq!(backends(&machine), [(1, 80), (3, 90)], "the old one still listens where it did");
    machine.plan(vec![end(1, GRACEFUL)]);
    assert_eq!(backends(&machine), [(3, 90)], "who is to stop gets no more requests");
    machine.stop("shop", None, GRACEFUL);
    assert_eq!(view::snapshot(&machine.state, &View::Routes), []);
}

#[test]
fn an_assignment_has_the_workload_of_the_replicas_generation_until_its_last_replica_is_forgotten() {
    let mut machine = Machine::with_cluster();
    machine.deploy(&shop("shop", "a:1", 2));
    machine.plan(vec![start(1, "shop/api", 0, 1, 1)]);
    machine.deploy(&shop("shop", "a:2", 2));
    machine.plan(vec![start(2, "shop/api", 0, 2, 1)]);
    let images = |machine: &Machine| -> Vec<String> {
        let objects = view::snapshot(&machine.state, &View::Node(NodeId::from_u128(1)));
        let image = |object| match object {
            Object::Assignment(assignment) => assignment.workload.image.name.clone(),
            other => panic!("{other:?}"),
        };
        objects.into_iter().map(image).collect()
    };
    assert_eq!(images(&machine), ["a:1", "a:2"]);
    let size = |machine: &Machine| stored::encode_state(&machine.state).windows(3).filter(|w| w == b"a:1").count();
    let with_old = size(&machine);
    machine.plan(vec![end(1, GRACEFUL)]);
    machine.report(1, 1, in_phase(Phase::Finished(Outcome::Stopped)));
    machine.plan(vec![forget(1)]);
    assert_eq!(images(&machine), ["a:2"]);
    assert_eq!(size(&machine), with_old - 1, "the spec of generation 1 is forgotten");
}

#[test]
fn an_end_is_told_once_although_the_start_after_it_repeats_it() {
    let exit = Some(Exit { code: 1, out_of_memory: false, at: Timestamp(5) });
    let mut machine = Machine::with_cluster();
    machine.deploy(&shop("shop", "a", 1));
    machine.plan(vec![start(1, "shop/api", 0, 1, 1)]);
    let before = machine.codes().len();
    let with = |phase, restarts| ReplicaStatus { restarts, last_exit: exit, ..in_phase(phase) };
    machine.report(1, 1, with(Phase::BackingOff(Timestamp(1077)), 0));
    machine.report(1, 1, with(Phase::Preparing, 0));
    machine.report(1, 1, with(READY, 1));
    assert_eq!(machine.codes()[before..], ["restarting", "ready"]);
}

#[test]
fn a_member_has_an_id_that_no_other_ever_had_and_a_name_of_its_own() {
    let mut machine = Machine::default();
    machine.init("10.77.0.0/16");
    let member = |id, name: &str| {
        let name = name.parse().expect("a name");
        Kind::AddMember(AddMember { id, name, address: "10.0.0.1:7700".into() })
    };
    let added = |answer: Answer| match answer {
        Answer::MemberAdded { member } => member,
        other => panic!("{other:?}"),
    };
    let refused = |answer: Answer| match answer {
        Answer::Refused(refusal) => refusal.reason.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(added(machine.apply(member(Some(MemberId::FIRST), "one")).answer), MemberId(1));
    let remove = |id| Kind::RemoveMember(RemoveMember { id });
    assert_eq!(refused(machine.apply(remove(MemberId(1))).answer), "last_member");
    let two = added(machine.apply(member(None, "two")).answer);
    assert_eq!(two, MemberId(machine.state.revision().0), "the index of the entry that added it");
    assert_eq!(refused(machine.apply(member(None, "two")).answer), "member_name_taken");
    assert_eq!(machine.apply(remove(two)).answer, Answer::Done);
    assert_eq!(refused(machine.apply(remove(two)).answer), "member_not_found");
    let again = added(machine.apply(member(None, "two")).answer);
    assert!(again > two, "{again} is not {two} again");
    let moved = MoveMember { id: again, address: "10.0.0.2:7700".into() };
    assert_eq!(machine.apply(Kind::MoveMember(moved)).answer, Answer::Done);
    assert_eq!(machine.state.member(again).expect("it is there").address, "10.0.0.2:7700");
    for n in 0..14 {
        added(machine.apply(member(None, &format!("more-{n}"))).answer);
    }
    assert_eq!(refused(machine.apply(member(None, "one-too-many")).answer), "too_many_members");
}
