//! Assignments for tests.

use orlop_model::spec::{
    Check, HealthCheck, InitAction, InitStep, OnFailure, OnSecretChange, SecretFile, SecretMode, Signal, Workload,
};
use orlop_model::trust::SecretValue;
use orlop_model::{
    Assignment, Desired, Generation, Millis, NodeId, Replica, ReplicaId, ReplicaStatus, Resources, Timestamp,
};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) const REPLICA: ReplicaId = ReplicaId::from_u128(7);

pub(crate) fn workload() -> Workload {
    Workload::of("registry.example/app:1")
}

pub(crate) fn health() -> HealthCheck {
    HealthCheck {
        start_grace: Millis::from_secs(5),
        interval: Millis::from_secs(10),
        timeout: Millis::from_secs(1),
        retries: 3,
        check: Check::Tcp { port: 80 },
    }
}

pub(crate) fn init_step(id: &str, retries: u32, on_failure: OnFailure) -> InitStep {
    InitStep {
        id: id.parse().expect("a good name"),
        action: InitAction::Run { command: vec!["/init".into()] },
        timeout: Millis::from_secs(30),
        retries,
        on_failure,
    }
}

pub(crate) fn assignment(workload: Workload, desired: Desired) -> Assignment {
    Assignment {
        replica: Replica {
            id: REPLICA,
            service: "shop/api".parse().expect("a good name"),
            slot: 0,
            generation: Generation(3),
            node: NodeId::from_u128(1),
            reserved: Resources::default(),
            desired,
            status: ReplicaStatus::pending(Timestamp(0)),
        },
        workload: Arc::new(workload),
        secrets: BTreeMap::new(),
    }
}

/// A file of the secret `key`.
pub(crate) fn secret_file(name: &str, on_change: OnSecretChange) -> SecretFile {
    SecretFile {
        secret: "key".parse().expect("a good name"),
        path: format!("/run/secrets/{name}").parse().expect("a good path"),
        mode: SecretMode::ALL,
        uid: 0,
        gid: 0,
        on_change,
    }
}

/// On a change, SIGHUP.
pub(crate) fn hup() -> OnSecretChange {
    Signal::parse("SIGHUP").and_then(OnSecretChange::signal).expect("it is heard of")
}

/// An assignment with a value of the secret `key`.
pub(crate) fn with_secret(workload: Workload, desired: Desired, value: &str) -> Assignment {
    let value = SecretValue(value.as_bytes().into());
    let secrets = BTreeMap::from([("key".parse().expect("a good name"), value)]);
    Assignment { secrets, ..assignment(workload, desired) }
}
