//! What this machine offers to containers, and what `/proc` tells of their processes.

use super::cgroup;
use crate::oci::{Cgroups, Host};
use orlop_model::Timestamp;
use std::path::Path;

/// Looks at the machine.
pub(crate) fn detect() -> Host {
    let root = Path::new(cgroup::ROOT);
    let cgroups = if root.join("cgroup.controllers").exists() {
        Cgroups::Unified
    } else {
        Cgroups::Legacy {
            swap: root.join("memory/memory.memsw.limit_in_bytes").exists(),
            cpu_quota: root.join("cpu/cpu.cfs_quota_us").exists(),
            memory: root.join("memory/memory.limit_in_bytes").exists(),
            pids: root.join("pids").is_dir(),
        }
    };
    Host { cgroups, open_files_max: open_files_max() }
}

/// The kernel's ceiling, or, where limits may not be raised (inside some containers), our own, which containerd's
/// processes share.
fn open_files_max() -> u64 {
    let nr_open = std::fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|text| text.trim().parse().ok());
    let ceiling = nr_open.unwrap_or(1 << 20);
    if may_raise_limits() {
        return ceiling;
    }
    nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).map_or(ceiling, |(_, hard)| hard)
}

/// Do we have CAP_SYS_RESOURCE?
fn may_raise_limits() -> bool {
    const SYS_RESOURCE: u32 = 24;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .is_some_and(|set| set >> SYS_RESOURCE & 1 == 1)
}

/// When a process began, by the node's clock; `None` when it is gone.
pub(crate) fn started_at(pid: u32) -> Option<Timestamp> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; start time is the 20th field after it.
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let boot: u64 = std::fs::read_to_string("/proc/stat")
        .ok()?
        .lines()
        .find_map(|line| line.strip_prefix("btime "))
        .and_then(|seconds| seconds.trim().parse().ok())?;
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    let per_second = u64::try_from(per_second).ok().filter(|n| *n > 0)?;
    Some(Timestamp(boot * 1000 + ticks * 1000 / per_second))
}
