//! What a cluster may leave on a machine, to prove that it leaves nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything of the machine that a node touches: interfaces, nftables tables, mounts (named network namespaces among
/// them), cgroups, and processes, those inside containers included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footprint(BTreeSet<String>);

impl Footprint {
    /// What there is now that has to do with `marks` (an instance's name, its directories).
    ///
    /// A process counts for its command line and for the cgroup that it is in: what runs in a container shows the mark in
    /// the latter only. Mounts are looked for in every mount namespace.
    pub fn take(marks: &[&str]) -> Self {
        let mut found = BTreeSet::new();
        let mut keep = |kind: &str, text: &str| {
            for line in text.lines().filter(|line| marks.iter().any(|mark| line.contains(mark))) {
                found.insert(format!("{kind}: {}", line.trim()));
            }
        };
        keep("interface", &output("ip", &["-o", "link"]));
        keep("table", &output("nft", &["list", "tables"]));
        keep("cgroup", &cgroups());
        let mut namespaces = BTreeSet::new();
        for (pid, process) in processes() {
            // A thread's or a zombie's may not be readable; whoever is alive has one.
            let namespace = std::fs::read_link(process.join("ns/mnt")).unwrap_or_default();
            if namespaces.insert(namespace) {
                keep("mount", &std::fs::read_to_string(process.join("mounts")).unwrap_or_default());
            }
            if pid != std::process::id() {
                keep("process", &describe(pid, &process));
            }
        }
        Self(found)
    }

    /// One line each, empty when nothing is left.
    pub fn lines(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

fn output(program: &str, arguments: &[&str]) -> String {
    Command::new(program)
        .args(arguments)
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}

/// Every process with its directory under /proc.
fn processes() -> impl Iterator<Item = (u32, PathBuf)> {
    std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, entry.path()))
    })
}

/// A line with the id, the command line and the cgroups of a process; none for one that has ended.
fn describe(pid: u32, process: &Path) -> String {
    let read = |name: &str| std::fs::read(process.join(name)).unwrap_or_default();
    let command = String::from_utf8_lossy(&read("cmdline")).replace(['\0', '\n'], " ");
    // A zombie is in a cgroup until it is reaped, and holds nothing.
    if command.is_empty() {
        return String::new();
    }
    let cgroups: BTreeSet<String> = String::from_utf8_lossy(&read("cgroup"))
        .lines()
        .filter_map(|line| Some(line.rsplit(':').next()?.to_owned()))
        .collect();
    format!("{pid} {command}in {}\n", cgroups.into_iter().collect::<Vec<_>>().join(" "))
}

/// A line for each cgroup, in whatever hierarchy.
fn cgroups() -> String {
    let (mut text, mut waiting) = (String::new(), vec![PathBuf::from("/sys/fs/cgroup")]);
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            // cpu and cpuacct are links to one hierarchy.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                text.push_str(&format!("{}\n", entry.path().display()));
                waiting.push(entry.path());
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Taken away with the test, whatever becomes of it.
    struct Orphan {
        child: std::process::Child,
        cgroup: PathBuf,
    }

    impl Drop for Orphan {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
            let _ = std::fs::remove_dir(&self.cgroup);
        }
    }

    #[test]
    fn a_process_whose_only_trace_is_its_cgroup_is_seen_and_so_is_the_cgroup() {
        let mark = format!("footprint{}x", std::process::id());
        let legacy = Path::new("/sys/fs/cgroup/pids");
        let cgroup = if legacy.is_dir() { legacy } else { Path::new("/sys/fs/cgroup") }.join(&mark);
        if let Err(error) = std::fs::create_dir(&cgroup) {
            assert!(!nix::unistd::geteuid().is_root(), "root may make a cgroup: {error}");
            return;
        }
        let child = Command::new("sleep").arg("1000").spawn().expect("sleep starts");
        let pid = child.id();
        let orphan = Orphan { child, cgroup };
        assert_eq!(Footprint::take(&[&mark]).lines(), [format!("cgroup: {}", orphan.cgroup.display())]);
        std::fs::write(orphan.cgroup.join("cgroup.procs"), pid.to_string()).expect("a process moves into a cgroup");
        let found = Footprint::take(&[&mark]);
        assert!(found.lines().iter().any(|line| line.starts_with(&format!("process: {pid} sleep 1000"))), "{found:?}");
        drop(orphan);
        assert_eq!(Footprint::take(&[&mark]).lines(), Vec::<&str>::new());
    }
}
