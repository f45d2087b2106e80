//! Records what people should know that is no transition of a replica.

use crate::answer::{Answer, Refusal};
use crate::command::Change;
use crate::history::of_replica;
use crate::limit::RECORDS_MAX;
use orlop_model::{Level, Reason, Subject, Timestamp};

/// Records events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordEvents {
    /// In this order; at most [`RECORDS_MAX`].
    pub events: Vec<EventRecord>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// When, by the clock of whoever saw it.
    pub at: Timestamp,
    /// How much it matters.
    pub level: Level,
    /// What it is about. Of a known replica, what is not set is filled in.
    pub subject: Subject,
    /// What happened.
    pub reason: Reason,
}

impl RecordEvents {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        if self.events.len() > RECORDS_MAX {
            let message = format!("{} events at once; send at most {RECORDS_MAX}", self.events.len());
            return Err(Refusal::invalid("too_many_events", message));
        }
        for event in self.events {
            let mut subject = event.subject;
            if let Some(known) = subject.replica.and_then(|id| change.state.replicas.get(&id)).map(of_replica) {
                subject.deployment = subject.deployment.or(known.deployment);
                subject.service = subject.service.or(known.service);
                subject.slot = subject.slot.or(known.slot);
                subject.node = subject.node.or(known.node);
            }
            change.tell_at(event.at, event.level, subject, event.reason);
        }
        Ok(Answer::Done)
    }
}
