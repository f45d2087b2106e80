//! Programs of the machine that know the kernel's networks.

use crate::HostsError;
use std::io::Write;
use std::process::{Command, Stdio};

/// Runs `ip` with these arguments.
pub(crate) fn ip(arguments: &[&str]) -> Result<String, HostsError> {
    run("ip", "iproute2", arguments, "")
}

/// Runs lines of `ip` in a namespace, the first that fails being the last; without one, where this process is.
pub(crate) fn ip_batch(namespace: Option<&str>, lines: &str) -> Result<String, HostsError> {
    let within = namespace.map_or(vec![], |name| vec!["-n", name]);
    run("ip", "iproute2", &[&within[..], &["-batch", "-"]].concat(), lines)
}

fn run(program: &'static str, package: &'static str, arguments: &[&str], input: &str) -> Result<String, HostsError> {
    let not_run = |source| HostsError::NotRun { program, package, source };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(not_run)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading says why on its standard error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(not_run)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(HostsError::Refused { command: format!("{program} {}", arguments.join(" ")), message })
}
