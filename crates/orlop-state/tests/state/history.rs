//! Any history: commands that fit, commands that are too late, nonsense, in any order.
//!
//! An [`Op`] is resolved against the state as it is, so that most of them do something; what holds after each command is
//! checked apart from how commands are made.

use crate::sample::*;
use crate::trust::trusting;
use orlop_model::plan::{Plan, Step};
use orlop_model::*;
use orlop_state::command::*;
use orlop_state::{Answer, Entity, Kind, State, stored, view};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// One thing that happens; numbers choose among what there is.
#[derive(Debug, Clone)]
enum Op {
    Deploy { deployment: usize, services: u8, image: u8, replicas: u32, expected: Option<u64> },
    Scale { service: usize, replicas: u32 },
    Stop { deployment: usize, whole: bool, order: StopOrder },
    Register { node: u128, name: usize },
    Silent { node: usize },
    Alive { node: usize },
    Report { replica: usize, status: ReplicaStatus, elsewhere: bool },
    Endpoints { node: usize, services: Vec<usize>, reason: Reason },
    Plan { steps: Vec<PlanOp> },
    Lease { holder: u8, ttl: u64 },
    Secret { value: u8 },
    RemoveSecret,
    Unreadable,
}

#[derive(Debug, Clone)]
enum PlanOp {
    Start { service: usize, slot: u32, node: usize, stale: bool },
    Stop { replica: usize, order: StopOrder },
    Forget { replica: usize },
    Note { service: usize, status: ServiceStatus },
    Remove { service: usize },
}

fn op() -> impl Strategy<Value = Op> {
    use orlop_arbitrary::{reason, replica_status, stop_order};
    let few = 0..8_usize;
    prop_oneof![
        4 => (prop_oneof![4 => Just(0), 1 => 0..3_usize], 1..4_u8, 0..3_u8, prop_oneof![3 => 1..3_u32, 1 => 0..4_u32], prop::option::weighted(0.2, 0..4_u64)).prop_map(
            |(deployment, services, image, replicas, expected)| Op::Deploy { deployment, services, image, replicas, expected }
        ),
        1 => (few.clone(), 0..4_u32).prop_map(|(service, replicas)| Op::Scale { service, replicas }),
        1 => (0..3_usize, prop::bool::weighted(0.3), stop_order())
            .prop_map(|(deployment, whole, order)| Op::Stop { deployment, whole, order }),
        2 => (1..4_u128, 0..3_usize).prop_map(|(node, name)| Op::Register { node, name }),
        1 => few.clone().prop_map(|node| Op::Silent { node }),
        1 => few.clone().prop_map(|node| Op::Alive { node }),
        8 => (any::<usize>(), replica_status(), prop::bool::weighted(0.05), prop::bool::weighted(0.3))
            .prop_map(|(replica, mut status, elsewhere, ends)| {
                if status.phase.is_finished() && !ends {
                    status.phase = Phase::Running(Health::Healthy);
                }
                Op::Report { replica, status, elsewhere }
            }),
        2 => (few.clone(), prop::collection::vec(few.clone(), 0..3), reason())
            .prop_map(|(node, services, reason)| Op::Endpoints { node, services, reason }),
        8 => prop::collection::vec(plan_op(), 0..8).prop_map(|steps| Op::Plan { steps }),
        1 => (0..2_u8, prop_oneof![Just(0), 1..30_u64]).prop_map(|(holder, ttl)| Op::Lease { holder, ttl }),
        2 => any::<u8>().prop_map(|value| Op::Secret { value }),
        1 => Just(Op::RemoveSecret),
        1 => Just(Op::Unreadable),
    ]
}

fn plan_op() -> impl Strategy<Value = PlanOp> {
    use orlop_arbitrary::{service_status, stop_order};
    prop_oneof![
        9 => (any::<usize>(), prop_oneof![3 => Just(0), 1 => 0..3_u32], any::<usize>(), prop::bool::weighted(0.1))
            .prop_map(|(service, slot, node, stale)| PlanOp::Start { service, slot, node, stale }),
        2 => (any::<usize>(), stop_order()).prop_map(|(replica, order)| PlanOp::Stop { replica, order }),
        3 => any::<usize>().prop_map(|replica| PlanOp::Forget { replica }),
        1 => (any::<usize>(), service_status()).prop_map(|(service, status)| PlanOp::Note { service, status }),
        2 => any::<usize>().prop_map(|service| PlanOp::Remove { service }),
    ]
}

fn secret() -> orlop_model::trust::SecretName {
    "key".parse().expect("a name")
}

const DEPLOYMENTS: [&str; 3] = ["one", "two", "three"];
const NODES: [&str; 3] = ["alpha", "beta", "gamma"];

fn choose<T>(mut all: impl Iterator<Item = T>, number: usize, count: usize) -> Option<T> {
    if count == 0 { None } else { all.nth(number % count) }
}

fn a_service(state: &State, number: usize) -> ServiceState {
    let count = state.services().count();
    choose(state.services().cloned(), number, count).unwrap_or_else(|| ServiceState {
        name: at("none/api"),
        generation: Generation(1),
        workload_generation: Generation(1),
        spec: service("a", "/", 80, 1).into(),
        replicas: 1,
        changed_at: Timestamp(0),
        stopping: None,
        status: ServiceStatus::default(),
        faults: Vec::new(),
    })
}

fn a_replica(state: &State, number: usize) -> (ReplicaId, NodeId, Generation) {
    let count = state.replicas().count();
    choose(state.replicas().map(|r| (r.id, r.node, r.generation)), number, count).unwrap_or((
        ReplicaId::from_u128(1 << 100),
        NodeId::from_u128(1),
        Generation(1),
    ))
}

fn a_node(state: &State, number: usize) -> NodeId {
    let count = state.nodes().count();
    choose(state.nodes().map(|n| n.id), number, count).unwrap_or(NodeId::from_u128(9))
}

fn resolve(state: &State, op: &Op, ids: &mut u128) -> Kind {
    let name = |deployment: usize| DEPLOYMENTS[deployment % 3].parse().expect("a name");
    match op {
        Op::Deploy { deployment, services, image, replicas, expected } => {
            let mut spec = shop(DEPLOYMENTS[deployment % 3], &format!("a:{image}"), *replicas);
            // A bit for each service; one path for all deployments now and then, which only one of them may have.
            for (bit, other) in ["db", "web"].into_iter().enumerate() {
                if services & (1 << bit) != 0 {
                    let path = if *replicas == 3 { "/shared".to_owned() } else { format!("/{}/{other}", spec.name) };
                    spec.services.insert(other.parse().expect("a name"), service("b", &path, 80, *replicas));
                }
            }
            // One image takes the secret, which may or may not be there.
            if *image == 2 {
                for service in spec.services.values_mut() {
                    let env = &mut std::sync::Arc::make_mut(&mut service.workload).env;
                    env.insert("KEY".into(), spec::EnvValue::Secret(secret()));
                }
            }
            if *replicas == 3 && services & 3 == 3 {
                spec.services.remove("web");
            }
            Kind::Deploy(Deploy {
                deployment: spec,
                expected_generation: expected.map(Generation),
                retry: expected.is_none(),
            })
        }
        Op::Scale { service, replicas } => {
            Kind::Scale(Scale { service: a_service(state, *service).name, replicas: *replicas })
        }
        Op::Stop { deployment, whole, order } => {
            let service = (!whole).then(|| "api".parse().expect("a name"));
            Kind::Stop(Stop { deployment: name(*deployment), service, order: *order })
        }
        Op::Register { node, name } => Kind::RegisterNode(register(*node, NODES[name % 3])),
        Op::Silent { node } => Kind::JudgeNodes(JudgeNodes::one(a_node(state, *node), Verdict::Suspect)),
        Op::Alive { node } => Kind::JudgeNodes(JudgeNodes::one(a_node(state, *node), Verdict::Alive)),
        Op::Report { replica, status, elsewhere } => {
            let (replica, node, generation) = a_replica(state, *replica);
            let node = if *elsewhere { a_node(state, 1) } else { node };
            let reports = vec![ReplicaReport { replica, generation, status: status.clone() }];
            Kind::ReportReplicas(ReportReplicas { node, reports })
        }
        Op::Endpoints { node, services, reason } => {
            let of = |number: &usize| UnservedEndpoint {
                route: RouteKey { service: a_service(state, *number).name, endpoint: "http".parse().expect("a name") },
                reason: reason.clone(),
            };
            let unserved = services.iter().map(of).collect();
            Kind::ReportEndpoints(ReportEndpoints { node: a_node(state, *node), unserved })
        }
        Op::Plan { steps } => {
            let steps = steps.iter().map(|step| resolve_step(state, step, ids)).collect();
            let fence = state.lease().map_or(1, |lease| lease.fence);
            Kind::SubmitPlan(SubmitPlan { fence, plan: Plan { revision: state.revision(), steps, wake_at: None } })
        }
        Op::Lease { holder, ttl } => {
            Kind::AcquireLease(AcquireLease { holder: format!("s{holder}"), ttl: Millis::from_secs(*ttl) })
        }
        Op::Secret { value } => Kind::Trust(TrustCommand::SetSecret(SetSecret {
            name: secret(),
            version: state.next_secret_version(&secret()),
            sealed: [*value].into(),
            key_version: 1,
        })),
        Op::RemoveSecret => Kind::Trust(TrustCommand::RemoveSecret(RemoveSecret { name: secret() })),
        Op::Unreadable => Kind::Unreadable(Unreadable { problem: "kind: is not known to this version".into() }),
    }
}

fn resolve_step(state: &State, step: &PlanOp, ids: &mut u128) -> Step {
    let why = Reason::new("because", "so");
    match step {
        PlanOp::Start { service, slot, node, stale } => {
            let service = a_service(state, *service);
            *ids += 1;
            Step::Start {
                replica: ReplicaId::from_u128(*ids),
                service: service.name,
                slot: *slot,
                generation: Generation(service.workload_generation.0 - u64::from(*stale)),
                node: a_node(state, *node),
                why,
            }
        }
        PlanOp::Stop { replica, order } => Step::Stop { replica: a_replica(state, *replica).0, order: *order, why },
        PlanOp::Forget { replica } => Step::Forget { replica: a_replica(state, *replica).0 },
        PlanOp::Note { service, status } => {
            let service = a_service(state, *service);
            Step::Note { service: service.name, generation: service.generation, status: status.clone() }
        }
        PlanOp::Remove { service } => Step::Remove { service: a_service(state, *service).name },
    }
}

/// What holds of every state, however it came about.
fn check(state: &State) {
    let nodes: BTreeMap<NodeId, &Node> = state.nodes().map(|n| (n.id, n)).collect();
    let names: BTreeSet<_> = nodes.values().map(|n| &n.name).collect();
    let subnets: BTreeSet<_> = nodes.values().map(|n| n.subnet).collect();
    assert_eq!((names.len(), subnets.len()), (nodes.len(), nodes.len()), "names and subnets are given once");

    let mut slots: BTreeMap<(&ServiceRef, u32), Vec<&Replica>> = BTreeMap::new();
    for replica in state.replicas() {
        assert!(state.service(&replica.service).is_some(), "{replica:?} is of a service that is known");
        assert!(
            nodes.contains_key(&replica.node) || replica.status.phase.is_finished(),
            "{replica:?} is at a node that is known, or is over"
        );
        let lost = matches!(replica.status.phase, Phase::Finished(Outcome::Stopped | Outcome::Lost));
        if replica.desired == Desired::Run && !lost {
            slots.entry((&replica.service, replica.slot)).or_default().push(replica);
        }
    }
    for ((service, slot), holders) in slots {
        assert!(holders.len() <= 2, "slot {slot} of {service}: {holders:?}");
        let generations: BTreeSet<_> = holders.iter().map(|r| r.generation).collect();
        assert_eq!(generations.len(), holders.len(), "one of each generation in slot {slot} of {service}");
    }
    let deployments: BTreeSet<_> = state.deployments().map(|d| d.name).collect();
    let used: BTreeSet<_> = state.services().map(|s| s.name.deployment.clone()).collect();
    assert_eq!(deployments, used, "deployments have services and services have deployments");

    // What a replica names is there for its node.
    for node in nodes.keys() {
        assert!(secrets_at(state, *node).iter().all(|name| state.secret(name).is_some()), "a secret is gone");
    }

    // Every replica has the workload it was placed with, and no route is there twice.
    let assigned: usize = nodes.keys().map(|node| view::snapshot(state, &View::Node(*node)).len()).sum();
    assert_eq!(assigned, state.replicas().filter(|r| nodes.contains_key(&r.node)).count());
    let mut claims = BTreeSet::new();
    for object in view::snapshot(state, &View::Routes) {
        let Object::Route(route) = object else { panic!("{object:?}") };
        let claim = (route.endpoint.host.clone(), route.endpoint.path.clone());
        assert!(claims.insert(claim), "two routes are the same: {route:?}");
        assert!(route.backends.iter().all(|b| state.replica(b.replica).is_some_and(Replica::is_ready)), "{route:?}");
    }
    let sequences: Vec<u64> = state.events().map(|e| e.sequence).collect();
    assert!(sequences.windows(2).all(|w| w[0] + 1 == w[1]), "events have no gaps");
    assert_eq!(sequences.last().copied().unwrap_or(0), state.events_recorded());
}

/// Somebody who watches, and looks only now and then.
struct Follower {
    view: View,
    seen: BTreeMap<String, Object>,
    missed: BTreeSet<Entity>,
}

impl Follower {
    fn new(view: View) -> Self {
        Self { view, seen: BTreeMap::new(), missed: BTreeSet::new() }
    }

    fn look(&mut self, state: &State) {
        for entity in std::mem::take(&mut self.missed) {
            match view::project(state, &self.view, &entity) {
                Some((key, Some(object))) => {
                    assert_eq!(key, object.key());
                    self.seen.insert(key, object);
                }
                Some((key, None)) => {
                    self.seen.remove(&key);
                }
                None => {}
            }
        }
        let now: BTreeMap<_, _> = view::snapshot(state, &self.view).into_iter().map(|o| (o.key(), o)).collect();
        assert_eq!(self.seen, now, "{:?}", self.view);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_the_promises(ops in prop::collection::vec((op(), prop::bool::weighted(0.3)), 1..100)) {
        let mut machine = trusting();
        let mut followers: Vec<Follower> = [
            View::Scheduler,
            View::Routes,
            View::Mesh,
            View::Node(NodeId::from_u128(1)),
            View::Node(NodeId::from_u128(2)),
            View::Operator(None),
            View::Operator(Some("one".parse().expect("a name"))),
            View::Events(None),
            View::Events(Some("two".parse().expect("a name"))),
        ]
        .into_iter()
        .map(Follower::new)
        .collect();
        for follower in &mut followers {
            follower.seen = view::snapshot(&machine.state, &follower.view).into_iter().map(|o| (o.key(), o)).collect();
        }
        let mut ids = 0;
        for (op, look) in ops {
            let before = machine.state.clone();
            let kind = resolve(&machine.state, &op, &mut ids);
            let applied = machine.apply(kind.clone());

            prop_assert_eq!(machine.state.revision().0, before.revision().0 + 1);
            let unreadable = matches!(kind, Kind::Unreadable(_));
            if matches!(applied.answer, Answer::Refused(_)) && !unreadable {
                prop_assert_eq!(&applied.changed, &Vec::new(), "a refused command changes nothing: {:?}", op);
            }
            let answer = stored::decode_answer(&stored::encode_answer(&applied.answer));
            prop_assert_eq!(answer, Ok(applied.answer), "an answer travels whole");

            check(&machine.state);
            let restored = stored::decode_state(&stored::encode_state(&machine.state));
            prop_assert_eq!(restored.as_ref(), Ok(&machine.state), "a snapshot restores the same state");

            // The same command on the same state, as another member has it, comes to the same.
            let mut member = before;
            let again = orlop_state::Command::new(machine.now, kind);
            member.apply(machine.state.revision(), again);
            prop_assert_eq!(&member, &machine.state);

            for follower in &mut followers {
                follower.missed.extend(applied.changed.iter().cloned());
                if look {
                    follower.look(&machine.state);
                }
            }
        }
        followers.iter_mut().for_each(|follower| follower.look(&machine.state));
    }
}
