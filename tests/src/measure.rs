//! What benchmarks read of processes.

use std::time::Duration;

/// User and system time that a process has used.
pub fn cpu(pid: u32) -> Duration {
    ticks(&stat(pid), &[11, 12])
}

/// User and system time of a process and of all below it, also of those that have ended and were waited for.
pub fn cpu_with_children(pid: u32) -> Duration {
    let mut pids = processes_below(pid);
    pids.push(pid);
    pids.into_iter().map(|pid| ticks(&stat(pid), &[11, 12, 13, 14])).sum()
}

/// The processes that a process has started, those that they have started, and so on.
pub fn processes_below(pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u32)> = pids.filter_map(|pid| Some((pid, stat(pid).get(1)?.parse().ok()?))).collect();
    let (mut below, mut looked_at) = (vec![pid], 0);
    while let Some(parent) = below.get(looked_at).copied() {
        below.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        looked_at += 1;
    }
    below.split_off(1)
}

/// The fields of `/proc/PID/stat` from the state on; none when there is no such process.
fn stat(pid: u32) -> Vec<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

fn ticks(stat: &[String], fields: &[usize]) -> Duration {
    let ticks: u64 = fields.iter().filter_map(|field| stat.get(*field)?.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// The memory that a process has now, in MiB.
pub fn mebibytes(pid: u32) -> f64 {
    status(pid, "VmRSS:")
}

/// The most that it had at any time, in MiB.
pub fn mebibytes_at_most(pid: u32) -> f64 {
    status(pid, "VmHWM:")
}

fn status(pid: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kibibytes: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or(f64::NAN);
    kibibytes / 1024.0
}

/// What the files under a directory take on the disk, in MiB.
pub fn mebibytes_on_disk(directory: &std::path::Path) -> f64 {
    use std::os::unix::fs::MetadataExt;
    let (mut blocks, mut waiting) = (0, vec![directory.to_owned()]);
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => waiting.push(entry.path()),
                Ok(found) => blocks += found.blocks(),
                // It went while it was looked at.
                Err(_) => {}
            }
        }
    }
    blocks as f64 / 2048.0
}
