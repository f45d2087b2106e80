//! Streams with a node, through the control plane: logs and exec.

use crate::address::Address;
use crate::error::Error;
use orlop_model::{ReplicaId, ServiceRef, Timestamp};
use orlop_proto::InvalidWire;
use orlop_proto::node::v1 as node;
use orlop_proto::operator::v1 as pb;
use std::collections::VecDeque;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// Which stream of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl TryFrom<i32> for Source {
    type Error = InvalidWire;

    fn try_from(wire: i32) -> Result<Self, InvalidWire> {
        match node::Stream::try_from(wire) {
            Ok(node::Stream::Stdout) => Ok(Source::Stdout),
            Ok(node::Stream::Stderr) => Ok(Source::Stderr),
            _ => Err(InvalidWire::new("stream", format!("found {wire}; expected stdout or stderr"))),
        }
    }
}

/// Which lines of a service's logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// Whose.
    pub service: ServiceRef,
    /// Of this replica only.
    pub replica: Option<ReplicaId>,
    /// Go on with what is written later.
    pub follow: bool,
    /// Lines written at this time or later.
    pub since: Option<Timestamp>,
    /// At most so many of the newest lines before following.
    pub tail: Option<u32>,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written, in nanoseconds since 1970-01-01T00:00:00Z.
    pub at_ns: u64,
    /// To which stream.
    pub source: Source,
    /// By which replica.
    pub replica: ReplicaId,
    /// The replica's slot.
    pub slot: u32,
    /// Without its newline; may not be UTF-8.
    pub text: Vec<u8>,
}

impl TryFrom<node::LogLine> for LogLine {
    type Error = InvalidWire;

    fn try_from(wire: node::LogLine) -> Result<Self, InvalidWire> {
        Ok(Self {
            at_ns: wire.at_ns,
            source: wire.stream.try_into()?,
            replica: wire
                .replica
                .parse()
                .map_err(|e: orlop_model::id::InvalidId| InvalidWire::new("replica", e.to_string()))?,
            slot: wire.slot,
            text: wire.text,
        })
    }
}

/// Lines as they come.
#[derive(Debug)]
pub struct Logs {
    stream: Streaming<pb::LogsResponse>,
    address: Address,
    ready: VecDeque<node::LogLine>,
}

impl Logs {
    pub(crate) fn new(stream: Streaming<pb::LogsResponse>, address: Address) -> Self {
        Self { stream, address, ready: VecDeque::new() }
    }

    /// The next line; `None` after the last one. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<LogLine>, Error> {
        while self.ready.is_empty() {
            match self.stream.message().await {
                Ok(Some(message)) => self.ready = message.lines.into(),
                Ok(None) => return Ok(None),
                Err(status) => return Err(Error::from_status(&status, &self.address)),
            }
        }
        Ok(self.ready.pop_front().map(LogLine::try_from).transpose()?)
    }

    /// Is a line at hand without waiting?
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }
}

/// The operator's side of an exec: what goes to the process. Cheap to clone; dropping the last one ends the call.
#[derive(Debug, Clone)]
pub struct ExecInput(mpsc::Sender<pb::ExecRequest>);

impl ExecInput {
    pub(crate) fn start(
        replica: ReplicaId,
        command: Vec<String>,
        terminal: Option<(u16, u16)>,
    ) -> (Self, ReceiverStream<pb::ExecRequest>) {
        let (sender, receiver) = mpsc::channel(16);
        let start = node::ExecStart {
            replica: replica.to_string(),
            command,
            terminal: terminal.is_some(),
            size: terminal.map(size),
        };
        let first = pb::ExecRequest { frame: Some(pb::exec_request::Frame::Start(start)) };
        // The channel is new and has room.
        let _ = sender.try_send(first);
        (Self(sender), ReceiverStream::new(receiver))
    }

    /// Sends bytes to the process's standard input; false when the call has ended. Empty means the end of input.
    pub async fn send(&self, bytes: Vec<u8>) -> bool {
        self.0.send(pb::ExecRequest { frame: Some(pb::exec_request::Frame::Input(bytes)) }).await.is_ok()
    }

    /// Ends the process's standard input; false when the call has ended.
    pub async fn close(&self) -> bool {
        self.send(Vec::new()).await
    }

    /// Tells the process's terminal its new size; false when the call has ended.
    pub async fn resize(&self, rows: u16, columns: u16) -> bool {
        let frame = pb::exec_request::Frame::Resize(size((rows, columns)));
        self.0.send(pb::ExecRequest { frame: Some(frame) }).await.is_ok()
    }
}

fn size((rows, columns): (u16, u16)) -> node::TerminalSize {
    node::TerminalSize { rows: rows.into(), columns: columns.into() }
}

/// What comes from a process run by exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecEvent {
    /// Bytes that it wrote.
    Output(Source, Vec<u8>),
    /// It ended; nothing follows.
    Exited(u32),
}

/// The process's side of an exec.
#[derive(Debug)]
pub struct ExecOutput {
    stream: Streaming<pb::ExecResponse>,
    address: Address,
}

impl ExecOutput {
    pub(crate) fn new(stream: Streaming<pb::ExecResponse>, address: Address) -> Self {
        Self { stream, address }
    }

    /// What comes next. Cancel-safe.
    pub async fn next(&mut self) -> Result<ExecEvent, Error> {
        use pb::exec_response::Frame;
        match self.stream.message().await {
            Ok(Some(pb::ExecResponse { frame: Some(Frame::Output(output)) })) => {
                Ok(ExecEvent::Output(output.stream.try_into()?, output.data))
            }
            Ok(Some(pb::ExecResponse { frame: Some(Frame::ExitCode(code)) })) => Ok(ExecEvent::Exited(code)),
            Ok(Some(pb::ExecResponse { frame: None })) => Err(InvalidWire::missing("frame").into()),
            Ok(None) => Err(Error::Lost {
                address: self.address.clone(),
                problem: "the session ended without the process's exit code".into(),
            }),
            Err(status) => Err(Error::from_status(&status, &self.address)),
        }
    }
}
