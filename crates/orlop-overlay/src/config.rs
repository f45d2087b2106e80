//! What the daemon is told.

use orlop_model::{InvalidName, NodeName};
use orlop_overlay_core::{Instance, InvalidInstance};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What the daemon is told. The defaults are those of one node on a machine; several need each their own directories,
/// socket, bridge and table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Keeps the last mesh view. Outlives reboots.
    pub data_dir: PathBuf,
    /// Keeps what lives as long as the kernel does: the namespaces' names, a lock.
    pub run_dir: PathBuf,
    /// The socket that the agent calls; only root may open it.
    pub socket: PathBuf,
    /// The control plane's address: `unix:/path` or `http://127.0.0.1:port`.
    pub control_plane: String,
    /// The node's name, by which it finds itself in the mesh view.
    pub node_name: String,
    /// The bridge's name, 1–15 characters.
    pub bridge: String,
    /// The nftables table's name, 1–31 characters.
    pub table: String,
    /// Lead packets for other nodes' replicas to those nodes' addresses. Off where the network itself carries them.
    pub node_routes: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "/var/lib/orlop/overlay".into(),
            run_dir: "/run/orlop/overlay".into(),
            socket: "/run/orlop/overlay.sock".into(),
            control_plane: orlop_client::ADDRESS_AUTO.to_owned(),
            node_name: orlop_follower::host_name(),
            bridge: "orlop0".to_owned(),
            table: "orlop".to_owned(),
            node_routes: true,
        }
    }
}

/// What was wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum InvalidConfig {
    /// `node_name`.
    #[error("node_name: {0}")]
    NodeName(#[from] InvalidName),
    /// `bridge` or `table`.
    #[error(transparent)]
    Instance(#[from] InvalidInstance),
}

impl Config {
    /// The names of what the daemon owns in the kernel.
    pub(crate) fn instance(&self) -> Result<Instance, InvalidConfig> {
        Ok(Instance::new(&self.bridge, &self.table)?)
    }

    /// The node's name.
    pub(crate) fn node(&self) -> Result<NodeName, InvalidConfig> {
        Ok(self.node_name.parse()?)
    }
}
