//! Objects for this crate's tests.

use orlop_model::{ClusterId, Cpu, Memory, Node, NodeId, Timestamp};

pub(crate) fn cluster(number: u128) -> ClusterId {
    ClusterId::from_u128(number)
}

pub(crate) fn node(number: u128, version: &str) -> Node {
    Node {
        id: NodeId::from_u128(number),
        name: format!("node-{number}").parse().unwrap(),
        cpu: Cpu(2000),
        memory: Memory(1 << 30),
        labels: [("disk".to_owned(), "ssd".to_owned())].into(),
        subnet: "10.77.1.0/24".parse().unwrap(),
        version: version.to_owned(),
        registered_at: Timestamp(1),
        address: None,
        liveness: orlop_model::node::Liveness::Alive,
        scheduling: orlop_model::Scheduling::Open,
    }
}
