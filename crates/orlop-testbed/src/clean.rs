//! What a cluster may leave on a machine, to prove that it leaves nothing.

use std::collections::BTreeSet;
use std::process::Command;

/// Everything of the machine that a node touches: interfaces, nftables tables, mounts and processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footprint(BTreeSet<String>);

impl Footprint {
    /// What there is now that has to do with `marks` (an instance's name, its directories).
    pub fn take(marks: &[&str]) -> Self {
        let mut found = BTreeSet::new();
        let mut keep = |kind: &str, text: &str| {
            for line in text.lines().filter(|line| marks.iter().any(|mark| line.contains(mark))) {
                found.insert(format!("{kind}: {}", line.trim()));
            }
        };
        keep("interface", &output("ip", &["-o", "link"]));
        keep("table", &output("nft", &["list", "tables"]));
        keep("mount", &std::fs::read_to_string("/proc/self/mounts").unwrap_or_default());
        keep("process", &processes());
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

/// A line per process: its id and command line.
fn processes() -> String {
    let mut lines = String::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if pid == std::process::id() {
            continue;
        }
        if let Ok(command) = std::fs::read(entry.path().join("cmdline")) {
            lines.push_str(&format!("{pid} {}\n", String::from_utf8_lossy(&command).replace('\0', " ")));
        }
    }
    lines
}
