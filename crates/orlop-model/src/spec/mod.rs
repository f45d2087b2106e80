//! An application as its spec file describes it, after defaults were filled in.
//!
//! A [`Service`] has two halves. The [`Workload`] is what a node runs: changing it replaces the replicas. The rest
//! (endpoints, scale, dependencies, update, placement) is how the cluster treats it: changing that touches no container.

mod policy;
mod workload;

pub use policy::*;
pub use workload::*;

use crate::name::{DeploymentName, ServiceName};
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
