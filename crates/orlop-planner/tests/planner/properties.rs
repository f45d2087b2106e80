//! What holds of the plan for any cluster at all, also for one that no history would lead to.

use crate::text::{plain_node, plain_service};
use crate::toy;
use orlop_model::spec::{Condition, Dependency, OnFailure};
use orlop_model::{
    Cpu, DependencyFault, Desired, Generation, Health, Liveness, Memory, Millis, NodeId, Outcome, Phase, Reason,
    Replica, ReplicaId, ReplicaStatus, Resources, Revision, Scheduling, ServiceRef, ServiceState, ServiceStatus,
    StopOrder, Timestamp,
};
use orlop_planner::{Cluster, check, plan};
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;

const NOW: Timestamp = Timestamp(1_000_000);
const NAMES: [&str; 4] = ["aaa", "bbb", "ccc", "ddd"];

fn name(index: usize) -> ServiceRef {
    format!("shop/{}", NAMES[index]).parse().expect("a name")
}

fn order() -> impl Strategy<Value = StopOrder> {
    prop_oneof![Just(StopOrder::Graceful), Just(StopOrder::Forced)]
}

fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        1 => Just(Phase::Pending),
        1 => Just(Phase::Starting),
        4 => Just(Phase::Running(Health::Healthy)),
        1 => Just(Phase::Running(Health::Unhealthy)),
        1 => Just(Phase::BackingOff(NOW)),
        1 => Just(Phase::Stopping),
        1 => Just(Phase::Finished(Outcome::Stopped)),
        1 => Just(Phase::Finished(Outcome::Failed)),
        1 => Just(Phase::Finished(Outcome::Isolated)),
        1 => Just(Phase::Finished(Outcome::Lost)),
    ]
}

fn resources() -> impl Strategy<Value = Resources> {
    (proptest::option::of(0u64..3000), proptest::option::of(0u64..(3 << 30)))
        .prop_map(|(cpu, memory)| Resources { cpu: cpu.map(Cpu), memory: memory.map(Memory) })
}

fn dependency() -> impl Strategy<Value = Dependency> {
    let condition = prop_oneof![Just(Condition::Started), Just(Condition::Healthy), Just(Condition::Ready)];
    let on_timeout = prop_oneof![Just(OnFailure::Fail), Just(OnFailure::Warn), Just(OnFailure::Continue)];
    (0..4usize, condition, proptest::option::of(0u64..200_000), on_timeout).prop_map(
        |(service, condition, timeout, on_timeout)| Dependency {
            service: NAMES[service].parse().expect("a name"),
            condition,
            timeout: timeout.map(Millis),
            on_timeout,
        },
    )
}

prop_compose! {
    fn service(index: usize)(
        workload in 1u64..4,
        later in 0u64..2,
        replicas in 0u32..5,
        stopping in proptest::option::weighted(0.2, order()),
        (surge, unavailable, min_healthy) in (0u32..3, 0u32..3, 0u64..50_000),
        resources in resources(),
        depends in vec(dependency(), 0..3),
        age in 0u64..200_000,
        fault in proptest::option::weighted(0.2, any::<bool>()),
    ) -> ServiceState {
        let mut spec = plain_service();
        Arc::make_mut(&mut spec.workload).resources = resources;
        spec.update.max_surge = if surge + unavailable == 0 { 1 } else { surge };
        spec.update.max_unavailable = unavailable;
        spec.update.min_healthy = Millis(min_healthy);
        spec.depends = depends;
        let generation = Generation(workload + later);
        let reason = Reason::new("dependency_timeout", "it took too long");
        ServiceState {
            name: name(index),
            generation,
            workload_generation: Generation(workload),
            spec: Arc::new(spec),
            replicas,
            changed_at: Timestamp(NOW.0 - age),
            stopping,
            faults: Vec::new(),
            status: ServiceStatus {
                blocked: Vec::new(),
                dependency_fault: fault.map(|failed| DependencyFault { generation, failed, reason }),
            },
        }
    }
}

prop_compose! {
    fn replica()(
        service in 0..4usize,
        slot in 0u32..6,
        generation in 1u64..4,
        node in 1u128..5,
        reserved in resources(),
        stop in proptest::option::weighted(0.25, order()),
        phase in phase(),
        age in 0u64..100_000,
    ) -> Replica {
        Replica {
            id: ReplicaId::from_u128(0),
            service: name(service),
            slot,
            generation: Generation(generation),
            node: NodeId::from_u128(node),
            reserved,
            desired: stop.map_or(Desired::Run, Desired::Stop),
            status: ReplicaStatus { phase, ..ReplicaStatus::pending(Timestamp(NOW.0 - age)) },
        }
    }
}

prop_compose! {
    fn cluster()(
        services in (service(0), service(1), service(2), service(3)),
        known in vec(proptest::bool::weighted(0.9), 4),
        replicas in vec(replica(), 0..16),
        nodes in vec((proptest::bool::weighted(0.8), proptest::bool::weighted(0.2)), 0..4),
    ) -> Cluster {
        let mut cluster = Cluster { revision: Revision(3), ..Cluster::default() };
        let services = [services.0, services.1, services.2, services.3];
        for (service, known) in services.into_iter().zip(known) {
            if known {
                cluster.services.insert(service.name.clone(), service);
            }
        }
        for (index, mut replica) in replicas.into_iter().enumerate() {
            replica.id = ReplicaId::from_u128(index as u128 + 1);
            cluster.replicas.insert(replica.id, replica);
        }
        for (index, (alive, drained)) in nodes.into_iter().enumerate() {
            let mut node = plain_node(index as u128 + 1, ["alpha", "beta", "gamma", "delta"][index]);
            if !alive {
                node.liveness = Liveness::Suspect(NOW);
            }
            if drained {
                node.scheduling = Scheduling::Draining;
            }
            cluster.nodes.insert(node.id, node);
        }
        cluster
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_keeps_every_promise_and_ends_in_rest(mut cluster in cluster()) {
        let mut next = 0;
        for round in 0.. {
            let made = plan(&cluster, NOW, &mut toy::ids(&mut next));
            prop_assert_eq!(check::violations(&cluster, &made, NOW), vec![]);
            if made.steps.is_empty() {
                break;
            }
            prop_assert!(round < 6, "never content: {:#?}", made);
            prop_assert_eq!(toy::apply(&mut cluster, &made, NOW), 0);
        }
    }

    #[test]
    fn the_same_cluster_gives_the_same_plan(cluster in cluster()) {
        let (mut one, mut two) = (0, 0);
        prop_assert_eq!(
            plan(&cluster, NOW, &mut toy::ids(&mut one)),
            plan(&cluster, NOW, &mut toy::ids(&mut two))
        );
    }

    #[test]
    fn the_beginning_of_a_plan_is_a_plan(cluster in cluster(), cut in 0..20usize) {
        let mut made = plan(&cluster, NOW, &mut toy::ids(&mut 0));
        made.steps.truncate(cut);
        prop_assert_eq!(check::violations(&cluster, &made, NOW), vec![]);
    }

    #[test]
    fn a_cluster_at_rest_stays_so_until_the_time_the_plan_named(mut cluster in cluster(), later in 0u64..300_000) {
        let (mut next, mut made) = (0, None);
        for _ in 0..6 {
            let plan = plan(&cluster, NOW, &mut toy::ids(&mut next));
            toy::apply(&mut cluster, &plan, NOW);
            made = Some(plan);
        }
        let at = Timestamp(NOW.0 + later);
        if made.and_then(|plan| plan.wake_at).is_none_or(|wake| at < wake) {
            prop_assert_eq!(plan(&cluster, at, &mut toy::ids(&mut next)).steps, vec![]);
        }
    }
}
