//! The programs' edges: what they are told by flags, files and the environment, and what they refuse.

mod loopback;
mod settings;

use orlop_testbed::{Program, program, wait_for};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// Longer than any program needs to refuse its settings, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The programs that read settings, and what their variables begin with.
const ROLES: [(&str, &str); 5] = [
    ("orlop-control-plane", "ORLOP_CONTROL_PLANE_"),
    ("orlop-scheduler", "ORLOP_SCHEDULER_"),
    ("orlop-overlay", "ORLOP_OVERLAY_"),
    ("orlop-agent", "ORLOP_AGENT_"),
    ("orlop-proxy", "ORLOP_PROXY_"),
];

/// Runs a program that ends by itself, without anything of ours in its environment.
fn run(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program(name));
    command.args(arguments).envs(environment.iter().copied()).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn document(name: &str) -> String {
    let path = root().join("docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

/// Starts a program that should refuse to run; its exit code and what it said.
fn refusal(folder: &Path, name: &str, arguments: &[String], environment: &[(&str, String)]) -> (Option<i32>, String) {
    let log = folder.join("refusal.log");
    let _ = std::fs::remove_file(&log);
    let mut command = Command::new(program(name));
    command.args(arguments).envs(environment.iter().map(|(key, value)| (key, value)));
    let mut running = Program::start(name, command, &log).expect("the program starts");
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    let what = format!("{name} {arguments:?} {environment:?} to end");
    let ended = wait_for(&what, PATIENCE, || running.ended(), said);
    (ended.code(), said())
}
