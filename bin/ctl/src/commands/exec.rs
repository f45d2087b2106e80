//! `exec`: a command in a replica, with this terminal if wished.

use crate::args::ExecArgs;
use crate::context::Context;
use crate::failure::{FAILED, Failure, OK};
use crate::terminal::{self, Raw};
use orlop_client::find::{self, Found};
use orlop_client::{ClusterState, Error, ExecEvent, ExecInput, ExecOutput, Source};
use orlop_model::Replica;
use std::io::Write;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

/// Runs the command; gives its exit code.
pub(crate) async fn exec(context: &Context, args: ExecArgs) -> Result<u8, Failure> {
    let client = context.client()?;
    let state = client.state(None).await?;
    let replica = target(&state, &args.name)?;
    if !replica.status.phase.may_have_process() {
        let phase = replica.status.phase.word();
        let name = format!("{}/{}", replica.service, replica.slot);
        return Err(Failure::new(
            FAILED,
            format!("{name} has no running process ({phase}); see `orlopctl why {name}`"),
        ));
    }
    // Raw before the command starts, so that nothing typed in between is echoed; put back by drop on every way out.
    let raw = match args.tty && args.interactive {
        true => Raw::enter().map_err(|e| Failure::new(FAILED, format!("cannot use this terminal: {e}")))?,
        false => None,
    };
    let size = args.tty.then(terminal::size);
    let (input, output) = client.exec(replica.id, args.command, size).await?;
    let outcome = talk(&input, output, args.interactive, args.tty).await;
    drop(raw);
    outcome
}

fn target<'a>(state: &'a ClusterState, name: &str) -> Result<&'a Replica, Failure> {
    match find::anything(state, name)? {
        Found::Replica(replica) => Ok(replica),
        Found::Service(service) => {
            let started = || state.replicas_of(&service.name).filter(|r| r.status.phase.is_started());
            let stopping = || state.replicas_of(&service.name).find(|r| r.status.phase.may_have_process());
            let best = started().find(|r| r.is_ready()).or_else(|| started().next()).or_else(stopping);
            best.ok_or_else(|| {
                let name = &service.name;
                Failure::new(FAILED, format!("{name} has no replica that runs; see `orlopctl why {name}`"))
            })
        }
        Found::Deployment(deployment) => Err(Failure::usage(format!(
            "{} is a deployment: name one of its services (see `orlopctl describe {}`)",
            deployment.name, deployment.name
        ))),
        Found::Node(node) => Err(Failure::usage(format!("{} is a node: exec runs commands in replicas", node.name))),
    }
}

/// Carries bytes both ways until the command ends, or a signal ends this program.
async fn talk(input: &ExecInput, mut output: ExecOutput, interactive: bool, tty: bool) -> Result<u8, Failure> {
    let watch = |kind| signal(kind).map_err(|e| Failure::new(FAILED, format!("cannot watch signals: {e}")));
    let mut resized = watch(SignalKind::window_change())?;
    let mut terminate = watch(SignalKind::terminate())?;
    let mut hangup = watch(SignalKind::hangup())?;
    let mut interrupt = watch(SignalKind::interrupt())?;
    let typing = if interactive {
        // On its own, so that a command that does not read for a while cannot keep its output from being seen.
        Some(AbortOnDrop(tokio::spawn(type_in(input.clone()))))
    } else {
        input.close().await;
        None
    };
    let ended = loop {
        tokio::select! {
            event = output.next() => match event.map_err(not_begun)? {
                ExecEvent::Output(source, bytes) => write(source, &bytes)?,
                ExecEvent::Exited(code) => break code,
            },
            Some(()) = resized.recv(), if tty => {
                let (rows, columns) = terminal::size();
                input.resize(rows, columns).await;
            }
            // In raw mode Ctrl-C goes to the command as a byte; these come from elsewhere.
            Some(()) = interrupt.recv() => break 128 + 2,
            Some(()) = terminate.recv() => break 128 + 15,
            Some(()) = hangup.recv() => break 128 + 1,
        }
    };
    drop(typing);
    Ok(exit_code(ended))
}

/// Hands over standard input until it ends or nobody wants it. An input that breaks has ended.
async fn type_in(input: ExecInput) {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = stdin.read(&mut buffer).await.unwrap_or(0);
        // An empty frame is the end of the input, and so is an empty read.
        if !input.send(buffer[..count].to_vec()).await || count == 0 {
            return;
        }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the node says when a command does not begin, with the codes that shells have for it.
fn not_begun(error: Error) -> Failure {
    match error {
        Error::NotFound(message) => Failure::new(127, message),
        Error::Refused(message) => Failure::new(126, message),
        error => error.into(),
    }
}

fn write(source: Source, bytes: &[u8]) -> Result<(), Failure> {
    match source {
        Source::Stdout => {
            let mut out = std::io::stdout().lock();
            out.write_all(bytes)?;
            out.flush()?;
        }
        Source::Stderr => std::io::stderr().lock().write_all(bytes)?,
    }
    Ok(())
}

/// A process of this machine can end with 0–255 only; what is beyond must not look like success.
fn exit_code(code: u32) -> u8 {
    match u8::try_from(code) {
        Ok(code) => code,
        Err(_) => match (code & 0xff) as u8 {
            OK => FAILED,
            low => low,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_failure_turns_into_success() {
        assert_eq!([0, 1, 137, 255, 256, 257].map(exit_code), [0, 1, 137, 255, 1, 1]);
    }
}
