//! One node with everything on it, started the way a user starts it.

use crate::network::{network, numbered};
use crate::process::{Output, Program, ends_of_logs, named, program, run_with_input, signal_process};
use crate::{Footprint, TestImage, wait_for};
use orlop_hosts::{Launch, Places, Role};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How the roles are laid out over processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `orlopctl dev`: all roles in one process.
    OneProcess,
    /// A process for each role, so that each can be killed by itself.
    ProcessPerRole,
}

/// What a testbed is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// How the roles are laid out.
    pub layout: Layout,
    /// Set for the programs, the agent among them (`$E:`).
    pub environment: BTreeMap<String, String>,
    /// The socket of a containerd that runs already, used in place of one of the testbed's own; in [`Layout::OneProcess`].
    pub containerd: Option<PathBuf>,
    /// More flags for `orlopctl dev`, in [`Layout::OneProcess`]; a program of its own takes the same from its environment.
    pub dev_flags: Vec<String>,
    /// Where the data lies that is to outlive the testbed, for one that goes on where another was cut off. There can be
    /// one such testbed at a time, because its names do not differ from the other's.
    pub data: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            layout: Layout::OneProcess,
            environment: BTreeMap::new(),
            containerd: None,
            dev_flags: Vec::new(),
            data: None,
        }
    }
}

/// A cluster of one node.
pub struct Testbed {
    folder: tempfile::TempDir,
    instance: String,
    range: String,
    options: Options,
    programs: BTreeMap<Role, Program>,
}

static STARTED: AtomicU32 = AtomicU32::new(0);

impl Testbed {
    /// Starts a cluster and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready within 60 seconds, with the programs' logs.
    pub fn start(options: Options) -> Self {
        let mut testbed = Self::prepare(options);
        testbed.start_all();
        testbed
    }

    /// A testbed with nothing started.
    ///
    /// # Panics
    /// When the temporary directory cannot be made.
    pub fn prepare(options: Options) -> Self {
        // Unix sockets have room for 107 bytes of path.
        let folder = tempfile::Builder::new().prefix("orl").tempdir_in("/tmp").expect("a temporary directory");
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        // Process ids and a counter keep testbeds of parallel test programs apart.
        let process = if options.data.is_some() { 0 } else { std::process::id() };
        // No such name is the beginning of another one: a footprint is looked for by it.
        let instance = format!("ot{process:x}n{number}x");
        // What is kept for the next start keeps its addresses.
        let range = if options.data.is_some() { numbered(number) } else { network() }.to_string();
        let testbed = Self { folder, instance, range, options, programs: BTreeMap::new() };
        for made in [testbed.data(), testbed.run()] {
            std::fs::create_dir_all(&made).unwrap_or_else(|error| panic!("{}: {error}", made.display()));
        }
        testbed
    }

    /// Starts all roles that do not run, and waits until the cluster is ready.
    ///
    /// # Panics
    /// As [`Testbed::start`].
    pub fn start_all(&mut self) {
        match self.options.layout {
            Layout::OneProcess => self.start_role(Role::Dev),
            Layout::ProcessPerRole => {
                for role in
                    [Role::Containerd, Role::ControlPlane, Role::Scheduler, Role::Overlay, Role::Agent, Role::Proxy]
                {
                    if !self.programs.contains_key(&role) {
                        self.start_role(role);
                    }
                }
            }
        }
        wait_for(
            "the node to be ready",
            Duration::from_secs(60),
            || {
                let output = self.ctl(&["node", "ls", "-o", "json"]);
                (output.code == 0 && output.stdout.contains("\"alive\"")).then_some(())
            },
            || self.logs_of_programs(),
        );
    }

    /// A path in the testbed's temporary directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The directory of data that outlives processes.
    pub fn data(&self) -> PathBuf {
        self.options.data.clone().unwrap_or_else(|| self.path("data"))
    }

    /// The directory of sockets and namespaces.
    pub fn run(&self) -> PathBuf {
        self.path("run")
    }

    /// The socket of the containerd that the node uses.
    pub fn containerd(&self) -> PathBuf {
        self.options.containerd.clone().unwrap_or_else(|| self.places().containerd_socket())
    }

    /// What tells this node's bridge, table, cgroup and containerd namespace from others'.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The flags that say to `dev` which node of this machine is meant.
    pub fn dev_flags(&self) -> Vec<String> {
        let mut flags = vec!["--instance".to_owned(), self.instance.clone()];
        flags.extend(self.range_and_containerd());
        flags
    }

    fn range_and_containerd(&self) -> [String; 4] {
        let containerd = self.options.containerd.as_ref().map_or("own".to_owned(), |path| path.display().to_string());
        ["--cluster-range", &self.range, "--containerd", &containerd].map(str::to_owned)
    }

    /// The process id of a role.
    pub fn pid(&self, role: Role) -> Option<u32> {
        self.programs.get(&role).map(Program::pid)
    }

    /// Where the proxy takes HTTP requests.
    ///
    /// # Panics
    /// When the proxy has not said so within 10 seconds.
    pub fn http(&self) -> SocketAddr {
        wait_for(
            "the proxy to say where it listens",
            Duration::from_secs(10),
            || std::fs::read_to_string(self.run().join("http.address")).ok()?.trim().parse().ok(),
            || self.logs_of_programs(),
        )
    }

    /// SIGKILLs a role.
    pub fn kill(&mut self, role: Role) {
        if let Some(mut program) = self.programs.remove(&role) {
            program.kill();
        }
    }

    /// Sends a role a signal, by its name without `SIG`.
    ///
    /// # Panics
    /// When there is no such signal.
    pub fn signal(&self, role: Role, signal: &str) {
        if let Some(program) = self.programs.get(&role) {
            program.signal(named(signal));
        }
    }

    /// Sends a process of the cluster, such as a container's, a signal. One that has just ended gets none.
    ///
    /// # Panics
    /// When there is no such signal.
    pub fn signal_process(&self, pid: u32, signal: &str) {
        signal_process(pid, signal);
    }

    /// Asks a role to end, and waits for it.
    ///
    /// # Panics
    /// When it does not end within 20 seconds.
    pub fn terminate(&mut self, role: Role) {
        self.end(role, "TERM");
    }

    /// Sends a role a signal that ends it, by its name without `SIG`, and waits; tells how it ended, if it ran.
    ///
    /// # Panics
    /// As [`Testbed::terminate`], and when there is no such signal.
    pub fn end(&mut self, role: Role, signal: &str) -> Option<std::process::ExitStatus> {
        let mut program = self.programs.remove(&role)?;
        program.signal(named(signal));
        let ended =
            wait_for(&program.name.clone(), Duration::from_secs(20), || program.ended(), || self.logs_of_programs());
        Some(ended)
    }

    /// Starts a role, without waiting for more than the process.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn start_role(&mut self, role: Role) {
        let log = self.path(&format!("{}.log", role.name()));
        let program = Program::start(role.name(), self.command(role), &log).expect("a program that starts");
        self.programs.insert(role, program);
        if role == Role::Containerd {
            wait_for(
                "containerd to listen",
                Duration::from_secs(20),
                || std::os::unix::net::UnixStream::connect(self.containerd()).ok(),
                || self.logs_of_programs(),
            );
        }
    }

    /// Starts another process of a role beside the one that runs, and waits until that one has ended by itself.
    ///
    /// # Panics
    /// When it does not end within 30 seconds, or does not run.
    pub fn replace(&mut self, role: Role) -> std::process::ExitStatus {
        let mut before = self.programs.remove(&role).expect("a role that runs");
        self.start_role(role);
        let name = before.name.clone();
        wait_for(
            &format!("{name} to end after its successor has begun"),
            Duration::from_secs(30),
            || before.ended(),
            || self.logs_of_programs(),
        )
    }

    /// Where the node has its files.
    fn places(&self) -> Places {
        Places { data: self.data(), run: self.run(), instance: self.instance.clone(), node_name: None, address: None }
    }

    fn command(&self, role: Role) -> Command {
        let places = self.places();
        let launch = places.launch(role, &format!("unix:{}", places.control_socket().display()));
        let launch = match role {
            Role::Dev => return self.dev_command("127.0.0.1:0"),
            Role::ControlPlane => launch.with(&["--make-cluster", "--cluster-range", &self.range]),
            Role::Proxy => launch.with(&["--listen", "127.0.0.1:0"]),
            _ => launch,
        };
        command(launch, &self.options.environment)
    }

    /// `orlopctl dev` of this testbed with an HTTP address, for a test that runs it in its own way.
    pub fn dev_command(&self, http: &str) -> Command {
        let launch = self.places().launch(Role::Dev, "").with(&["--http", http, "--log-format", "json"]);
        let mut command = command(launch, &self.options.environment);
        command.args(self.range_and_containerd()).args(&self.options.dev_flags);
        command
    }

    /// Runs `orlopctl` against the cluster.
    ///
    /// # Panics
    /// When it cannot be started, or does not end within two minutes, with the programs' logs.
    pub fn ctl(&self, arguments: &[&str]) -> Output {
        self.ctl_with_input(arguments, b"")
    }

    /// Runs `orlopctl` against the cluster, with something on its standard input.
    ///
    /// # Panics
    /// As [`Testbed::ctl`], and when the input is not taken.
    pub fn ctl_with_input(&self, arguments: &[&str], input: &[u8]) -> Output {
        run_with_input(&mut self.ctl_command(arguments), input, Duration::from_secs(120))
            .unwrap_or_else(|late| panic!("{late}\n{}", self.logs_of_programs()))
    }

    /// `orlopctl` with the cluster's address, for a test that runs it in its own way.
    pub fn ctl_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("orlopctl"));
        command
            .arg("--address")
            .arg(format!("unix:{}", self.run().join("control.sock").display()))
            .args(arguments)
            .stdin(std::process::Stdio::null());
        command
    }

    /// Runs `orlopctl` and gives its standard output.
    ///
    /// # Panics
    /// When it fails, with all it said and the programs' logs.
    pub fn ctl_ok(&self, arguments: &[&str]) -> String {
        let output = self.ctl(arguments);
        assert!(
            output.code == 0,
            "orlopctl {} gave {}:\n{}{}\n{}",
            arguments.join(" "),
            output.code,
            output.stdout,
            output.stderr,
            self.logs_of_programs()
        );
        output.stdout
    }

    /// Runs `orlopctl … -o json` and reads what it printed.
    ///
    /// # Panics
    /// When it fails or prints something else.
    pub fn ctl_json(&self, arguments: &[&str]) -> serde_json::Value {
        let mut arguments = arguments.to_vec();
        arguments.extend(["-o", "json"]);
        let text = self.ctl_ok(&arguments);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("orlopctl {arguments:?}: {error}: {text}"))
    }

    /// Puts images on the node.
    ///
    /// # Panics
    /// As [`TestImage::write`], and when `orlopctl` fails.
    pub fn import(&self, images: &[TestImage]) {
        for image in images {
            let archive = image.write(self.folder.path());
            self.ctl_ok(&["image", "import", archive.to_str().expect("a plain path")]);
        }
    }

    /// Writes a spec file and deploys it.
    ///
    /// # Panics
    /// When `orlopctl` fails.
    pub fn deploy(&self, spec: &str, more: &[&str]) -> String {
        let file = self.spec_file(spec);
        let mut arguments = vec!["deploy", "-f", file.to_str().expect("a plain path")];
        arguments.extend(more);
        self.ctl_ok(&arguments)
    }

    /// Writes a spec file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn spec_file(&self, spec: &str) -> PathBuf {
        let file = self.path("orlop.yaml");
        std::fs::write(&file, spec).expect("a file in the temporary directory");
        file
    }

    /// The end of each program's log, for messages of failed tests.
    pub fn logs_of_programs(&self) -> String {
        ends_of_logs(self.folder.path())
    }

    /// Stops everything and takes it away, as `make down` does.
    ///
    /// # Panics
    /// When `orlopctl dev --down` fails.
    pub fn down(&mut self) {
        self.programs.clear();
        let output = self.run_down();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn run_down(&self) -> std::process::Output {
        let containerd = self.options.containerd.as_ref().map_or("own".to_owned(), |path| path.display().to_string());
        Command::new(program("orlopctl"))
            .args(["dev", "--down", "--grace", "0s", "--containerd", &containerd, "--instance", &self.instance])
            .arg("--data")
            .arg(self.data())
            .arg("--run")
            .arg(self.run())
            .output()
            .expect("orlopctl runs")
    }

    /// What of this cluster is on the machine now.
    pub fn footprint(&self) -> Footprint {
        Footprint::take(&[&self.instance, &self.folder.path().display().to_string()])
    }
}

fn command(launch: Launch, environment: &BTreeMap<String, String>) -> Command {
    let mut command = Command::new(program(launch.program));
    command.args(launch.arguments).envs(launch.environment).envs(environment);
    command
}

impl Drop for Testbed {
    /// Takes everything away. A test that has passed so far fails when that leaves something behind.
    fn drop(&mut self) {
        self.programs.clear();
        let output = self.run_down();
        let left = self.footprint();
        if output.status.success() && left.lines().is_empty() {
            return;
        }
        let told = String::from_utf8_lossy(&output.stderr);
        eprintln!("orlopctl dev --down ended with {} and left {:#?}\n{told}", output.status, left.lines());
        assert!(std::thread::panicking(), "something was left behind");
    }
}
