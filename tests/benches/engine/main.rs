//! `make bench-engine`: what durable steps, workflows and tasks cost on SQLite, with every commit synced, and what they cost
//! its peers: Restate and DBOS run the same workflows, graphile-worker and Celery the same tasks.
//!
//! An engine, a worker and a client, each a process of its own, over gRPC on loopback. All compete for this machine's
//! cores. Rounds of ours and of each peer alternate, and what is best of each is compared. Absolute times mean little on a
//! shared machine; the ratios of one run do. A goal that a run does not reach is marked MISSED.

mod load;
mod peers;
mod report;
mod worker;

use load::{Figures, Load};
use orlop_testbed::{Program, program, wait_for};
use orlop_tests::measure::{cpu, mebibytes};
use orlop_worker::Client;
use peers::Peer;
use report::Goal::{AtLeast, AtMost};
use report::{alone, beside};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(60);
const ROUNDS: usize = 3;
const EMPTY: Load = Load::Latency { steps: 0, count: 200 };
const TEN_STEPS: Load = Load::Latency { steps: 10, count: 100 };
const STEPS: Load = Load::Steps { workflows: 64, steps: 10, seconds: 8 };

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
    let bench = Bench::start(runtime);
    report::header();
    bench.idle();
    if wanted("latency") || wanted("steps") {
        let mut peers = Peer::of_workflows();
        if wanted("latency") {
            latency(&bench, &mut peers);
        }
        if wanted("steps") {
            steps(&bench, &mut peers);
        }
    }
    if wanted("tasks") {
        tasks(&bench, &mut Peer::of_tasks());
    }
    bench.idle();
}

/// What is best of rounds of ours and of each peer, in turn. A peer that waits for its turn uses next to nothing.
fn rounds(bench: &Bench, load: Load, peers: &mut [Peer], theirs: fn(&str) -> Load) -> (Figures, Vec<Figures>) {
    let (mut ours, mut others) = (Figures::default(), vec![Figures::default(); peers.len()]);
    for _ in 0..ROUNDS {
        ours = ours.or_better(bench.run(load));
        for (best, peer) in others.iter_mut().zip(&mut *peers) {
            *best = best.or_better(peer.run(theirs(peer.name)));
        }
    }
    (ours, others)
}

fn latency(bench: &Bench, peers: &mut [Peer]) {
    let (ours, others) = rounds(bench, EMPTY, peers, |_| EMPTY);
    alone("an empty workflow, one client: p50", ours.p50, "ms", Some(AtMost(2.0)));
    alone("an empty workflow, one client: p99", ours.p99, "ms", None);
    for (peer, theirs) in peers.iter().zip(others) {
        beside("an empty workflow, one client: p50", ours.p50, "ms", (peer.name, theirs.p50), None);
    }
    let (ours, others) = rounds(bench, TEN_STEPS, peers, |_| TEN_STEPS);
    alone("a workflow of ten steps, one client: p50", ours.p50, "ms", Some(AtMost(13.0)));
    alone("a workflow of ten steps, one client: p99", ours.p99, "ms", None);
    for (peer, theirs) in peers.iter().zip(others) {
        let goal = (peer.name == "Restate").then_some(AtMost(1.0));
        beside("a workflow of ten steps, one client: p50", ours.p50, "ms", (peer.name, theirs.p50), goal);
    }
    let ours = bench.runtime.block_on(load::task_starts(&bench.client));
    alone("a task added → started, 100/s: p50", ours.p50, "ms", Some(AtMost(1.5)));
    alone("a task added → started, 100/s: p99", ours.p99, "ms", None);
}

fn steps(bench: &Bench, peers: &mut [Peer]) {
    let (ours, others) = rounds(bench, STEPS, peers, |_| STEPS);
    alone("durable steps, 64 workflows of ten steps", ours.rate, "/s", Some(AtLeast(10_000.0)));
    alone("processor time of engine and worker for a step", ours.served, "ms", Some(AtMost(0.10)));
    for (peer, theirs) in peers.iter().zip(others) {
        let restate = peer.name == "Restate";
        let goal = if restate { 4.0 } else { 15.0 };
        beside(
            "durable steps, 64 workflows of ten steps",
            ours.rate,
            "/s",
            (peer.name, theirs.rate),
            Some(AtLeast(goal)),
        );
        // DBOS has no worker besides its client.
        if restate {
            let what = "processor time of engine and worker for a step";
            beside(what, ours.served, "ms", (peer.name, theirs.served), None);
        }
        beside("processor time of all processes for a step", ours.used, "ms", (peer.name, theirs.used), None);
    }
}

fn tasks(bench: &Bench, peers: &mut [Peer]) {
    // So many that each peer needs some seconds.
    let load = |name: &str| match name {
        "Celery" => Load::Tasks { count: 5_000, batch: 1000 },
        _ => Load::Tasks { count: 100_000, batch: 1000 },
    };
    let (ours, others) = rounds(bench, load("ours"), peers, load);
    alone("tasks that do nothing: added", ours.added, "/s", None);
    alone("tasks that do nothing, added and done", ours.rate, "/s", Some(AtLeast(30_000.0)));
    for (peer, theirs) in peers.iter().zip(others) {
        beside("tasks that do nothing, added and done", ours.rate, "/s", (peer.name, theirs.rate), None);
    }
}

/// The engine and its worker.
struct Bench {
    _folder: TempDir,
    address: String,
    engine: Program,
    worker: Program,
    client: Client,
    runtime: Runtime,
}

impl Bench {
    fn start(runtime: Runtime) -> Self {
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
        alone("started → ready, as seen by polling", began.elapsed().as_secs_f64() * 1000.0, "ms", None);
        let mut command = Command::new(own);
        command.args(["worker", &address]);
        let log = folder.path().join("worker.log");
        let worker = Program::start("worker", command, &log).expect("the worker starts");
        let client = runtime.block_on(Client::connect(&address)).expect("the engine answers");
        Self { _folder: folder, address, engine, worker, client, runtime }
    }

    fn run(&self, load: Load) -> Figures {
        // This process is the client; all else is below it.
        let (served, client) = (self.cpu(), cpu(std::process::id()));
        let figures = self.runtime.block_on(load::run(&self.client, &self.address, load));
        let served = self.cpu() - served;
        figures.with_times(served, served + cpu(std::process::id()) - client)
    }

    /// User and system time of engine and worker.
    fn cpu(&self) -> Duration {
        cpu(self.engine.pid()) + cpu(self.worker.pid())
    }

    fn idle(&self) {
        alone("the engine: resident", mebibytes(self.engine.pid()), "MiB", Some(AtMost(40.0)));
        alone("the worker: resident", mebibytes(self.worker.pid()), "MiB", None);
    }
}
