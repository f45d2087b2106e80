//! Going to the background.

use super::folders::Folders;
use super::log;
use anyhow::Context;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a node may take to be ready.
const READY: Duration = Duration::from_secs(60);

/// Starts this program again without `--detach`, in a session of its own, and waits until it is ready.
pub(super) fn detach(folders: &Folders) -> anyhow::Result<()> {
    if let Some(process) = folders.holder() {
        super::same::check(process, folders)?;
        println!("the node runs already (process {process})");
        return Ok(());
    }
    folders.clear_run();
    let path = folders.log();
    let output = log::begin(&path).with_context(|| format!("could not write {}", path.display()))?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(std::env::args_os().skip(1).filter(|argument| argument != "--detach"))
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);
    // SAFETY: setsid is async-signal-safe and touches no memory of the parent.
    unsafe {
        command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(std::io::Error::from));
    }
    let mut child = command.spawn()?;
    let begun = Instant::now();
    loop {
        if let Ok(address) = std::fs::read_to_string(folders.http_address())
            && !address.is_empty()
        {
            println!("the node is ready after {} ms (process {})", begun.elapsed().as_millis(), child.id());
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            let said = std::fs::read_to_string(&path).unwrap_or_default();
            let last: Vec<&str> = said.lines().rev().take(20).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            anyhow::bail!("the node ended ({status}) before it was ready:\n{}", last.join("\n"));
        }
        anyhow::ensure!(begun.elapsed() < READY, "the node is not ready after {READY:?}: see {}", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}
