//! Settings: defaults, then the file, then `ORLOP_AGENT_…`, then flags.

use anyhow::{Context, ensure};
use orlop_agent::{Config, LogLimits};
use orlop_model::{Cpu, Memory, Resources};
use orlop_program::Common;
use orlop_runtime::ContainerdConfig;
use orlop_runtime::images::RegistryConfig;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Keeps the replicas that the cluster placed on this node running.
#[derive(Debug, clap::Parser, Serialize)]
#[command(name = "orlop-agent", version)]
pub(crate) struct Arguments {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) common: Common,
    /// The directory of everything that must outlive the agent [default: /var/lib/orlop/agent].
    #[arg(long, value_name = "DIRECTORY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// The control plane: auto, joined:DIRECTORY, unix:/path or http://127.0.0.1:PORT; auto is the cluster that this
    /// machine has joined, or else unix:/run/orlop/control.sock [default: auto].
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    control_plane: Option<String>,
    /// The overlay daemon's socket [default: /run/orlop/overlay.sock].
    #[arg(long, value_name = "SOCKET")]
    #[serde(skip_serializing_if = "Option::is_none")]
    overlay_socket: Option<PathBuf>,
    /// The node's name [default: the machine's host name].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The IP address at which other nodes reach this one [default: the one from which it reaches the control plane].
    #[arg(long, value_name = "IP")]
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
}

/// All settings. The field names are the keys of the file; a key of the environment is its name in capitals after
/// `ORLOP_AGENT_`, with `__` between the parts of a nested one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    data_dir: PathBuf,
    run_dir: PathBuf,
    control_plane: String,
    overlay_socket: PathBuf,
    name: Option<String>,
    address: Option<IpAddr>,
    labels: BTreeMap<String, String>,
    /// In thousandths of a core.
    reserve_cpu_millis: u64,
    reserve_memory_bytes: u64,
    containerd_socket: PathBuf,
    containerd_namespace: String,
    cgroup_parent: String,
    /// Where runc keeps its state, for a containerd that is not the machine's.
    runc_root: Option<PathBuf>,
    /// The logger program; without one, `orlop-logger` beside this program.
    logger: Option<PathBuf>,
    insecure_registries: BTreeSet<String>,
    registry_ca_files: BTreeMap<String, PathBuf>,
    /// A docker config.json.
    registry_credentials: Option<PathBuf>,
    logs: Logs,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Logs {
    file_bytes_max: u64,
    files_max: u32,
    age_max_seconds: u64,
    bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        let limits = LogLimits::default();
        Self {
            data_dir: "/var/lib/orlop/agent".into(),
            run_dir: "/run/orlop/agent".into(),
            control_plane: orlop_client::ADDRESS_AUTO.into(),
            overlay_socket: "/run/orlop/overlay.sock".into(),
            name: None,
            address: None,
            labels: BTreeMap::new(),
            reserve_cpu_millis: 0,
            reserve_memory_bytes: 0,
            containerd_socket: "/run/containerd/containerd.sock".into(),
            containerd_namespace: "orlop".into(),
            cgroup_parent: "orlop".into(),
            runc_root: None,
            logger: None,
            insecure_registries: BTreeSet::new(),
            registry_ca_files: BTreeMap::new(),
            registry_credentials: None,
            logs: Logs {
                file_bytes_max: limits.file_bytes_max,
                files_max: limits.files_max,
                age_max_seconds: limits.age_max.as_secs(),
                bytes_max: limits.bytes_max,
            },
        }
    }
}

impl Settings {
    pub(crate) fn agent(&self) -> anyhow::Result<Config> {
        ensure!(
            self.logs.file_bytes_max >= 4096,
            "logs.file_bytes_max: found {}; at least 4096",
            self.logs.file_bytes_max
        );
        ensure!(self.logs.files_max >= 2, "logs.files_max: found {}; at least 2", self.logs.files_max);
        let mut config = Config::new(&self.data_dir, &self.control_plane, &self.overlay_socket);
        config.secrets_dir = self.run_dir.join("secrets");
        config.name = self.name.as_deref().map(str::parse).transpose().context("name")?;
        config.address = self.address;
        config.labels = self.labels.clone();
        config.reserve = Resources {
            cpu: Some(Cpu(self.reserve_cpu_millis)).filter(|cpu| cpu.0 > 0),
            memory: Some(Memory(self.reserve_memory_bytes)).filter(|memory| memory.0 > 0),
        };
        config.environment = orlop_program::environment();
        config.logs = LogLimits {
            file_bytes_max: self.logs.file_bytes_max,
            files_max: self.logs.files_max,
            age_max: Duration::from_secs(self.logs.age_max_seconds),
            bytes_max: self.logs.bytes_max,
        };
        Ok(config)
    }

    pub(crate) fn containerd(&self) -> anyhow::Result<ContainerdConfig> {
        let logger = match &self.logger {
            Some(path) => path.clone(),
            None => std::env::current_exe().context("finding orlop-logger")?.with_file_name("orlop-logger"),
        };
        ensure!(
            logger.is_file(),
            "the logger {} does not exist; install orlop-logger beside orlop-agent, or set logger",
            logger.display()
        );
        let mut config = ContainerdConfig::new(&self.containerd_socket, &self.run_dir, logger);
        config.namespace = self.containerd_namespace.clone();
        config.cgroup_parent = self.cgroup_parent.clone();
        config.runc_root = self.runc_root.clone();
        config.registries = RegistryConfig {
            insecure_registries: self.insecure_registries.clone(),
            ca_files: self.registry_ca_files.clone(),
            credentials_file: self.registry_credentials.clone(),
            ..RegistryConfig::default()
        };
        Ok(config)
    }
}
