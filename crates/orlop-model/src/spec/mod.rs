//! An application as its spec file describes it, after defaults were filled in.
//!
//! A [`Service`] has two halves. The [`Workload`] is what a node runs: changing it replaces the replicas. The rest
//! (endpoints, scale, dependencies, update, placement) is how the cluster treats it: changing that touches no container.

mod policy;
pub(crate) mod secret;
mod workload;

pub use policy::*;
pub use secret::{InvalidSecretPath, OnSecretChange, SecretFile, SecretMode, SecretPath};
pub use workload::*;

use crate::name::{DeploymentName, ServiceName};
use crate::time::Millis;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A named application: everything in one spec file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Its name, unique in the cluster.
    pub name: DeploymentName,
    /// Its services.
    pub services: BTreeMap<ServiceName, Service>,
}

/// One workload of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// What a node runs.
    pub workload: Arc<Workload>,
    /// Its named ports.
    pub endpoints: Vec<Endpoint>,
    /// How many replicas.
    pub scale: Scale,
    /// What must be up before its replicas are started.
    pub depends: Vec<Dependency>,
    /// How replicas of an older generation are replaced.
    pub update: Update,
    /// Where its replicas may go.
    pub placement: Placement,
}

impl Service {
    /// One replica of a workload, with what a spec file gets that says nothing else.
    pub fn of(workload: Workload) -> Self {
        Self {
            workload: Arc::new(workload),
            endpoints: Vec::new(),
            scale: Scale::Fixed { replicas: 1 },
            depends: Vec::new(),
            update: Update { max_surge: 1, max_unavailable: 0, min_healthy: Millis(0) },
            placement: Placement::default(),
        }
    }
}
