//! Where a node has its files, and the command lines of its programs that follow from it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A part of a cluster that is a program of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// `orlopctl dev`: all roles in one process.
    Dev,
    /// A containerd of the node's own, `orlopctl dev --containerd-only`.
    Containerd,
    /// `orlop-control-plane`.
    ControlPlane,
    /// `orlop-scheduler`.
    Scheduler,
    /// `orlop-overlay`.
    Overlay,
    /// `orlop-agent`.
    Agent,
    /// `orlop-proxy`.
    Proxy,
}

impl Role {
    /// What every node runs, in the order in which they need one another.
    pub const OF_A_NODE: [Role; 4] = [Role::Containerd, Role::Overlay, Role::Agent, Role::Proxy];

    /// Its program.
    pub fn program(self) -> &'static str {
        match self {
            Role::Dev | Role::Containerd => "orlopctl",
            Role::ControlPlane => "orlop-control-plane",
            Role::Scheduler => "orlop-scheduler",
            Role::Overlay => "orlop-overlay",
            Role::Agent => "orlop-agent",
            Role::Proxy => "orlop-proxy",
        }
    }

    /// Its name, for logs and messages.
    pub fn name(self) -> &'static str {
        match self {
            Role::Dev => "dev",
            Role::Containerd => "containerd",
            Role::ControlPlane => "control-plane",
            Role::Scheduler => "scheduler",
            Role::Overlay => "overlay",
            Role::Agent => "agent",
            Role::Proxy => "proxy",
        }
    }
}

/// Where one node has its files, and what its things on the machine are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// What outlives its programs.
    pub data: PathBuf,
    /// Sockets and namespaces.
    pub run: PathBuf,
    /// Tells its table, cgroup, containerd namespace and (with a `0`) its bridge from others': 1–13 characters.
    pub instance: String,
    /// The node's name; without one, the machine's.
    pub node_name: Option<String>,
    /// Where other nodes reach it.
    pub address: Option<IpAddr>,
}

/// How a program is to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Its file's name.
    pub program: &'static str,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What is set for it.
    pub environment: BTreeMap<String, String>,
}

impl Launch {
    /// More arguments.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    fn pair(self, flag: &str, path: &Path) -> Self {
        let path = path.display().to_string();
        self.with(&[flag, &path])
    }

    fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.insert(name.to_owned(), value.to_string());
        self
    }
}

impl Places {
    /// The local socket of a control plane.
    pub fn control_socket(&self) -> PathBuf {
        self.run.join("control.sock")
    }

    /// The overlay daemon's socket.
    pub fn overlay_socket(&self) -> PathBuf {
        self.run.join("overlay.sock")
    }

    /// The socket of the node's own containerd.
    pub fn containerd_socket(&self) -> PathBuf {
        self.run.join("containerd/containerd.sock")
    }

    /// The address that the proxy bound.
    pub fn http_address(&self) -> PathBuf {
        self.run.join("http.address")
    }

    /// How a role is started that finds the control plane at `control_plane` (of no meaning to the control plane
    /// itself, which serves [`Places::control_socket`], to `dev` and to containerd).
    pub fn launch(&self, role: Role, control_plane: &str) -> Launch {
        let launch = Launch { program: role.program(), arguments: Vec::new(), environment: BTreeMap::new() };
        let keeps = self.data.join(role.name());
        let launch = match role {
            Role::Dev => {
                let launch = launch.with(&["dev", "--instance", &self.instance]);
                let launch = launch.pair("--data", &self.data).pair("--run", &self.run);
                return match &self.node_name {
                    Some(name) => launch.with(&["--node-name", name]),
                    None => launch,
                };
            }
            Role::Containerd => {
                return launch.with(&["dev", "--containerd-only"]).pair("--data", &self.data).pair("--run", &self.run);
            }
            Role::ControlPlane => {
                let socket = format!("unix:{}", self.control_socket().display());
                return launch.pair("--data-dir", &keeps).with(&["--listen", &socket]);
            }
            Role::Scheduler => launch,
            Role::Overlay => launch
                .pair("--data-dir", &keeps)
                .pair("--run-dir", &self.run.join("overlay"))
                .pair("--socket", &self.overlay_socket())
                .with(&["--bridge", &format!("{}0", self.instance), "--table", &self.instance.replace('-', "_")]),
            Role::Agent => launch
                .pair("--data-dir", &keeps)
                .pair("--overlay-socket", &self.overlay_socket())
                .set("ORLOP_AGENT_RUN_DIR", self.run.join("agent").display())
                .set("ORLOP_AGENT_CONTAINERD_SOCKET", self.containerd_socket().display())
                .set("ORLOP_AGENT_RUNC_ROOT", self.run.join("containerd/runc").display())
                .set("ORLOP_AGENT_CONTAINERD_NAMESPACE", &self.instance)
                .set("ORLOP_AGENT_CGROUP_PARENT", &self.instance),
            Role::Proxy => launch.pair("--data-dir", &keeps).pair("--address-file", &self.http_address()),
        };
        let launch = launch.with(&["--control-plane", control_plane]);
        let launch = match (self.address, role) {
            (Some(address), Role::Agent) => launch.with(&["--address", &address.to_string()]),
            _ => launch,
        };
        match (&self.node_name, role) {
            (Some(name), Role::Agent) => launch.with(&["--name", name]),
            (Some(name), Role::Overlay | Role::Proxy) => launch.with(&["--node-name", name]),
            _ => launch,
        }
    }
}
