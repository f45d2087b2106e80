//! Log lines.

use super::Time;
use crate::rest::problem::Problem;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use orlop_proto::node::v1 as pb;
use schemars::JsonSchema;
use serde::Serialize;

/// A line that a replica wrote.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct LogLine {
    /// When, with nine decimals.
    at: Time,
    stream: Stream,
    slot: u32,
    replica: String,
    /// Without its newline. What is not UTF-8 is replaced by U+FFFD.
    text: String,
    /// The line itself in base64, when it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
}

/// Where a line was written to.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "LogStream")]
enum Stream {
    Stdout,
    Stderr,
}

impl From<pb::LogLine> for LogLine {
    fn from(line: pb::LogLine) -> Self {
        let stream = match line.stream() {
            pb::Stream::Stderr => Stream::Stderr,
            pb::Stream::Stdout | pb::Stream::Unspecified => Stream::Stdout,
        };
        let (text, bytes) = match String::from_utf8(line.text) {
            Ok(text) => (text, None),
            Err(error) => {
                let bytes = error.as_bytes();
                (String::from_utf8_lossy(bytes).into_owned(), Some(STANDARD.encode(bytes)))
            }
        };
        Self { at: Time::of_nanos(line.at_ns), stream, slot: line.slot, replica: line.replica, text, bytes }
    }
}

/// One line of JSON lines, or the `data` of one server-sent event.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::rest) enum LogFrame {
    /// A line that a replica wrote.
    Line(LogLine),
    /// The last of all: why there are no more, or which logs are missing.
    Problem {
        /// What went wrong.
        problem: Problem,
    },
}
