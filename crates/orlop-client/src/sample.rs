//! A small cluster for tests.

use crate::state::ClusterState;
use orlop_model::spec::*;
use orlop_model::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One node, `alpha`, and nothing deployed. Everything happened at 1,000,000 ms.
pub(crate) fn state() -> ClusterState {
    let node = Node {
        id: NodeId::from_u128(0xa),
        name: "alpha".parse().expect("a name"),
        cpu: Cpu(2000),
        memory: Memory(1 << 30),
        labels: BTreeMap::new(),
        subnet: "10.77.0.0/24".parse().expect("a subnet"),
        version: "0.1.0".into(),
        registered_at: Timestamp(1_000_000),
        address: None,
        liveness: Liveness::Alive,
        scheduling: orlop_model::Scheduling::Open,
    };
    ClusterState {
        cluster: Some(ClusterId::from_u128(1)),
        revision: Revision(7),
        nodes: [(node.id, node)].into(),
        scheduler: Some("scheduler-1".into()),
        ..ClusterState::default()
    }
}

/// Adds a service at generation 1.
pub(crate) fn add_service(state: &mut ClusterState, name: &str, replicas: u32) {
    let workload = Workload {
        health: Some(HealthCheck {
            start_grace: Millis::from_secs(5),
            interval: Millis::from_secs(10),
            timeout: Millis::from_secs(5),
            retries: 3,
            check: Check::Http { url: "http://localhost:8080/up".into(), expect_status: 200 },
        }),
        ..Workload::of("registry.example/shop/api:1")
    };
    let service = Service { scale: Scale::Fixed { replicas }, ..Service::of(workload) };
    let name: ServiceRef = name.parse().expect("a name");
    let service = ServiceState {
        name: name.clone(),
        generation: Generation(1),
        workload_generation: Generation(1),
        spec: Arc::new(service),
        replicas,
        changed_at: Timestamp(1_000_000),
        stopping: None,
        status: ServiceStatus::default(),
        faults: Vec::new(),
    };
    state.services.insert(name, service);
}

/// Adds a replica at generation 1 on `alpha`.
pub(crate) fn add_replica(state: &mut ClusterState, service: &str, slot: u32, id: u128, phase: Phase) -> ReplicaId {
    let id = ReplicaId::from_u128(id);
    let status = ReplicaStatus { phase, ..ReplicaStatus::pending(Timestamp(1_000_000)) };
    let replica = Replica {
        id,
        service: service.parse().expect("a name"),
        slot,
        generation: Generation(1),
        node: NodeId::from_u128(0xa),
        reserved: Resources::default(),
        desired: Desired::Run,
        status,
    };
    state.replicas.insert(id, replica);
    id
}
