//! An engine with its data directory, workers, and an operator.

use nix::sys::signal::Signal;
use orlop_testbed::{Program, program, wait_for};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Longer than anything here takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One engine, and who works for it.
pub(crate) struct World {
    folder: TempDir,
    /// Port 0 until the engine has taken one; then it is the same after each restart.
    listen: String,
    engine: Option<Program>,
    workers: Vec<Program>,
}

impl World {
    /// An engine that is ready.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut world = Self { folder, listen: "127.0.0.1:0".into(), engine: None, workers: Vec::new() };
        world.start_engine();
        world
    }

    /// An engine that is ready, and a worker that it knows.
    pub(crate) fn with_worker() -> Self {
        let mut world = Self::new();
        world.start_worker(&[]);
        world
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    fn said(&self) -> String {
        ["engine", "worker"].map(|name| std::fs::read_to_string(self.log(name)).unwrap_or_default()).join("\n---\n")
    }

    /// Starts the engine and waits until it says where it listens.
    pub(crate) fn start_engine(&mut self) {
        let log = self.log("engine");
        let before = std::fs::read_to_string(&log).unwrap_or_default().len();
        let mut command = Command::new(program("orlop-engine"));
        command.args(["--listen", &self.listen, "--data-dir"]).arg(self.data()).arg("serve");
        self.engine = Some(Program::start("engine", command, &log).expect("the engine starts"));
        self.listen = wait_for(
            "the engine to be ready",
            PATIENCE,
            || {
                let said = std::fs::read_to_string(&log).ok()?.get(before..)?.to_owned();
                let ready = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
                let mut ready = ready.filter(|line| line["message"] == "the engine is ready");
                ready.find_map(|line| line["address"].as_str().map(str::to_owned))
            },
            || self.said(),
        );
    }

    pub(crate) fn kill_engine(&mut self) {
        self.engine.take().expect("an engine").kill();
    }

    /// Asks the engine to stop, and waits until it has.
    pub(crate) fn stop_engine(&mut self) {
        let mut engine = self.engine.take().expect("an engine");
        engine.signal(Signal::SIGTERM);
        let ended = wait_for("the engine to stop", PATIENCE, || engine.ended(), || self.said());
        assert!(ended.success(), "{ended}: {}", self.said());
    }

    /// Where the engine keeps what it has.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn address(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Starts a worker and waits until the engine knows it.
    pub(crate) fn start_worker(&mut self, arguments: &[&str]) {
        let known = self.workers_known();
        let mut command = Command::new(program("examples/engine_worker"));
        command.arg(self.address()).arg(self.folder.path().join("ledger")).args(arguments);
        self.workers.push(Program::start("worker", command, &self.log("worker")).expect("the worker starts"));
        let more = || (self.workers_known() > known).then_some(());
        wait_for("the engine to know the worker", PATIENCE, more, || self.said());
    }

    pub(crate) fn workers_known(&self) -> usize {
        self.json(&["worker", "ls"]).as_array().map_or(0, Vec::len)
    }

    /// Kills the worker that was started first.
    pub(crate) fn kill_worker(&mut self) {
        self.workers.remove(0).kill();
    }

    /// What the workers wrote down.
    pub(crate) fn ledger(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("ledger")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until the workers have written down so many lines of a kind.
    pub(crate) fn wait_for_lines(&self, of: &str, count: usize) {
        let written = || (self.ledger().iter().filter(|line| line.contains(of)).count() >= count).then_some(());
        wait_for(&format!("{count} lines with {of:?}"), PATIENCE, written, || self.said());
    }

    /// Runs `orlopctl`; its exit code and what it said on both outputs.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(program("orlopctl"));
        command.args(arguments).env("ORLOP_ENGINE", self.address());
        let output = command.output().expect("orlopctl runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// What `orlopctl -o json` answers.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let (code, out, error) = self.ctl(&[arguments, &["-o", "json"]].concat());
        assert_eq!(code, 0, "{arguments:?}: {error}\n{}", self.said());
        serde_json::from_str(&out).unwrap_or_else(|problem| panic!("{arguments:?}: {problem}: {out}"))
    }

    /// Begins a run; its id.
    pub(crate) fn begin(&self, workflow: &str, input: &str) -> String {
        let started = self.json(&["workflow", "start", workflow, "--input", input]);
        started["run"].as_str().expect("an id").to_owned()
    }

    /// What a run or a task gave, which is waited for.
    pub(crate) fn result(&self, kind: &str, id: &str) -> Value {
        self.json(&[kind, "wait", id, "--timeout", "60s"])["result"].clone()
    }

    /// Waits until a run or a task is in a state.
    pub(crate) fn wait_for_state(&self, kind: &str, id: &str, state: &str) -> Value {
        let shown = || Some(self.json(&[kind, "show", id])).filter(|shown| shown["status"] == state);
        wait_for(&format!("{id} to be {state}"), PATIENCE, shown, || {
            format!("{:#}\n{}", self.json(&[kind, "show", id]), self.said())
        })
    }
}
