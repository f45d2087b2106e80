//! The cgroups of containers, as far as we look at them ourselves: which version, what it can do, what was killed.

use std::path::{Path, PathBuf};

/// Where the kernel shows cgroups.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";

/// Did the kernel kill something in this cgroup for memory? To be asked before the task is deleted.
pub(crate) fn out_of_memory(cgroup: &str) -> bool {
    let relative = cgroup.trim_start_matches('/');
    let unified = Path::new(ROOT).join(relative).join("memory.events");
    let legacy = Path::new(ROOT).join("memory").join(relative).join("memory.oom_control");
    [unified, legacy].iter().any(|path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.strip_prefix("oom_kill "))
            .any(|count| count.trim().parse::<u64>().is_ok_and(|count| count > 0))
    })
}

/// Removes a cgroup in which nothing runs any more, in every hierarchy.
pub(crate) fn remove(cgroup: &str) {
    for directory in everywhere(cgroup) {
        // Only empty ones can be removed; the rest belongs to somebody.
        let _ = std::fs::remove_dir(directory);
    }
}

/// Removes the cgroup under which containers were made (`ContainerdConfig::cgroup_parent`), with what is empty in it.
/// To be called when no container is being made there.
pub fn remove_cgroups(parent: &str) {
    for directory in everywhere(parent) {
        if let Ok(entries) = std::fs::read_dir(&directory) {
            for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
                let _ = std::fs::remove_dir(entry.path());
            }
        }
        let _ = std::fs::remove_dir(directory);
    }
}

/// Where a cgroup may be shown; nowhere for one that is no proper path.
fn everywhere(cgroup: &str) -> Vec<PathBuf> {
    let relative = cgroup.trim_matches('/');
    if relative.is_empty() || relative.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Vec::new();
    }
    let mut roots = vec![PathBuf::from(ROOT)];
    if let Ok(entries) = std::fs::read_dir(ROOT) {
        roots.extend(entries.flatten().map(|entry| entry.path()));
    }
    roots.into_iter().map(|root| root.join(relative)).filter(|directory| directory.is_dir()).collect()
}
