//! Replicas.

use super::{Reason, Time};
use orlop_client::ClusterState;
use orlop_model::{Desired as ModelDesired, Health, Outcome, Phase as ModelPhase, StopOrder};
use schemars::JsonSchema;
use serde::Serialize;

/// One instance of a service, placed on a node.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct Replica {
    pub(in crate::rest) id: String,
    /// `deployment/service/slot`.
    name: String,
    /// `deployment/service`.
    service: String,
    /// Its number in the service, from 0; stable through replacements.
    slot: u32,
    /// The workload generation that it runs.
    generation: u64,
    node: String,
    node_name: String,
    phase: Phase,
    /// May requests be sent to it?
    ready: bool,
    desired: Desired,
    /// When it got into its phase, by its node's clock.
    since: Time,
    /// When the next attempt begins, while it is backing off.
    retry_at: Option<Time>,
    /// How often its process was started again.
    restarts: u32,
    /// Its address on the overlay, once it has one.
    address: Option<String>,
    reason: Option<Reason>,
    last_exit: Option<Exit>,
    /// The manifest digest that its image name stood for.
    image_digest: Option<String>,
    /// Failures in a row when it failed last.
    failures: u32,
}

/// Where a replica is in its life.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Phase {
    Pending,
    Preparing,
    Initializing,
    Starting,
    /// Running, and the service has no health check.
    Running,
    Healthy,
    Unhealthy,
    BackingOff,
    Stopping,
    Stopped,
    Failed,
    /// Failed, and kept for a look until it is stopped.
    Isolated,
    /// Its node is gone.
    Lost,
}

/// What is wanted of a replica.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Desired {
    Run,
    /// Its stop signal, then SIGKILL when the grace period is over.
    Stop,
    /// SIGKILL at once.
    Kill,
}

/// How a process ended.
#[derive(Debug, Serialize, JsonSchema)]
struct Exit {
    /// The exit code; 128 + n when signal n ended it.
    code: u32,
    /// The kernel killed it for lack of memory.
    out_of_memory: bool,
    at: Time,
}

impl Replica {
    pub(in crate::rest) fn of(state: &ClusterState, replica: &orlop_model::Replica) -> Self {
        let status = &replica.status;
        Self {
            id: replica.id.to_string(),
            name: format!("{}/{}", replica.service, replica.slot),
            service: replica.service.to_string(),
            slot: replica.slot,
            generation: replica.generation.0,
            node: replica.node.to_string(),
            node_name: state.node_name(replica.node),
            phase: phase(status.phase),
            ready: replica.is_ready(),
            desired: match replica.desired {
                ModelDesired::Run => Desired::Run,
                ModelDesired::Stop(StopOrder::Graceful) => Desired::Stop,
                ModelDesired::Stop(StopOrder::Forced) => Desired::Kill,
            },
            since: status.since.into(),
            retry_at: match status.phase {
                ModelPhase::BackingOff(until) => Some(until.into()),
                _ => None,
            },
            restarts: status.restarts,
            address: status.address.map(|address| address.to_string()),
            reason: status.reason.as_ref().map(Into::into),
            last_exit: status.last_exit.map(|exit| Exit {
                code: exit.code,
                out_of_memory: exit.out_of_memory,
                at: exit.at.into(),
            }),
            image_digest: status.image_digest.clone(),
            failures: status.failures,
        }
    }
}

fn phase(phase: ModelPhase) -> Phase {
    match phase {
        ModelPhase::Pending => Phase::Pending,
        ModelPhase::Preparing => Phase::Preparing,
        ModelPhase::Initializing => Phase::Initializing,
        ModelPhase::Starting => Phase::Starting,
        ModelPhase::Running(Health::Unchecked) => Phase::Running,
        ModelPhase::Running(Health::Healthy) => Phase::Healthy,
        ModelPhase::Running(Health::Unhealthy) => Phase::Unhealthy,
        ModelPhase::BackingOff(_) => Phase::BackingOff,
        ModelPhase::Stopping => Phase::Stopping,
        ModelPhase::Finished(Outcome::Stopped) => Phase::Stopped,
        ModelPhase::Finished(Outcome::Failed) => Phase::Failed,
        ModelPhase::Finished(Outcome::Isolated) => Phase::Isolated,
        ModelPhase::Finished(Outcome::Lost) => Phase::Lost,
    }
}

/// A page of replicas, by id.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct Replicas {
    /// The revision of the state that this is of.
    pub(in crate::rest) revision: u64,
    pub(in crate::rest) replicas: Vec<Replica>,
    /// There are more: ask with `after` set to this.
    pub(in crate::rest) next: Option<String>,
}
