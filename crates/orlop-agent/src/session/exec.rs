//! A command in a replica, with or without a terminal.

use super::{HungUp, Incoming, Outgoing, Sessions, invalid};
use orlop_model::{Reason, ReplicaId};
use orlop_proto::node::v1 as pb;
use orlop_proto::node::v1::session_frame::Frame;
use orlop_runtime::{ExecProcess, ExecSpec, Input, Output, TerminalSize};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// After the end of a process the runtime closes its output within some two seconds; a bound for one that does not.
const LAST_OUTPUT_WITHIN: Duration = Duration::from_secs(30);

impl Sessions {
    pub(super) async fn exec(
        &self,
        start: pb::ExecStart,
        incoming: Incoming,
        outgoing: &Outgoing,
    ) -> Result<(), HungUp> {
        let Ok(replica) = start.replica.parse::<ReplicaId>() else {
            return outgoing.fail(invalid(format!("{:?} is no replica", start.replica))).await;
        };
        if start.command.is_empty() {
            return outgoing.fail(invalid("there is no command to run")).await;
        }
        let Some(posted) = self.board.get(replica) else {
            return outgoing.fail(Reason::new("replica_unknown", format!("this node has no {replica}"))).await;
        };
        let Some(container) = posted.container else {
            let message = format!("{replica} is {}, so there is no process to join", posted.phase);
            return outgoing.fail(Reason::new("replica_not_running", message)).await;
        };
        let size = start.size.map(size_of).unwrap_or(TerminalSize { rows: 24, columns: 80 });
        let spec = ExecSpec {
            command: start.command,
            env: match start.terminal {
                true => BTreeMap::from([("TERM".to_owned(), "xterm-256color".to_owned())]),
                false => BTreeMap::new(),
            },
            terminal: start.terminal.then_some(size),
            stdin: true,
        };
        match self.runtime.exec(&container, spec).await {
            Ok(process) => converse(process, incoming, outgoing).await,
            Err(error) => outgoing.fail_with(&error).await,
        }
    }
}

/// Carries bytes both ways until the process ends. When the other side hangs up, the process is dropped, which ends it.
async fn converse(mut process: Box<dyn ExecProcess>, incoming: Incoming, outgoing: &Outgoing) -> Result<(), HungUp> {
    let (stdin, stdout, stderr) = (process.take_stdin(), process.take_stdout(), process.take_stderr());
    let output = async {
        let (out, err) = tokio::join!(
            copy_out(stdout, pb::Stream::Stdout, outgoing),
            copy_out(stderr, pb::Stream::Stderr, outgoing)
        );
        out.and(err)
    };
    tokio::pin!(output);
    let mut output_ended = false;
    let (resizes, mut sizes) = tokio::sync::mpsc::channel(1);
    let input = copy_in(stdin, incoming, resizes);
    tokio::pin!(input);
    let mut input_ended = false;
    let exit = loop {
        tokio::select! {
            exit = process.wait() => break exit,
            result = &mut output, if !output_ended => {
                result?;
                output_ended = true;
            }
            end = &mut input, if !input_ended => {
                end?;
                input_ended = true;
            }
            Some(size) = sizes.recv() => {
                if let Err(error) = process.resize(size).await {
                    tracing::debug!(%error, "the terminal was not resized");
                }
            }
            () = outgoing.hung_up() => return Err(HungUp),
        }
    };
    if !output_ended && let Ok(result) = tokio::time::timeout(LAST_OUTPUT_WITHIN, output).await {
        result?;
    }
    match exit {
        Ok(exit) => outgoing.send(Frame::ExitCode(exit.code)).await,
        Err(error) => outgoing.fail_with(&error).await,
    }
}

async fn copy_out(output: Option<Output>, stream: pb::Stream, outgoing: &Outgoing) -> Result<(), HungUp> {
    let Some(mut output) = output else { return Ok(()) };
    let mut buffer = vec![0; 16 << 10];
    loop {
        // A pipe that breaks has ended.
        let length = output.read(&mut buffer).await.unwrap_or(0);
        let Some(data) = buffer.get(..length).filter(|data| !data.is_empty()) else { return Ok(()) };
        outgoing.send(Frame::Output(pb::Output { stream: stream.into(), data: data.to_vec() })).await?;
    }
}

/// Until the other side is gone, which also ends the session. A process that reads no more does not end it.
async fn copy_in(
    mut stdin: Option<Input>,
    mut incoming: Incoming,
    resizes: tokio::sync::mpsc::Sender<TerminalSize>,
) -> Result<(), HungUp> {
    loop {
        match incoming.next().await {
            Some(Frame::Input(data)) => {
                let Some(writer) = &mut stdin else { continue };
                let written = match data.is_empty() {
                    true => writer.shutdown().await,
                    false => match writer.write_all(&data).await {
                        Ok(()) => writer.flush().await,
                        failed => failed,
                    },
                };
                if data.is_empty() || written.is_err() {
                    stdin = None;
                }
            }
            // The receiver lives as long as the session.
            Some(Frame::Resize(size)) => _ = resizes.send(size_of(size)).await,
            Some(Frame::Failure(_)) | None => return Err(HungUp),
            Some(_) => {}
        }
    }
}

fn size_of(size: pb::TerminalSize) -> TerminalSize {
    let clamp = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    TerminalSize { rows: clamp(size.rows), columns: clamp(size.columns) }
}
