//! Taking hosts away.

use crate::host::{Host, namespace_of, namespaces};
use crate::program::ip;
use crate::{Config, HostsError};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orlop_runtime::containerd::{remove_cgroups, remove_leftovers};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long killed processes may take to go.
const END: Duration = Duration::from_secs(10);

/// Ends everything that runs on the hosts and takes them away, with their directories of sockets; what they keep on disk
/// stays. Hosts that are not there, or half made, are no error.
///
/// # Errors
/// When a process does not end or the kernel refuses. What could be taken away is gone, and it can be tried again.
pub fn remove(config: &Config) -> Result<(), HostsError> {
    let mut outcome = Ok(());
    for number in config.numbers() {
        outcome = outcome.and(remove_host(&Host::of(config, number)));
    }
    if Path::new("/sys/class/net").join(&config.name).exists() {
        outcome = outcome.and(ip(&["link", "delete", &config.name]).map(drop));
    }
    outcome.and(remove_namespace(&config.switch_name()))
}

pub(crate) fn remove_host(host: &Host) -> Result<(), HostsError> {
    let places = host.places();
    end(host)?;
    // Containers in namespaces of their own, and what their shims left.
    let outcome = remove_leftovers(&places.data, &places.run).map_err(HostsError::from);
    let outcome = outcome.and(unmount(&[&places.run, &places.data])).and(remove_directory(&places.run));
    remove_cgroups(&places.instance);
    outcome.and(remove_namespace(host.name()))
}

/// Kills whatever runs on a host, also what begins meanwhile.
fn end(host: &Host) -> Result<(), HostsError> {
    let deadline = Instant::now() + END;
    loop {
        let pids: Vec<u32> = host.processes().into_iter().filter(|pid| *pid != std::process::id()).collect();
        if pids.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(HostsError::Processes { host: host.name().to_owned(), pids });
        }
        for pid in pids.iter().filter_map(|pid| i32::try_from(*pid).ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn remove_namespace(name: &str) -> Result<(), HostsError> {
    if !namespaces().iter().any(|there| there == name) {
        return Ok(());
    }
    // The kernel takes a namespace's interfaces away when it gets to it; a cable is gone at once.
    let links = ip(&["-n", name, "-o", "link", "show", "type", "veth"]).unwrap_or_default();
    for link in links.lines().filter_map(|line| line.split(": ").nth(1)?.split('@').next()) {
        let _ = ip(&["-n", name, "link", "delete", link]);
    }
    match ip(&["netns", "delete", name]) {
        Err(_) if !namespace_of(name).exists() => Ok(()),
        outcome => outcome.map(drop),
    }
}

/// Unmounts everything at or below the directories, the innermost first.
fn unmount(directories: &[&PathBuf]) -> Result<(), HostsError> {
    let path = PathBuf::from("/proc/self/mountinfo");
    let table = std::fs::read_to_string(&path).map_err(|source| HostsError::Io { doing: "read", path, source })?;
    let mounts = table.lines().rev().filter_map(|line| line.split(' ').nth(4)).map(unescaped);
    let mut outcome = Ok(());
    for mount in mounts.filter(|mount| directories.iter().any(|directory| mount.starts_with(directory))) {
        if let Err(error) = umount2(&mount, MntFlags::MNT_DETACH) {
            outcome = Err(HostsError::Io { doing: "unmount", path: mount, source: error.into() });
        }
    }
    outcome
}

/// A path as the kernel's table of mounts writes it.
fn unescaped(path: &str) -> PathBuf {
    PathBuf::from(path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\"))
}

fn remove_directory(path: &Path) -> Result<(), HostsError> {
    match std::fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(HostsError::Io { doing: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
