//! What tests of this folder begin with.

use orlop_model::spec::Workload;
use orlop_model::{Assignment, Desired, Generation, NodeId, Replica, ReplicaId, ReplicaStatus, Resources, Timestamp};
use std::collections::BTreeMap;

/// A replica that is to run, without any secrets.
pub(super) fn assignment(id: ReplicaId, workload: Workload) -> Assignment {
    Assignment {
        replica: Replica {
            id,
            service: "shop/api".parse().expect("a service"),
            slot: 0,
            generation: Generation(1),
            node: NodeId::from_u128(1),
            reserved: Resources::default(),
            desired: Desired::Run,
            status: ReplicaStatus::pending(Timestamp(0)),
        },
        workload: workload.into(),
        secrets: BTreeMap::new(),
    }
}
