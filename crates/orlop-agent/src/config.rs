//! What an agent is told by whoever starts it.

use orlop_agent_core::Timings;
use orlop_model::{NodeName, Resources};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How an agent works. Nothing here is read again later.
#[derive(Debug, Clone)]
pub struct Config {
    /// Everything that must outlive the agent: the node's id, records, volumes, logs. Made when missing; one agent only.
    pub data_dir: PathBuf,
    /// Where the secrets of replicas are mounted, in memory. Made when missing; one agent only.
    pub secrets_dir: PathBuf,
    /// `unix:/path` or `http://127.0.0.1:PORT`.
    pub control_plane: String,
    /// The socket of the node's overlay daemon.
    pub overlay_socket: PathBuf,
    /// The node's name; without one, the machine's host name.
    pub name: Option<NodeName>,
    /// Where other nodes reach this one; without one, the address from which it reaches the control plane.
    pub address: Option<IpAddr>,
    /// What placement constraints see.
    pub labels: BTreeMap<String, String>,
    /// Of the machine's cpu and memory, what is kept from replicas.
    pub reserve: Resources,
    /// The environment that `$E:` takes from.
    pub environment: BTreeMap<String, String>,
    /// What is kept of logs.
    pub logs: LogLimits,
    /// How often the runtime's containers are compared with what is believed; the nudge comes with each event anyway.
    pub resync: Duration,
    /// How often logs beyond their [limits](LogLimits) are looked for.
    pub sweep: Duration,
    /// How long machines wait for what.
    pub timings: Timings,
}

impl Config {
    /// The customary settings, with everything under one directory.
    pub fn new(
        data_dir: impl Into<PathBuf>,
        control_plane: impl Into<String>,
        overlay_socket: impl Into<PathBuf>,
    ) -> Self {
        let data_dir = data_dir.into();
        Self {
            secrets_dir: data_dir.join("secrets"),
            data_dir,
            control_plane: control_plane.into(),
            overlay_socket: overlay_socket.into(),
            name: None,
            address: None,
            labels: BTreeMap::new(),
            reserve: Resources::default(),
            environment: BTreeMap::new(),
            logs: LogLimits::default(),
            resync: Duration::from_secs(15),
            sweep: Duration::from_secs(600),
            timings: Timings::default(),
        }
    }
}

/// What is kept of the logs of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLimits {
    /// A file that has reached this many bytes is followed by a new one.
    pub file_bytes_max: u64,
    /// So many files of each replica are kept.
    pub files_max: u32,
    /// Logs of a replica that is gone are kept so long.
    pub age_max: Duration,
    /// And no more than so many bytes of such logs in all, the oldest going first.
    pub bytes_max: u64,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            file_bytes_max: 10 << 20,
            files_max: 5,
            age_max: Duration::from_secs(7 * 24 * 3600),
            bytes_max: 10 << 30,
        }
    }
}
