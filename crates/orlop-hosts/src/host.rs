//! One host.

use crate::{Config, HostsError, Places, Role};
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where `ip netns` keeps the names of namespaces.
const NAMESPACES: &str = "/run/netns";

/// Where a namespace of `ip netns` is.
pub(crate) fn namespace_of(name: &str) -> PathBuf {
    Path::new(NAMESPACES).join(name)
}

/// The names of all namespaces there are.
pub(crate) fn namespaces() -> Vec<String> {
    let entries = std::fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// A namespace that stands for a computer.
#[derive(Debug, Clone)]
pub struct Host {
    number: u16,
    name: String,
    address: Ipv4Addr,
    places: Places,
}

impl Host {
    pub(crate) fn of(config: &Config, number: u16) -> Self {
        let name = config.host_name(number);
        let folder = number.to_string();
        let places = Places {
            data: config.data.join(&folder),
            run: config.run.join(&folder),
            instance: name.clone(),
            node_name: Some(name.clone()),
            address: Some(config.address(number).into()),
        };
        Self { number, address: config.address(number), name, places }
    }

    /// Its number in the cluster; the first is 1.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `<name of the cluster>-<number>`: the node's name, and that of its namespace for `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the other hosts and the machine reach it.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Where a node on it has its files, and what its things on the machine are called.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Its network namespace.
    pub fn namespace(&self) -> PathBuf {
        namespace_of(&self.name)
    }

    /// A command that runs on the host.
    ///
    /// # Errors
    /// When the host is gone.
    pub fn command(&self, program: impl AsRef<Path>) -> Result<Command, HostsError> {
        command_in(&self.name, program.as_ref())
    }

    /// The program of a role on the host, found in `programs`.
    ///
    /// # Errors
    /// As [`Host::command`].
    pub fn role(&self, role: Role, control_plane: &str, programs: &Path) -> Result<Command, HostsError> {
        let launch = self.places.launch(role, control_plane);
        let mut command = self.command(programs.join(launch.program))?;
        command.args(launch.arguments).envs(launch.environment);
        Ok(command)
    }

    /// Does something on the host, on a thread of its own. Sockets made there stay there.
    ///
    /// # Errors
    /// When the host is gone or cannot be entered.
    ///
    /// # Panics
    /// When `job` does.
    pub fn within<T: Send>(&self, job: impl FnOnce() -> T + Send) -> Result<T, HostsError> {
        let path = self.namespace();
        let failed = |source| HostsError::Io { doing: "enter", path: path.clone(), source };
        let namespace = File::open(&path).map_err(failed)?;
        // The thread ends with the job, and is never in another namespace than the host's when that runs.
        let done = std::thread::scope(|scope| {
            let entered = scope.spawn(|| setns(&namespace, CloneFlags::CLONE_NEWNET).map(|()| job()));
            entered.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        done.map_err(|error| failed(error.into()))
    }

    /// The processes of the host: those in its namespace, and those in containers of its node.
    pub fn processes(&self) -> Vec<u32> {
        let Ok(namespace) = std::fs::metadata(self.namespace()) else { return Vec::new() };
        let within = format!("net:[{}]", namespace.ino());
        let cgroup = format!("/{}/", self.name);
        let belongs = |process: &Path| {
            std::fs::read_link(process.join("ns/net")).is_ok_and(|link| link.as_os_str() == within.as_str())
                || std::fs::read_to_string(process.join("cgroup")).is_ok_and(|text| text.contains(&cgroup))
        };
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        entries
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
            .filter(|(_, process)| belongs(process))
            .map(|(pid, _)| pid)
            .collect()
    }
}

/// A command that runs in a namespace.
pub(crate) fn command_in(namespace: &str, program: &Path) -> Result<Command, HostsError> {
    let path = namespace_of(namespace);
    let namespace = File::open(&path).map_err(|source| HostsError::Io { doing: "open", path, source })?;
    let mut command = Command::new(program);
    // SAFETY: setns is one system call; it touches no memory of the parent and allocates nothing.
    // `ip netns exec` would do more: it mounts another /sys, and one without cgroups.
    unsafe {
        command.pre_exec(move || setns(&namespace, CloneFlags::CLONE_NEWNET).map_err(std::io::Error::from));
    }
    Ok(command)
}
