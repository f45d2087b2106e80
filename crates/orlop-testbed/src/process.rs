//! The programs of this checkout.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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

/// What a program printed, and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit code; 128 and the signal's number when one ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a program to its end, with something on its standard input.
///
/// # Errors
/// When it has not ended within `limit`; it is killed then, and the text says which it was.
///
/// # Panics
/// When it cannot be started or does not take the input.
pub fn run_with_input(command: &mut Command, input: &[u8], limit: Duration) -> Result<Output, String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    stdin.write_all(input).expect("a pipe that takes bytes");
    drop(stdin);
    let Ok(output) = ended.recv_timeout(limit) else {
        // Not reaped yet, so the id is still its own.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        return Err(format!("{command:?} has not ended after {limit:?}"));
    };
    let output = output.expect("a child that was waited for");
    Ok(Output {
        code: output.status.code().or_else(|| output.status.signal().map(|s| 128 + s)).unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// The end of each log in a folder, for messages of failed tests.
pub(crate) fn ends_of_logs(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "log") {
            let log = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            text.push_str(&format!("--- {}\n", path.file_name().unwrap_or_default().to_string_lossy()));
            for line in &lines[lines.len().saturating_sub(40)..] {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

/// A signal by its name without `SIG`.
pub(crate) fn named(signal: &str) -> nix::sys::signal::Signal {
    format!("SIG{signal}").parse().unwrap_or_else(|_| panic!("there is no signal SIG{signal}"))
}

/// Sends any process, such as a container's, a signal, by its name without `SIG`. One that has just ended gets none.
///
/// # Panics
/// When there is no such signal.
pub fn signal_process(pid: u32, signal: &str) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a process id"));
    let _ = nix::sys::signal::kill(pid, named(signal));
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

    /// A program that was started elsewhere.
    pub(crate) fn of(name: &str, child: Child) -> Self {
        Self { name: name.to_owned(), child }
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
