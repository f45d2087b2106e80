//! A PostgreSQL of its own for one peer, with the settings it has by itself, on a socket.

use super::{Installed, PATIENCE, logs};
use nix::unistd::User;
use orlop_testbed::{Program, wait_for};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(super) struct Postgres {
    program: Program,
    folder: TempDir,
}

impl Postgres {
    pub(super) fn start(installed: &Installed) -> Option<Self> {
        // PostgreSQL looks for the rest of itself beside its programs, and its user may not see this folder.
        let programs = installed.0.join("postgresql").canonicalize().ok()?;
        // Not in the folder for temporary files, which may be memory, nor beside this program, where its user may not go.
        let folder = tempfile::Builder::new().prefix("orlop-bench").tempdir_in("/var/tmp").expect("a folder");
        let user = user();
        if let Some(user) = &user {
            std::os::unix::fs::chown(folder.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw())).expect("root");
        }
        let command = |program: &str| {
            let path = programs.join(program);
            let mut command = match &user {
                // It does not run as root.
                Some(user) => {
                    let mut command = Command::new("runuser");
                    command.args(["-u", &user.name, "--"]).arg(path);
                    command
                }
                None => Command::new(path),
            };
            command.env("LD_LIBRARY_PATH", installed.0.join("lib")).current_dir(folder.path());
            command.arg("-D").arg(data(folder.path()));
            command
        };
        let mut init = command("initdb");
        let made = init.args(["-A", "trust", "-U", "postgres", "-E", "UTF8"]).output().expect("initdb starts");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut serve = command("postgres");
        serve.args(["-c", "listen_addresses=", "-k"]).arg(folder.path());
        let log = folder.path().join("postgres.log");
        let program = Program::start("postgres", serve, &log).expect("postgres starts");
        let ready = || std::fs::read_to_string(&log).ok()?.contains("ready to accept connections").then_some(());
        wait_for("PostgreSQL", PATIENCE, ready, || logs(folder.path()));
        Some(Self { program, folder })
    }

    /// Of the database that it has from the beginning.
    pub(super) fn url(&self) -> String {
        format!("postgresql://postgres@/postgres?host={}", self.folder.path().display())
    }

    /// Of the one above all its processes.
    pub(super) fn pid(&self) -> u32 {
        self.program.pid()
    }
}

impl Drop for Postgres {
    /// At once, but so that its own processes and shared memory go too. `runuser` would not pass that on.
    fn drop(&mut self) {
        let known = std::fs::read_to_string(data(self.folder.path()).join("postmaster.pid")).unwrap_or_default();
        if let Some(pid) = known.lines().next().and_then(|pid| pid.parse().ok()) {
            orlop_testbed::signal_process(pid, "QUIT");
        }
        let began = Instant::now();
        while self.program.ended().is_none() && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// Whom it runs as, when this is root.
fn user() -> Option<User> {
    let named = |name| User::from_name(name).ok().flatten();
    nix::unistd::geteuid().is_root().then(|| named("postgres").or_else(|| named("nobody")))?
}
