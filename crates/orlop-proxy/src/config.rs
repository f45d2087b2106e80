//! What the proxy is told.

use orlop_model::{InvalidName, NodeName};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// What the proxy is told. The defaults are those of one node on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where HTTP is served; 0.0.0.0 or [::] for whoever reaches the node. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The address on which public TCP endpoints have their ports; 0.0.0.0 or :: for whoever reaches the node.
    pub tcp_address: IpAddr,
    /// The control plane's address: `unix:/path` or `http://127.0.0.1:port`.
    pub control_plane: String,
    /// The node's name, which must be the agent's; the host name by default. What cannot be served is reported under it.
    pub node_name: String,
    /// Keeps the last routes.
    pub data_dir: PathBuf,
    /// How long connecting to a backend may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long a backend may take until the head of its response is there, in milliseconds.
    pub response_timeout_ms: u64,
    /// How long a client may take for the head of a request, and be idle between requests, in milliseconds.
    pub client_timeout_ms: u64,
    /// How long requests under way may take to finish when the proxy ends, in milliseconds.
    pub drain_ms: u64,
    /// The most connections of clients at once, HTTP and TCP together; more wait in the kernel.
    pub connections_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tcp_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            control_plane: orlop_client::ADDRESS_AUTO.to_owned(),
            node_name: orlop_follower::host_name(),
            data_dir: "/var/lib/orlop/proxy".into(),
            connect_timeout_ms: 1_000,
            response_timeout_ms: 60_000,
            client_timeout_ms: 30_000,
            drain_ms: 10_000,
            connections_max: 16_384,
        }
    }
}

/// What was wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    /// `node_name`.
    #[error("node_name: {0}")]
    NodeName(#[from] InvalidName),
    /// A time or a number that must not be 0.
    #[error("{key}: 0 is not allowed")]
    Zero {
        /// Which key of the configuration.
        key: &'static str,
    },
}

impl Config {
    /// Finds what cannot work.
    pub(crate) fn check(&self) -> Result<(), InvalidConfig> {
        self.node_name.parse::<NodeName>()?;
        let zero = [
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("response_timeout_ms", self.response_timeout_ms),
            ("client_timeout_ms", self.client_timeout_ms),
            ("connections_max", self.connections_max as u64),
        ];
        match zero.into_iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => Err(InvalidConfig::Zero { key }),
            None => Ok(()),
        }
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(crate) fn response_timeout(&self) -> Duration {
        Duration::from_millis(self.response_timeout_ms)
    }

    pub(crate) fn client_timeout(&self) -> Duration {
        Duration::from_millis(self.client_timeout_ms)
    }

    pub(crate) fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_reaches_a_proxy_that_was_told_nothing() {
        let config = Config::default();
        assert_eq!(config.check(), Ok(()));
        assert!(config.listen.ip().is_loopback() && config.tcp_address.is_loopback());
    }

    #[test]
    fn a_proxy_may_be_public_and_a_bound_must_not_be_0() {
        let public = Config { listen: SocketAddr::from(([0, 0, 0, 0], 80)), ..Config::default() };
        assert_eq!(public.check(), Ok(()));
        let never = Config { connections_max: 0, ..public };
        assert_eq!(never.check(), Err(InvalidConfig::Zero { key: "connections_max" }));
    }
}
