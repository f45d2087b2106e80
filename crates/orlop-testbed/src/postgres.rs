//! PostgreSQL, as Debian has it, on a socket of its own.

use crate::{Program, wait_for};
use nix::sys::signal::Signal;
use nix::unistd::{Uid, User, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Longer than it takes to start, or to stop, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A database server with its data in a temporary directory; stopped and removed when dropped. It syncs as it does in
/// production, and takes connections from this machine's users alone, without a password.
pub struct Postgres {
    programs: PathBuf,
    server: Option<Program>,
    folder: TempDir,
}

impl Postgres {
    /// A server that is ready, with no database but its own.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        if let Some(user) = user() {
            chown(folder.path(), Some(user.uid), Some(user.gid)).expect("a directory that is given away");
        }
        let mut postgres = Self { programs: programs(), server: None, folder };
        let mut command = postgres.command("initdb");
        command.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--pgdata"]);
        let output = command.arg(postgres.data()).output().expect("initdb runs");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        postgres.begin();
        postgres
    }

    /// Makes a database; its URL.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn database(&self, name: &str) -> String {
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        let socket = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{socket}/{name}")
    }

    /// Runs SQL; the rows it gives, columns with `|` between them.
    ///
    /// # Panics
    /// When it fails.
    pub fn sql(&self, database: &str, text: &str) -> String {
        let mut command = self.command("psql");
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
        command.args(["--username=postgres", "--dbname", database, "--command", text, "--host"]);
        let output = command.arg(self.folder.path()).output().expect("psql runs");
        assert!(output.status.success(), "{text}: {}\n{}", String::from_utf8_lossy(&output.stderr), self.said());
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Ends the server at once, as a power cut does as far as it knows: what it has to redo it redoes when it begins again.
    pub fn halt(&mut self) {
        self.end(Signal::SIGQUIT);
    }

    /// Starts the server that was halted, and waits until it takes connections.
    ///
    /// # Panics
    /// When it does not start.
    pub fn begin(&mut self) {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path());
        command.args(["-c", "listen_addresses=", "-c", "max_connections=60", "-c", "shared_buffers=32MB"]);
        let mut server = Program::start("postgres", command, &self.log()).expect("postgres starts");
        let mut ready = self.command("pg_isready");
        ready.args(["--quiet", "--host"]).arg(self.folder.path());
        let is_ready = || {
            assert!(server.ended().is_none(), "postgres ended: {}", self.said());
            ready.status().expect("pg_isready runs").success().then_some(())
        };
        wait_for("the database to take connections", PATIENCE, is_ready, || self.said());
        self.server = Some(server);
    }

    fn end(&mut self, how: Signal) {
        if let Some(mut server) = self.server.take() {
            server.signal(how);
            wait_for("the database to end", PATIENCE, || server.ended(), || self.said());
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        // Nothing of who runs the test matters, and nobody's directory is entered that is not theirs.
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8").current_dir("/");
        if let Some(user) = user() {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        // Killed it would leave its shared memory, and its children for a while.
        server.signal(Signal::SIGQUIT);
        for _ in 0..1000 {
            if server.ended().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// As whom it runs, which is not root.
fn user() -> Option<User> {
    Uid::effective().is_root().then(|| {
        let user = User::from_name("postgres").ok().flatten();
        user.expect("a user postgres (apt-get install postgresql)")
    })
}

/// Where its programs are: Debian has those of each version in a folder, of which the last is taken.
fn programs() -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        let version = entry.file_name().to_string_lossy().parse();
        let programs = entry.path().join("bin");
        if let (Ok(version), true) = (version, programs.join("initdb").is_file()) {
            found.push((version, programs));
        }
    }
    found.sort();
    let newest = found.pop().map(|(_, programs)| programs);
    newest.or_else(|| Path::new("/usr/bin/initdb").is_file().then(|| "/usr/bin".into())).unwrap_or_else(|| {
        panic!("postgresql is not installed: apt-get install postgresql, or scripts/prerequisites --tests")
    })
}
