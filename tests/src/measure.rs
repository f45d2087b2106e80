//! What benchmarks read of processes.

use std::time::Duration;

/// User and system time that a process has used.
pub fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|i| fields.get(*i)?.parse::<u64>().ok()).sum();
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
