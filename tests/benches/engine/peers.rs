//! The peers: their programs are beside this file in peers/, and scripts/bench-engine-peers installs what they need.
//!
//! All lose nothing that they have confirmed when the power fails, but Celery. Restate syncs its log before it answers: the
//! server has `rocksdb-disable-wal-fsync = false` in its own `--dump-config`, and nothing is changed about that here.
//! PostgreSQL has `fsync` and `synchronous_commit` on by itself.

mod postgres;

use crate::load::{Figures, Load};
use orlop_testbed::{Program, wait_for};
use orlop_tests::measure::{cpu_with_children, processes_below};
use postgres::Postgres;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// Where scripts/bench-engine-peers put things.
struct Installed(PathBuf);

impl Installed {
    fn find() -> Option<Self> {
        Some(Self(PathBuf::from(std::env::var_os("ORLOP_PEERS")?)))
    }

    /// A program, when all of `wanted` are there.
    fn command(&self, wanted: &str) -> Option<Command> {
        let path = self.0.join(wanted);
        let mut command = Command::new(path.exists().then_some(path)?);
        // What was fetched finds its libraries beside itself.
        command.env("LD_LIBRARY_PATH", self.0.join("lib")).env("PYTHONDONTWRITEBYTECODE", "1");
        Some(command)
    }

    fn node(&self, program: &str) -> Option<Command> {
        let mut command = self.command("bin/node")?;
        command.arg(self.0.join(program)).env("NODE_ENV", "production");
        self.0.join("node_modules").exists().then_some(command)
    }

    fn python(&self, arguments: &[&str]) -> Option<Command> {
        let mut command = self.command("venv/bin/python")?;
        command.args(arguments).current_dir(&self.0);
        Some(command)
    }
}

/// A running peer; killed when dropped.
pub(crate) struct Peer {
    pub name: &'static str,
    client: Child,
    commands: Option<ChildStdin>,
    answers: Receiver<String>,
    /// All but the client.
    servers: Vec<Server>,
    postgres: Option<Postgres>,
    folder: TempDir,
}

/// With all processes that it starts.
struct Server(Program);

impl Drop for Server {
    fn drop(&mut self) {
        let below = processes_below(self.0.pid());
        self.0.kill();
        for pid in below {
            orlop_testbed::signal_process(pid, "KILL");
        }
    }
}

impl Peer {
    /// Restate and DBOS, as far as they are installed.
    pub(crate) fn of_workflows() -> Vec<Self> {
        Self::installed(&[("Restate", Self::restate), ("DBOS", Self::dbos)])
    }

    /// graphile-worker and Celery, as far as they are installed.
    pub(crate) fn of_tasks() -> Vec<Self> {
        Self::installed(&[("graphile", Self::graphile), ("Celery", Self::celery)])
    }

    fn installed(peers: &[(&'static str, Start)]) -> Vec<Self> {
        let installed = Installed::find();
        let start = |(name, start): &(&'static str, Start)| {
            let folder = tempfile::tempdir_in(std::env::current_exe().ok()?.parent()?).expect("a folder");
            let peer = installed.as_ref().and_then(|installed| start(installed, name, folder));
            if peer.is_none() {
                println!("{name} is not installed (scripts/bench-engine-peers), and not measured");
            }
            peer
        };
        peers.iter().filter_map(start).collect()
    }

    fn restate(installed: &Installed, name: &'static str, folder: TempDir) -> Option<Self> {
        let (mut server, mut service) = (installed.command("bin/restate-server")?, installed.node("on_restate.js")?);
        let ports = [free_port(), free_port(), free_port(), free_port()];
        let [admin, ingress, own, steps] = ports.map(|port| format!("127.0.0.1:{port}"));
        server.arg("--no-logo").arg("--base-dir").arg(folder.path().join("data")).env("RESTATE_LISTEN_MODE", "tcp");
        server.env("RESTATE_ADMIN__BIND_ADDRESS", &admin).env("RESTATE_INGRESS__BIND_ADDRESS", &ingress);
        // Of itself it says to its makers that it runs.
        server
            .env("RESTATE_BIND_ADDRESS", own)
            .env("RESTATE_DISABLE_TELEMETRY", "true")
            .env("RESTATE_LOG_FILTER", "warn");
        // So that it does not write two lines for each workflow.
        service.args(["service", &ports[3].to_string()]).env("RESTATE_LOGGING", "ERROR");
        let servers = vec![start("restate", server, &folder), start("service", service, &folder)];
        let mut client = installed.node("on_restate.js")?;
        client.arg("client").args([admin, ingress, steps].map(|address| format!("http://{address}")));
        Some(Self::start(name, client, servers, None, folder))
    }

    fn dbos(installed: &Installed, name: &'static str, folder: TempDir) -> Option<Self> {
        let mut client = installed.python(&["on_dbos.py"])?;
        let postgres = Postgres::start(installed)?;
        client.arg(postgres.url());
        Some(Self::start(name, client, Vec::new(), Some(postgres), folder))
    }

    fn graphile(installed: &Installed, name: &'static str, folder: TempDir) -> Option<Self> {
        let mut client = installed.node("on_graphile.js")?;
        let postgres = Postgres::start(installed)?;
        client.arg(postgres.url());
        Some(Self::start(name, client, Vec::new(), Some(postgres), folder))
    }

    fn celery(installed: &Installed, name: &'static str, folder: TempDir) -> Option<Self> {
        let port = free_port();
        let broker = format!("redis://127.0.0.1:{port}/0");
        let mut redis = installed.command("bin/redis-server")?;
        // Its other settings are its own, as most use it: it writes to the disk now and then, and is not synced.
        redis.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--dir"]).arg(folder.path());
        let mut worker = installed.python(&["-m", "celery", "-A", "on_celery", "worker", "--loglevel", "warning"])?;
        worker.env("BROKER", &broker);
        let mut client = installed.python(&["on_celery.py"])?;
        client.env("BROKER", &broker);
        let redis = start("redis", redis, &folder);
        wait_for("redis", PATIENCE, || TcpStream::connect(("127.0.0.1", port)).ok(), || logs(folder.path()));
        let servers = vec![redis, start("worker", worker, &folder)];
        Some(Self::start(name, client, servers, None, folder))
    }

    fn start(
        name: &'static str,
        mut client: Command,
        servers: Vec<Server>,
        postgres: Option<Postgres>,
        folder: TempDir,
    ) -> Self {
        let log = std::fs::File::create(folder.path().join("client.log")).expect("a log");
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut client = client.spawn().expect("its client starts");
        let output = BufReader::new(client.stdout.take().expect("a pipe"));
        let (sender, answers) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let commands = client.stdin.take();
        let peer = Self { name, client, commands, answers, servers, postgres, folder };
        peer.answer(PATIENCE);
        peer
    }

    /// What its client prints next.
    fn answer(&self, patience: Duration) -> Figures {
        let line = self.answers.recv_timeout(patience);
        let line = line.unwrap_or_else(|error| panic!("{}: {error}\n{}", self.name, logs(self.folder.path())));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{}: {error}: {line}", self.name))
    }

    /// Does what it is asked, as `load::run` does.
    pub(crate) fn run(&mut self, load: Load) -> Figures {
        let (served, client) = (self.served(), cpu_with_children(self.client.id()));
        let commands = self.commands.as_mut().expect("it runs");
        commands.write_all(load.command().as_bytes()).expect("its client reads");
        let figures = self.answer(5 * PATIENCE);
        let served = self.served() - served;
        figures.with_times(served, served + cpu_with_children(self.client.id()) - client)
    }

    fn served(&self) -> Duration {
        let postgres = self.postgres.iter().map(Postgres::pid);
        self.servers.iter().map(|server| server.0.pid()).chain(postgres).map(cpu_with_children).sum()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // First: a database does not stop well under its clients.
        drop(self.commands.take());
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

type Start = fn(&Installed, &'static str, TempDir) -> Option<Peer>;

fn start(name: &str, command: Command, folder: &TempDir) -> Server {
    let log = folder.path().join(format!("{name}.log"));
    Server(Program::start(name, command, &log).unwrap_or_else(|error| panic!("{name}: {error}")))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// The ends of the logs in a folder, for messages.
fn logs(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "log") {
            let log = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let from = log.char_indices().rev().nth(2000).map_or(0, |(place, _)| place);
            text.push_str(&format!("--- {}\n{}\n", entry.file_name().to_string_lossy(), &log[from..]));
        }
    }
    text
}
