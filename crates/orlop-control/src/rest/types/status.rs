//! The cluster as a whole.

use orlop_client::ClusterState;
use schemars::JsonSchema;
use serde::Serialize;

/// The cluster as a whole.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct Status {
    cluster: Option<String>,
    revision: u64,
    /// The version of the control plane that answered.
    version: String,
    /// The scheduler that holds the lease; null when none does.
    scheduler: Option<String>,
    /// Why the control plane takes no writes now, with what to do; null when it takes them.
    writes_refused: Option<String>,
    deployments: usize,
    services: usize,
    /// Finished ones not counted.
    replicas: usize,
    replicas_ready: usize,
    nodes: usize,
}

impl From<&ClusterState> for Status {
    fn from(state: &ClusterState) -> Self {
        Self {
            cluster: state.cluster.map(|id| id.to_string()),
            revision: state.revision.0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            scheduler: state.scheduler.clone(),
            writes_refused: state.writes_refused.clone(),
            deployments: state.deployments.len(),
            services: state.services.len(),
            replicas: state.replicas.values().filter(|r| !r.status.phase.is_finished()).count(),
            replicas_ready: state.replicas.values().filter(|r| r.is_ready()).count(),
            nodes: state.nodes.len(),
        }
    }
}

/// How this member is.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct Health {
    pub(in crate::rest) status: HealthWord,
}

/// How a member is.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::rest) enum HealthWord {
    /// It answers.
    Ok,
    /// It takes reads and writes.
    Ready,
}
