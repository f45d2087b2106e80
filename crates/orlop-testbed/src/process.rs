//! The programs of this checkout.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Where a program of this checkout was built: `ORLOP_BIN_DIR`, or beside the running test.
///
/// # Panics
/// When it was not built; the message says how to.
pub fn program(name: &str) -> PathBuf {
    let mut candidates: Vec<PathBuf> = Vec::new();
    candidates.extend(std::env::var_os("ORLOP_BIN_DIR").map(PathBuf::from));
    if let Ok(test) = std::env::current_exe() {
        // target/debug/deps/test → target/debug
        candidates.extend(test.ancestors().skip(1).take(2).map(PathBuf::from));
    }
    candidates.iter().map(|folder| folder.join(name)).find(|path| path.is_file()).unwrap_or_else(|| {
        panic!("{name} is not in {candidates:?}: build with `cargo build --workspace --all-targets`")
    })
}

/// A running program; killed when dropped.
pub struct Program {
    /// What it is, for messages.
    pub name: String,
    child: Child,
}

impl Program {
    /// Starts a program with its standard error appended to `log`.
    ///
    /// # Errors
    /// When it cannot be started or the log cannot be opened.
    pub fn start(name: &str, mut command: Command, log: &std::path::Path) -> std::io::Result<Self> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        // The child is not reaped before `self` goes, so the id is still its own.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id() as i32), signal);
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Did it end, and how?
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}
