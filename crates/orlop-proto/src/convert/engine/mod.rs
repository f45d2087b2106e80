//! `orlop.engine.v1`: durable work. What carries payloads is written by value, so that their bytes are moved and never
//! copied.

mod journal;
mod worker;

use super::enums;
use crate::InvalidWire;
use crate::engine::v1 as pb;
use crate::invalid::{bounded, choice, optional, parsed, required};
use orlop_model::durable::{
    CallId, CommandNumber, Failure, FailureCause, Outcome, Payload, Priority, QueueName, RetryPolicy, TaskOptions,
};
use orlop_model::{Millis, Timestamp};

enums! {
    pb::FailureCause = FailureCause { Returned, Panicked, TimedOut, Cancelled, WorkerLost, Unreadable }
}

impl From<Payload> for pb::Payload {
    fn from(payload: Payload) -> Self {
        Self { data: payload.data, encoding: payload.encoding }
    }
}

impl TryFrom<pb::Payload> for Payload {
    type Error = InvalidWire;

    fn try_from(wire: pb::Payload) -> Result<Self, InvalidWire> {
        Ok(Self { data: wire.data, encoding: wire.encoding })
    }
}

impl From<Failure> for pb::Failure {
    fn from(failure: Failure) -> Self {
        Self {
            message: failure.message,
            category: failure.category,
            r#final: failure.is_final,
            details: failure.details.map(Into::into),
            trace: failure.trace,
            cause: pb::FailureCause::from(failure.cause).into(),
        }
    }
}

impl TryFrom<pb::Failure> for Failure {
    type Error = InvalidWire;

    fn try_from(wire: pb::Failure) -> Result<Self, InvalidWire> {
        Ok(Self {
            message: wire.message,
            category: wire.category,
            is_final: wire.r#final,
            details: optional("details", wire.details)?,
            trace: wire.trace,
            cause: choice::<pb::FailureCause, _>("cause", wire.cause)?,
        })
    }
}

impl From<Outcome> for pb::Outcome {
    fn from(outcome: Outcome) -> Self {
        Self {
            kind: Some(match outcome {
                Outcome::Ok(payload) => pb::outcome::Kind::Ok(payload.into()),
                Outcome::Failed(failure) => pb::outcome::Kind::Failed(failure.into()),
            }),
        }
    }
}

impl TryFrom<pb::Outcome> for Outcome {
    type Error = InvalidWire;

    fn try_from(wire: pb::Outcome) -> Result<Self, InvalidWire> {
        match wire.kind {
            Some(pb::outcome::Kind::Ok(payload)) => required("ok", Some(payload)).map(Outcome::Ok),
            Some(pb::outcome::Kind::Failed(failure)) => required("failed", Some(failure)).map(Outcome::Failed),
            None => Err(InvalidWire::missing("kind")),
        }
    }
}

impl From<RetryPolicy> for pb::RetryPolicy {
    fn from(policy: RetryPolicy) -> Self {
        Self {
            attempts_max: policy.attempts_max.unwrap_or_default(),
            backoff_ms: policy.backoff.0,
            growth_permille: policy.growth_permille,
            backoff_max_ms: policy.backoff_max.0,
            jitter_permille: policy.jitter_permille,
            final_categories: policy.final_categories,
        }
    }
}

impl TryFrom<pb::RetryPolicy> for RetryPolicy {
    type Error = InvalidWire;

    fn try_from(wire: pb::RetryPolicy) -> Result<Self, InvalidWire> {
        Ok(Self {
            attempts_max: (wire.attempts_max != 0).then_some(wire.attempts_max),
            backoff: Millis(wire.backoff_ms),
            growth_permille: match wire.growth_permille {
                0 => RetryPolicy::default().growth_permille,
                growth => bounded("growth_permille", growth, 1000..=u32::MAX)?,
            },
            backoff_max: Millis(wire.backoff_max_ms),
            jitter_permille: bounded("jitter_permille", wire.jitter_permille, 0..=1000)?,
            final_categories: wire.final_categories,
        })
    }
}

impl From<TaskOptions> for pb::TaskOptions {
    fn from(options: TaskOptions) -> Self {
        Self {
            queue: options.queue.to_string(),
            priority: options.priority.get(),
            fair_key: options.fair_key,
            run_at_ms: options.run_at.map_or(0, since_1970),
            retry: Some(options.retry.into()),
            schedule_to_start_ms: options.schedule_to_start.unwrap_or_default().0,
            start_to_close_ms: options.start_to_close.unwrap_or_default().0,
            heartbeat_ms: options.heartbeat.unwrap_or_default().0,
            labels: options.labels,
        }
    }
}

impl TryFrom<pb::TaskOptions> for TaskOptions {
    type Error = InvalidWire;

    fn try_from(wire: pb::TaskOptions) -> Result<Self, InvalidWire> {
        Ok(Self {
            queue: match wire.queue.as_str() {
                "" => QueueName::default(),
                queue => parsed("queue", queue)?,
            },
            priority: Priority::new(wire.priority).ok_or_else(|| {
                InvalidWire::new("priority", format!("found {}; expected -100 to 100", wire.priority))
            })?,
            fair_key: wire.fair_key,
            run_at: match wire.run_at_ms {
                0 => None,
                at => Some(moment("run_at_ms", at)?),
            },
            retry: optional("retry", wire.retry)?.unwrap_or_default(),
            schedule_to_start: limit_of(wire.schedule_to_start_ms),
            start_to_close: limit_of(wire.start_to_close_ms),
            heartbeat: limit_of(wire.heartbeat_ms),
            labels: wire.labels,
        })
    }
}

/// A time for the wire, which counts in signed 64 bits; what is beyond them is as far away as they reach.
fn since_1970(at: Timestamp) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

fn moment(field: &str, at_ms: i64) -> Result<Timestamp, InvalidWire> {
    u64::try_from(at_ms)
        .map(Timestamp)
        .map_err(|_| InvalidWire::new(field, format!("found {at_ms}; expected milliseconds since 1970")))
}

/// A limit on the wire, where 0 is none.
fn limit_of(ms: u64) -> Option<Millis> {
    (ms != 0).then_some(Millis(ms))
}

fn command_number(field: &str, number: u32) -> Result<CommandNumber, InvalidWire> {
    bounded(field, number, 1..=u32::MAX).map(CommandNumber)
}

/// The number of an attempt; the first is 1.
fn attempt_of(field: &str, attempt: u32) -> Result<u32, InvalidWire> {
    bounded(field, attempt, 1..=u32::MAX)
}

/// By which code, or a signal, is found: anything but nothing.
fn named(field: &str, name: String) -> Result<String, InvalidWire> {
    if name.is_empty() { Err(InvalidWire::new(field, "is empty")) } else { Ok(name) }
}

/// The printed id of a run or a task, or nothing.
fn call(field: &str, id: String) -> Result<String, InvalidWire> {
    if !id.is_empty() {
        parsed::<CallId>(field, &id)?;
    }
    Ok(id)
}
