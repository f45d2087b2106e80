//! The agent: keeps the replicas that the control plane placed on this node running.
//!
//! The shell around [`orlop_agent_core`]. One task owns all machines: it takes events (a changed view, the result of a
//! step, a deadline) and lets the machines decide; what they decide runs in tasks of its own, side by side. The agent
//! may die at any instruction: what it must remember is on disk before the step that depends on it, everything else is
//! found again in containerd and in the overlay. Stopping the agent stops no container.
//!
//! Nobody dials the agent. It follows its node's view, reports transitions, and holds a stream open on which the control
//! plane asks for sessions (logs, exec, images), which the agent then opens.

mod agent;
mod board;
mod clock;
mod config;
mod node;
mod replica;
mod session;
mod uplink;

pub use config::{Config, LogLimits};
pub use node::NodeError;
pub use replica::remove_secrets;

use orlop_model::NodeId;
use orlop_runtime::ContainerRuntime;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Why the agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its own place on the node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The control plane's address.
    #[error(transparent)]
    Address(#[from] orlop_client::InvalidAddress),
    /// The view cannot be followed.
    #[error(transparent)]
    Follow(#[from] orlop_follower::StartError),
}

/// Why an agent ended that nobody had asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A part of it panicked; the log says where.
    #[error("the agent panicked: {0}")]
    Panicked(String),
    /// What follows the node's view ended.
    #[error("the agent's view of its node ended; its log says why")]
    Blind,
}

/// Why [`serve`] failed.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It ended by itself.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// An agent that runs.
#[derive(Debug)]
pub struct Running {
    node: NodeId,
    task: tokio::task::JoinHandle<Result<(), Fault>>,
}

impl Running {
    /// The node's id, made at its first start.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Waits until the agent has ended; an error when nobody had asked it to. Dropping the future of this call leaves it
    /// running. To be called no more once it has answered.
    pub async fn ended(&mut self) -> Result<(), Fault> {
        (&mut self.task).await.unwrap_or_else(|died| Err(Fault::Panicked(died.to_string())))
    }

    /// Ends the agent in the middle of whatever it does, as a crash would; for tests.
    pub async fn kill(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

/// Takes possession of the data directory, then runs the agent in a task of its own until `stop` is cancelled. Neither the
/// control plane nor containerd nor the overlay need be there yet; it waits for them as long as it takes.
pub async fn start(
    config: Config,
    runtime: Arc<dyn ContainerRuntime>,
    stop: CancellationToken,
) -> Result<Running, StartError> {
    let agent = agent::Agent::prepare(config, runtime, stop).await?;
    let node = agent.node();
    tracing::info!(%node, "agent started");
    Ok(Running { node, task: tokio::spawn(agent.run()) })
}

/// [`start`], then waits for the end.
pub async fn serve(
    config: Config,
    runtime: Arc<dyn ContainerRuntime>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    Ok(start(config, runtime, stop).await?.ended().await?)
}
