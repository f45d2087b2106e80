//! `make bench-engine`: what durable steps, workflows and tasks cost on SQLite, with every commit synced.
//!
//! An engine, a worker and a client, each a process of its own, over gRPC on loopback. All compete for this machine's
//! cores. A goal that a run does not reach is marked MISSED. Peers are not run beside it yet.

mod load;
mod worker;

use orlop_testbed::{Program, program, wait_for};
use orlop_tests::measure::{cpu, mebibytes};
use orlop_worker::Client;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    if let [role, address] = arguments.as_slice()
        && role == "worker"
    {
        return runtime.block_on(worker::run(address));
    }
    let wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|chosen| chosen == name);
    let bench = Bench::start();
    println!("{:<66} {:>14} {:>12} {:>8}", "", "", "goal", "ratio");
    bench.idle();
    runtime.block_on(async {
        let client = Client::connect(&bench.address).await.expect("the engine answers");
        if wanted("latency") {
            load::empty_workflows(&client).await;
            load::ten_steps(&client).await;
            load::task_starts(&client).await;
        }
        if wanted("steps") {
            load::steps(&bench, &client).await;
        }
        if wanted("tasks") {
            load::tasks(&bench, &client).await;
        }
    });
    bench.idle();
}

/// A figure beside what it should be, at most.
fn at_most(what: &str, value: f64, unit: &str, goal: Option<f64>) {
    line(what, value, unit, goal, goal.is_none_or(|goal| value <= goal));
}

/// A figure beside what it should be, at least.
fn at_least(what: &str, value: f64, unit: &str, goal: Option<f64>) {
    line(what, value, unit, goal, goal.is_none_or(|goal| value >= goal));
}

fn line(what: &str, value: f64, unit: &str, goal: Option<f64>, reached: bool) {
    let digits = if value < 10.0 { 2 } else { 0 };
    let told = goal.map(|goal| format!("{goal} {unit}")).unwrap_or_default();
    let ratio = goal.map(|goal| format!("{:.2}", value / goal)).unwrap_or_default();
    let verdict = if reached { "" } else { "  MISSED" };
    println!("{what:<66} {:>14} {told:>12} {ratio:>8}{verdict}", format!("{value:.digits$} {unit}"));
}

/// The engine and its worker.
struct Bench {
    _folder: TempDir,
    address: String,
    engine: Program,
    worker: Program,
}

impl Bench {
    fn start() -> Self {
        // Beside the programs, on a real disk: what is synced is to be synced.
        let own = std::env::current_exe().expect("a path");
        let folder = tempfile::tempdir_in(own.parent().expect("a folder")).expect("a folder");
        let log = folder.path().join("engine.log");
        let mut command = Command::new(program("orlop-engine"));
        command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(folder.path().join("data")).arg("serve");
        let engine = Program::start("engine", command, &log).expect("the engine starts");
        let began = Instant::now();
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let address = wait_for(
            "the engine to be ready",
            PATIENCE,
            || {
                let mut lines = said().lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<_>>();
                lines.retain(|line: &serde_json::Value| line["message"] == "the engine is ready");
                lines.first().and_then(|line| line["address"].as_str()).map(|address| format!("http://{address}"))
            },
            said,
        );
        at_most("started → ready, as seen by polling", began.elapsed().as_secs_f64() * 1000.0, "ms", None);
        let mut command = Command::new(own);
        command.args(["worker", &address]);
        let log = folder.path().join("worker.log");
        let worker = Program::start("worker", command, &log).expect("the worker starts");
        Self { _folder: folder, address, engine, worker }
    }

    /// User and system time of engine and worker.
    fn cpu(&self) -> Duration {
        cpu(self.engine.pid()) + cpu(self.worker.pid())
    }

    fn idle(&self) {
        at_most("the engine: resident", mebibytes(self.engine.pid()), "MiB", Some(40.0));
        at_most("the worker: resident", mebibytes(self.worker.pid()), "MiB", None);
    }
}
