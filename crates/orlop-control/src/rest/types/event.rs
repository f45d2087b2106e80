//! Events.

use super::{Reason, Time};
use crate::rest::problem::Problem;
use orlop_model::Level as ModelLevel;
use schemars::JsonSchema;
use serde::Serialize;

/// One thing that happened.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct Event {
    /// Its place in the cluster's history, from 1, without gaps.
    sequence: u64,
    at: Time,
    level: Level,
    deployment: Option<String>,
    service: Option<String>,
    slot: Option<u32>,
    replica: Option<String>,
    node: Option<String>,
    reason: Reason,
}

/// How much an event matters.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "EventLevel")]
enum Level {
    /// A change that a user would notice.
    Info,
    /// Something that could wake a person.
    Warning,
    /// Something stopped.
    Error,
}

impl From<&orlop_model::Event> for Event {
    fn from(event: &orlop_model::Event) -> Self {
        let subject = &event.subject;
        Self {
            sequence: event.sequence,
            at: event.at.into(),
            level: match event.level {
                ModelLevel::Info => Level::Info,
                ModelLevel::Warning => Level::Warning,
                ModelLevel::Error => Level::Error,
            },
            deployment: subject.deployment.as_ref().map(ToString::to_string),
            service: subject.service.as_ref().map(ToString::to_string),
            slot: subject.slot,
            replica: subject.replica.as_ref().map(ToString::to_string),
            node: subject.node.as_ref().map(ToString::to_string),
            reason: (&event.reason).into(),
        }
    }
}

/// The newest events, oldest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct Events {
    /// The revision of the state that this is of.
    pub(in crate::rest) revision: u64,
    /// Give it as `Last-Event-ID` to the stream of events to hear of what happens after this.
    pub(in crate::rest) last_event_id: String,
    pub(in crate::rest) events: Vec<Event>,
}

/// The `data` of one message of a stream of events.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::rest) enum EventFrame {
    /// `event: event`.
    Event(Box<Event>),
    /// `event: snapshot`: what follows is all events that are kept; forget what was heard before.
    Snapshot {
        /// Whose events they are.
        cluster: String,
        /// The revision that the snapshot is of.
        revision: u64,
    },
    /// `event: problem`: why the stream ends.
    Problem {
        /// What went wrong.
        problem: Problem,
    },
}
