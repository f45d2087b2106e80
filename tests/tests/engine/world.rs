//! An engine with its data directory, workers, and an operator.

use nix::sys::signal::Signal;
use orlop_testbed::{Program, program, wait_for};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Longer than anything here takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One engine or several that share a store, and who works for them.
pub(crate) struct World {
    folder: TempDir,
    /// None is the data directory.
    store: Option<String>,
    engines: Vec<Engine>,
    workers: Vec<Program>,
}

struct Engine {
    /// Port 0 until the engine has taken one; then it is the same after each restart.
    listen: String,
    program: Option<Program>,
}

impl World {
    /// An engine that is ready.
    pub(crate) fn new() -> Self {
        Self::of(None, 1)
    }

    /// So many engines that share a store; the first of them has it.
    pub(crate) fn sharing(store: String, engines: usize) -> Self {
        Self::of(Some(store), engines)
    }

    fn of(store: Option<String>, engines: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let new = |_| Engine { listen: "127.0.0.1:0".into(), program: None };
        let mut world = Self { folder, store, engines: (0..engines).map(new).collect(), workers: Vec::new() };
        for engine in 0..engines {
            world.start(engine);
            let knows = || world.log_of(engine).contains("has the store").then_some(());
            wait_for("the engine to know who has the store", PATIENCE, knows, || world.said());
        }
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
        let engines = (0..self.engines.len()).map(|engine| self.log_of(engine));
        let worker = std::fs::read_to_string(self.log("worker")).unwrap_or_default();
        engines.chain([worker]).collect::<Vec<_>>().join("\n---\n")
    }

    /// What an engine has logged.
    pub(crate) fn log_of(&self, engine: usize) -> String {
        std::fs::read_to_string(self.log(&format!("engine-{engine}"))).unwrap_or_default()
    }

    pub(crate) fn start_engine(&mut self) {
        self.start(0);
    }

    /// Starts an engine and waits until it says where it listens.
    pub(crate) fn start(&mut self, engine: usize) {
        let log = self.log(&format!("engine-{engine}"));
        let before = std::fs::read_to_string(&log).unwrap_or_default().len();
        let mut command = Command::new(program("orlop-engine"));
        command.args(["--listen", &self.engines[engine].listen, "--data-dir"]).arg(self.data());
        command.args(self.store.iter().flat_map(|store| ["--store", store])).arg("serve");
        self.engines[engine].program = Some(Program::start("engine", command, &log).expect("the engine starts"));
        self.engines[engine].listen = wait_for(
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
        self.kill(0);
    }

    pub(crate) fn kill(&mut self, engine: usize) {
        self.engines[engine].program.take().expect("an engine").kill();
    }

    /// Asks the engine to stop, and waits until it has.
    pub(crate) fn stop_engine(&mut self) {
        self.signal(0, Signal::SIGTERM);
        let mut engine = self.engines[0].program.take().expect("an engine");
        let ended = wait_for("the engine to stop", PATIENCE, || engine.ended(), || self.said());
        assert!(ended.success(), "{ended}: {}", self.said());
    }

    /// Sends an engine a signal.
    pub(crate) fn signal(&self, engine: usize, signal: Signal) {
        self.engines[engine].program.as_ref().expect("an engine").signal(signal);
    }

    /// Where the engine keeps what it has.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where all engines listen.
    pub(crate) fn address(&self) -> String {
        (0..self.engines.len()).map(|engine| self.address_of(engine)).collect::<Vec<_>>().join(",")
    }

    /// Where one engine listens.
    pub(crate) fn address_of(&self, engine: usize) -> String {
        format!("http://{}", self.engines[engine].listen)
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

    /// What the first engine answers over HTTP.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.engines[0].listen).expect("the engine listens");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: engine\r\nconnection: close\r\n\r\n").expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
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
