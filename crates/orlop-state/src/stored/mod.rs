//! The stored form, `orlop.store.v1`: commands in the log, the state in snapshots, and answers between members.
//!
//! Reading survives fields it does not know. A command that cannot be read becomes [`Unreadable`], see there why.

mod answer;
mod command;
mod snapshot;
mod trust;
mod trust_command;

use crate::answer::Answer;
use crate::command::{Command, Kind, Unreadable};
use crate::state::{InvalidState, State};
use orlop_model::Timestamp;
use orlop_proto::store::v1 as pb;
use orlop_proto::{InvalidWire, Within};
use prost::Message;

/// A command as bytes. An unreadable one, which nobody submits, becomes one that says nothing.
pub fn encode_command(command: &Command) -> Vec<u8> {
    pb::Command::from(command).encode_to_vec()
}

/// Reads a command; what cannot be read is [`Unreadable`].
pub fn decode_command(bytes: &[u8]) -> Command {
    let unreadable = |now: u64, problem: String| Command::new(Timestamp(now), Kind::Unreadable(Unreadable { problem }));
    match pb::Command::decode(bytes) {
        Err(problem) => unreadable(0, problem.to_string()),
        Ok(wire) => {
            let now = wire.at_ms;
            Command::try_from(wire).unwrap_or_else(|problem| unreadable(now, problem.to_string()))
        }
    }
}

/// A state as bytes.
pub fn encode_state(state: &State) -> Vec<u8> {
    pb::Snapshot::from(state).encode_to_vec()
}

/// Reads a state.
pub fn decode_state(bytes: &[u8]) -> Result<State, InvalidState> {
    let wire = pb::Snapshot::decode(bytes).map_err(|problem| InvalidState(problem.to_string()))?;
    State::try_from(wire)
}

/// An answer as bytes.
pub fn encode_answer(answer: &Answer) -> Vec<u8> {
    pb::Answer::from(answer).encode_to_vec()
}

/// Reads an answer.
pub fn decode_answer(bytes: &[u8]) -> Result<Answer, InvalidWire> {
    pb::Answer::decode(bytes).map_err(|e| InvalidWire::new("answer", e.to_string()))?.try_into()
}

fn parsed<T>(field: &str, text: &str) -> Result<T, InvalidWire>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    text.parse().map_err(|e: T::Err| InvalidWire::new(field, e.to_string()))
}

fn required<W, T>(field: &str, value: Option<W>) -> Result<T, InvalidWire>
where
    T: TryFrom<W, Error = InvalidWire>,
{
    value.ok_or_else(|| InvalidWire::new(field, "is missing")).and_then(|v| T::try_from(v).within(field))
}

fn list<W, T>(field: &str, values: Vec<W>) -> Result<Vec<T>, InvalidWire>
where
    T: TryFrom<W, Error = InvalidWire>,
{
    values.into_iter().enumerate().map(|(i, v)| T::try_from(v).within(&format!("{field}[{i}]"))).collect()
}
