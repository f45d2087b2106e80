//! The programs of a cluster on several hosts.

use super::HostSet;
use crate::process::{Program, program};
use crate::wait_for;
use orlop_hosts::{Launch, Role};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Programs on hosts. Everything goes when it is dropped.
pub struct Cluster {
    // Dropped first: what is killed one by one says so in fewer words than what loses its network.
    programs: BTreeMap<(u16, Role), Program>,
    hosts: HostSet,
}

impl Cluster {
    /// Hosts on which nothing runs yet.
    ///
    /// # Panics
    /// As [`HostSet::new`].
    pub fn new(count: u16) -> Self {
        Self { programs: BTreeMap::new(), hosts: HostSet::new(count) }
    }

    /// The hosts, for faults between them.
    pub fn hosts(&self) -> &HostSet {
        &self.hosts
    }

    /// Makes one more host, and gives its number.
    ///
    /// # Panics
    /// As [`HostSet::add`].
    pub fn add(&mut self) -> u16 {
        self.hosts.add()
    }

    /// How a role is started on a host, to be added to and given to [`Cluster::start`].
    ///
    /// # Panics
    /// When there is no such host.
    pub fn launch(&self, host: u16, role: Role, control_plane: &str) -> Launch {
        self.hosts.host(host).places().launch(role, control_plane)
    }

    /// Starts a role on a host, without waiting for more than the process; for containerd, until it answers.
    ///
    /// # Panics
    /// When the program cannot be started, or the role runs there already.
    pub fn start(&mut self, host: u16, role: Role, launch: Launch) {
        assert!(!self.programs.contains_key(&(host, role)), "{} runs on host {host} already", role.name());
        let mut command =
            self.hosts.host(host).command(program(launch.program)).unwrap_or_else(|error| panic!("{error}"));
        command.args(launch.arguments).envs(launch.environment);
        let name = format!("{host}-{}", role.name());
        let started = Program::start(&name, command, &self.log(host, role)).expect("a program that starts");
        self.programs.insert((host, role), started);
        if role == Role::Containerd {
            let socket = self.hosts.host(host).places().containerd_socket();
            wait_for(
                "containerd to listen",
                Duration::from_secs(20),
                || std::os::unix::net::UnixStream::connect(&socket).ok(),
                || self.logs(),
            );
        }
    }

    /// Starts what every node runs, with the control plane at `control_plane`.
    ///
    /// # Panics
    /// As [`Cluster::start`].
    pub fn start_node(&mut self, host: u16, control_plane: &str) {
        for role in Role::OF_A_NODE {
            let launch = self.launch(host, role, control_plane);
            self.start(host, role, launch);
        }
    }

    /// The process id of a role.
    pub fn pid(&self, host: u16, role: Role) -> Option<u32> {
        self.programs.get(&(host, role)).map(Program::pid)
    }

    /// SIGKILLs a role.
    pub fn kill(&mut self, host: u16, role: Role) {
        self.programs.remove(&(host, role));
    }

    /// Takes a host's power away and gives it back: nothing runs there, and what was on its disk is there.
    ///
    /// # Panics
    /// When there is no such host, or it cannot be made again.
    pub fn reboot(&mut self, host: u16) {
        self.programs.retain(|(of, _), _| *of != host);
        self.hosts.hosts().reboot(host).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Sends a role a signal.
    ///
    /// # Panics
    /// When it does not run.
    pub fn signal(&self, host: u16, role: Role, signal: nix::sys::signal::Signal) {
        let program = self.programs.get(&(host, role));
        program.unwrap_or_else(|| panic!("{} does not run on host {host}", role.name())).signal(signal);
    }

    /// Stops all processes of a host where they are, containers among them.
    pub fn pause_host(&self, host: u16) {
        self.signal_host(host, nix::sys::signal::Signal::SIGSTOP);
    }

    /// Lets a host go on.
    pub fn resume_host(&self, host: u16) {
        self.signal_host(host, nix::sys::signal::Signal::SIGCONT);
    }

    fn signal_host(&self, host: u16, signal: nix::sys::signal::Signal) {
        for pid in self.hosts.host(host).processes().iter().filter_map(|pid| i32::try_from(*pid).ok()) {
            // It may have ended on its own meanwhile.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
        }
    }

    /// Asks a role to end, and waits; tells how it ended.
    ///
    /// # Panics
    /// When it does not run, or does not end within 20 seconds.
    pub fn terminate(&mut self, host: u16, role: Role) -> std::process::ExitStatus {
        let ended = self.programs.remove(&(host, role));
        let mut program = ended.unwrap_or_else(|| panic!("{} does not run on host {host}", role.name()));
        program.signal(nix::sys::signal::Signal::SIGTERM);
        wait_for(&program.name.clone(), Duration::from_secs(20), || program.ended(), || self.logs())
    }

    /// Where a role's output goes.
    pub fn log(&self, host: u16, role: Role) -> PathBuf {
        self.hosts.folder().join(format!("{host}-{}.log", role.name()))
    }

    /// The end of each program's log, for messages of failed tests.
    pub fn logs(&self) -> String {
        crate::process::ends_of_logs(self.hosts.folder())
    }
}
