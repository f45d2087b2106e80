//! Health checks, and the init steps that wait for something: all look from inside the replica.

use super::http::{Target, status};
use super::netns;
use orlop_agent_core::Failure;
use orlop_model::Millis;
use orlop_model::spec::Check;
use orlop_runtime::{ContainerRuntime, ExecSpec, RuntimeError};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Of a failed command's output, so many bytes are told.
const OUTPUT_MAX: u64 = 512;

/// Does a health check once.
pub(crate) async fn check(
    runtime: &dyn ContainerRuntime,
    container: &str,
    namespace: &Path,
    check: &Check,
    timeout: Millis,
) -> Result<(), Failure> {
    let done = async {
        match check {
            Check::Http { url, expect_status } => http(namespace, url, *expect_status).await.map_err(failed),
            Check::Tcp { port } => tcp(namespace, "localhost", *port).await.map_err(failed),
            Check::Command { command } => command_in(runtime, container, command).await,
        }
    };
    match tokio::time::timeout(Duration::from(timeout), done).await {
        Ok(result) => result,
        Err(_) => Err(failed(format!("it took longer than {timeout}"))),
    }
}

/// One try to connect takes at most so long: what does not answer is asked anew rather than waited for.
const TRY_FOR: Duration = Duration::from_secs(5);

/// Tries once whether a TCP connection opens.
pub(crate) async fn wait_tcp(namespace: &Path, host: &str, port: u16) -> Result<(), Failure> {
    within(tcp(namespace, host, port)).await
}

/// Tries once whether a GET answers with the status.
pub(crate) async fn wait_http(namespace: &Path, url: &str, expect_status: u16) -> Result<(), Failure> {
    within(http(namespace, url, expect_status)).await
}

async fn within(attempt: impl Future<Output = Result<(), String>>) -> Result<(), Failure> {
    match tokio::time::timeout(TRY_FOR, attempt).await {
        Ok(result) => result.map_err(failed),
        Err(_) => Err(failed("no answer".into())),
    }
}

async fn tcp(namespace: &Path, host: &str, port: u16) -> Result<(), String> {
    let to = resolve(host, port).await?;
    netns::connect(namespace, to).await.map(drop).map_err(|e| format!("connecting to {to}: {e}"))
}

async fn http(namespace: &Path, url: &str, expect_status: u16) -> Result<(), String> {
    let target = Target::read(url)?;
    let to = resolve(&target.host, target.port).await?;
    match status(namespace, to, &target).await? {
        found if found == expect_status => Ok(()),
        found => Err(format!("{url} answered with {found} instead of {expect_status}")),
    }
}

/// Replicas have IPv4 only, so that is what is preferred; `localhost` is the replica whatever the node's files say.
async fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    if host == "localhost" {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok((address, port).into());
    }
    let found: Vec<SocketAddr> =
        tokio::net::lookup_host((host, port)).await.map_err(|e| format!("looking up {host}: {e}"))?.collect();
    let preferred = found.iter().find(|a| a.is_ipv4()).or(found.first());
    preferred.copied().ok_or_else(|| format!("looking up {host}: no address"))
}

async fn command_in(runtime: &dyn ContainerRuntime, container: &str, command: &[String]) -> Result<(), Failure> {
    let blame = |error: RuntimeError| match &error {
        // The process ended meanwhile, which is told elsewhere; or nobody answers.
        RuntimeError::Unavailable { .. } | RuntimeError::NotFound { .. } | RuntimeError::WrongState { .. } => {
            Failure::infrastructure(error.code(), error.to_string())
        }
        _ => failed(error.to_string()),
    };
    let mut process = runtime.exec(container, ExecSpec::command(command)).await.map_err(blame)?;
    let (stdout, stderr) = (process.take_stdout(), process.take_stderr());
    let (text, more) = (read_some(stdout), read_some(stderr));
    let ((text, more), exit) = tokio::join!(async { tokio::join!(text, more) }, process.wait());
    let exit = exit.map_err(blame)?;
    if exit.code == 0 {
        return Ok(());
    }
    let output = [more, text].concat();
    match output.trim() {
        "" => Err(failed(format!("the command {exit}"))),
        output => Err(failed(format!("the command {exit}: {output}"))),
    }
}

/// The beginning of an output; the rest is read too, so that the process does not block, and thrown away.
async fn read_some(output: Option<orlop_runtime::Output>) -> String {
    let Some(mut output) = output else { return String::new() };
    let mut bytes = Vec::new();
    // What cannot be read is not told.
    let _ = (&mut output).take(OUTPUT_MAX).read_to_end(&mut bytes).await;
    let _ = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

fn failed(why: String) -> Failure {
    Failure::permanent("check_failed", why)
}
