//! Nodes that fall silent, are given up, come back, are cordoned and removed.

use crate::sample::*;
use orlop_model::*;
use orlop_state::command::*;
use orlop_state::{Entity, Kind};

const ONE: NodeId = NodeId::from_u128(1);

fn judge(verdict: Verdict) -> Kind {
    Kind::JudgeNodes(JudgeNodes::one(ONE, verdict))
}

fn liveness(machine: &Machine) -> Liveness {
    machine.state.node(ONE).expect("a node").liveness
}

fn phase(machine: &Machine, id: u128) -> Phase {
    machine.state.replica(ReplicaId::from_u128(id)).expect("a replica").status.phase
}

/// Two ready replicas, one on each node.
fn two_replicas() -> Machine {
    let mut machine = Machine::with_cluster();
    machine.deploy(&shop("shop", "a", 2));
    machine.plan(vec![start(1, "shop/api", 0, 1, 1), start(2, "shop/api", 1, 1, 2)]);
    machine.report(1, 1, in_phase(READY));
    machine.report(2, 2, in_phase(READY));
    machine
}

#[test]
fn the_life_of_a_node_is_alive_suspect_lost_and_back_over_alive_only() {
    use Verdict::{Alive, Lost, Suspect};
    for (before, verdict, word) in [
        (vec![], Alive, "alive"),
        (vec![], Suspect, "suspect"),
        (vec![], Lost, "lost"),
        (vec![Suspect], Alive, "alive"),
        (vec![Suspect], Suspect, "suspect"),
        (vec![Suspect], Lost, "lost"),
        (vec![Lost], Alive, "alive"),
        (vec![Lost], Suspect, "lost"),
        (vec![Lost], Lost, "lost"),
    ] {
        let mut machine = Machine::with_cluster();
        before.iter().for_each(|verdict| drop(machine.apply(judge(*verdict))));
        let (was, revision) = (liveness(&machine), machine.state.events_recorded());
        let applied = machine.apply(judge(verdict));
        assert_eq!(liveness(&machine).word(), word, "{before:?} then {verdict:?}");
        let same = was == liveness(&machine);
        assert_eq!(applied.changed.contains(&Entity::Node(ONE)), !same, "{before:?} then {verdict:?}");
        assert_eq!(machine.state.events_recorded() > revision, !same, "what changed is told, and nothing else");
    }
}

#[test]
fn a_lost_node_is_silent_since_it_was_suspect() {
    let mut machine = Machine::with_cluster();
    machine.apply(judge(Verdict::Suspect));
    let since = liveness(&machine).silent_since();
    machine.apply(judge(Verdict::Lost));
    assert_eq!(liveness(&machine), Liveness::Lost(since.expect("it is silent")));
}

#[test]
fn replicas_of_a_suspect_node_are_believed_in_and_those_of_a_lost_one_are_not() {
    let mut machine = two_replicas();
    let suspect = machine.apply(judge(Verdict::Suspect));
    assert_eq!((phase(&machine, 1), phase(&machine, 2)), (READY, READY));
    assert!(!suspect.changed.iter().any(|e| matches!(e, Entity::Route(_))), "requests still go there");

    let lost = machine.apply(judge(Verdict::Lost));
    assert_eq!((phase(&machine, 1), phase(&machine, 2)), (Phase::Finished(Outcome::Lost), READY));
    assert!(lost.changed.iter().any(|e| matches!(e, Entity::Route(_))), "requests go there no more");
    assert!(machine.codes().contains(&"node_lost"));

    // Its place is free, and what it held of the node counts no more.
    machine.apply(judge(Verdict::Alive));
    assert_eq!(machine.plan(vec![start(3, "shop/api", 0, 1, 2)]), []);
}

#[test]
fn a_replica_goes_on_when_its_node_is_back_before_another_took_its_place() {
    let mut machine = two_replicas();
    machine.apply(judge(Verdict::Lost));
    machine.report(1, 1, in_phase(READY));
    assert_eq!(
        phase(&machine, 1),
        Phase::Finished(Outcome::Lost),
        "a word from a node that is given up counts nothing"
    );
    let mut registered = machine.clone();
    let returned = [machine.apply(judge(Verdict::Alive)), registered.apply(Kind::RegisterNode(register(1, "alpha")))];
    for applied in returned {
        let told = |e: &Entity| matches!(e, Entity::Replica { node, .. } if *node == ONE);
        assert!(applied.changed.iter().any(told), "its node hears what was thought of it: {:?}", applied.changed);
    }
    machine.report(1, 1, in_phase(READY));
    assert_eq!(phase(&machine, 1), READY);
    assert_eq!(machine.plan(vec![start(3, "shop/api", 0, 1, 2)]), [(0, "slot_taken".to_owned())]);
}

#[test]
fn a_replica_whose_place_was_taken_meanwhile_stays_lost() {
    let mut machine = two_replicas();
    machine.apply(judge(Verdict::Lost));
    assert_eq!(machine.plan(vec![start(3, "shop/api", 0, 1, 2)]), []);
    machine.apply(judge(Verdict::Alive));
    machine.report(1, 1, in_phase(READY));
    assert_eq!(phase(&machine, 1), Phase::Finished(Outcome::Lost), "at most one has a slot");
    machine.plan(vec![forget(1)]);
    machine.report(1, 1, in_phase(READY));
    assert!(machine.state.replica(ReplicaId::from_u128(1)).is_none(), "its node is told so by its absence");
}

#[test]
fn many_nodes_are_judged_at_once_and_those_that_are_gone_are_passed_over() {
    let mut machine = Machine::with_cluster();
    let verdicts = (1..=3).map(|id| (NodeId::from_u128(id), Verdict::Suspect)).collect();
    let applied = machine.apply(Kind::JudgeNodes(JudgeNodes { verdicts }));
    let nodes = applied.changed.iter().filter(|e| matches!(e, Entity::Node(_))).count();
    assert_eq!(nodes, 2, "{:?}", applied.changed);
}

#[test]
fn a_cordoned_node_gets_nothing_new_until_it_is_open_again_also_after_it_registered() {
    let mut machine = two_replicas();
    let schedule = |scheduling| Kind::ScheduleNode(ScheduleNode { node: ONE, scheduling });
    machine.deploy(&shop("more", "a", 1));
    machine.apply(schedule(Scheduling::Cordoned));
    assert_eq!(machine.apply(schedule(Scheduling::Cordoned)).changed, []);
    machine.register(1, "alpha");
    assert_eq!(machine.plan(vec![start(3, "more/api", 0, 1, 1)]), [(0, "node_not_open".to_owned())]);
    assert_eq!(phase(&machine, 1), READY, "what it has stays");
    // Whoever has the name of the machine is that machine.
    machine.apply(judge(Verdict::Suspect));
    machine.register(9, "alpha");
    assert_eq!(machine.state.node(NodeId::from_u128(9)).map(|n| n.scheduling), Some(Scheduling::Cordoned));
    machine.apply(Kind::ScheduleNode(ScheduleNode { node: NodeId::from_u128(9), scheduling: Scheduling::Open }));
    assert_eq!(machine.plan(vec![start(3, "more/api", 0, 1, 9)]), []);
    assert_eq!(refused(&machine.apply(schedule(Scheduling::Open)).answer), "node_not_found");
}

#[test]
fn a_node_is_removed_when_it_is_lost_or_has_nothing_left() {
    let mut machine = two_replicas();
    let remove = || Kind::RemoveNode(RemoveNode { node: ONE, identity: None });
    assert_eq!(refused(&machine.apply(remove()).answer), "node_alive");
    machine.apply(judge(Verdict::Suspect));
    assert_eq!(refused(&machine.apply(remove()).answer), "node_in_use");
    let mut empty = machine.clone();
    empty.report(1, 1, in_phase(Phase::Finished(Outcome::Stopped)));
    machine.apply(judge(Verdict::Lost));
    for mut machine in [machine, empty] {
        let removed = machine.apply(remove());
        assert!(removed.changed.contains(&Entity::Node(ONE)));
        assert!(machine.state.node(ONE).is_none());
        assert_eq!(refused(&machine.apply(remove()).answer), "node_not_found");
        let subnet = "10.77.0.0/24".parse().expect("a subnet");
        assert_eq!(machine.register(7, "other"), orlop_state::Answer::Registered { subnet }, "its subnet is free");
    }
}

#[test]
fn a_node_may_come_back_with_another_address_other_labels_and_more_memory() {
    let mut machine = Machine::with_cluster();
    let address = Some("192.0.2.9".parse().expect("an address"));
    let labels = [("disk".to_owned(), "ssd".to_owned())];
    let changed = RegisterNode { address, labels: labels.into(), memory: Memory(64 << 30), ..register(1, "alpha") };
    machine.apply(Kind::RegisterNode(changed));
    let node = machine.state.node(ONE).expect("a node");
    assert_eq!((node.address, node.memory, node.labels.len()), (address, Memory(64 << 30), 1));
}

#[test]
fn many_nodes_report_at_once_as_if_each_had_reported_by_itself() {
    let mut machine = Machine::with_cluster();
    machine.deploy(&shop("shop", "a", 2));
    machine.plan(vec![start(1, "shop/api", 0, 1, 1), start(2, "shop/api", 1, 1, 2)]);
    let (mut one_by_one, mut at_once) = (machine.clone(), machine);
    let report = |node: u128, replica: u128| ReportReplicas {
        node: NodeId::from_u128(node),
        reports: vec![ReplicaReport {
            replica: ReplicaId::from_u128(replica),
            generation: Generation(1),
            status: in_phase(READY),
        }],
    };
    // One of a node that is not known, and one of a replica that is elsewhere.
    let reports = [report(1, 1), report(9, 1), report(2, 2), report(2, 1)];
    for report in &reports {
        one_by_one.apply(Kind::ReportReplicas(report.clone()));
    }
    let applied = at_once.apply(Kind::ReportMany(ReportMany { nodes: reports.to_vec() }));
    let unknown = vec![ReplicaId::from_u128(1)];
    assert_eq!(applied.answer, orlop_state::Answer::Reported { unknown, stale: vec![] });
    let phases = |machine: &Machine| machine.state.replicas().map(|r| r.status.phase).collect::<Vec<_>>();
    assert_eq!(phases(&at_once), [READY, READY]);
    assert_eq!(phases(&at_once), phases(&one_by_one));

    let many = vec![report(1, 1); orlop_state::limit::REPORTS_MAX + 1];
    let refusal = at_once.apply(Kind::ReportMany(ReportMany { nodes: many })).answer;
    assert_eq!(refused(&refusal), "too_many_reports");
}

#[test]
fn a_drained_node_gives_each_place_to_one_replica_elsewhere() {
    let mut machine = two_replicas();
    machine.apply(Kind::ScheduleNode(ScheduleNode { node: ONE, scheduling: Scheduling::Draining }));
    assert_eq!(machine.plan(vec![start(3, "shop/api", 0, 1, 1)]), [(0, "node_not_open".to_owned())]);
    assert_eq!(machine.plan(vec![start(3, "shop/api", 1, 1, 2)]), [(0, "slot_taken".to_owned())], "that one stays");
    assert_eq!(machine.plan(vec![start(3, "shop/api", 0, 1, 2)]), []);
    assert_eq!(machine.plan(vec![start(4, "shop/api", 0, 1, 2)]), [(0, "slot_taken".to_owned())], "one is enough");
    assert_eq!(machine.plan(vec![start(4, "shop/api", 2, 1, 2)]), [(0, "enough_replicas".to_owned())]);
    assert_eq!(
        (phase(&machine, 1), machine.state.replicas().count()),
        (READY, 3),
        "it serves until it is told to stop"
    );
}

#[test]
fn a_drain_that_is_called_off_leaves_one_replica_in_each_slot() {
    for (heir_is_ready, stops) in [(false, 3), (true, 1)] {
        let mut machine = two_replicas();
        let schedule = |scheduling| Kind::ScheduleNode(ScheduleNode { node: ONE, scheduling });
        machine.apply(schedule(Scheduling::Draining));
        assert_eq!(machine.plan(vec![start(3, "shop/api", 0, 1, 2)]), []);
        if heir_is_ready {
            machine.report(2, 3, in_phase(READY));
        }
        machine.apply(schedule(Scheduling::Open));
        let told: Vec<u128> =
            machine.state.replicas().filter(|r| r.desired != Desired::Run).map(|r| r.id.as_u128()).collect();
        assert_eq!(told, [stops], "heir ready: {heir_is_ready}");
    }
}
