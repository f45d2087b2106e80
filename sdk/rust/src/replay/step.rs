//! Steps: what runs inside the worker, outside of the workflow's own future.

use crate::failure::Failure;
use futures::future::BoxFuture;
use orlop_model::Timestamp;
use orlop_model::durable::{CommandNumber, Payload, RetryPolicy};
use std::fmt;
use std::sync::Arc;

/// The code of a step, once for each attempt.
pub(crate) type StepBody = Arc<dyn Fn() -> BoxFuture<'static, Result<Payload, Failure>> + Send + Sync>;

/// A step that the workflow waits for.
pub(crate) struct StepWork {
    pub(crate) body: StepBody,
    pub(crate) retry: RetryPolicy,
    /// The next attempt, or the one that runs; the first is 1.
    pub(crate) attempt: u32,
    pub(crate) not_before: Timestamp,
}

/// An attempt of a step that is to run now.
#[derive(Clone)]
pub struct StepToRun {
    /// Which step.
    pub number: CommandNumber,
    /// What the workflow calls it.
    pub name: String,
    /// Which attempt; the first is 1.
    pub attempt: u32,
    /// When it begins.
    pub not_before: Timestamp,
    pub(crate) body: StepBody,
}

impl StepToRun {
    /// Its code; nothing runs before it is polled.
    pub fn start(&self) -> BoxFuture<'static, Result<Payload, Failure>> {
        (self.body)()
    }
}

impl fmt::Debug for StepToRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, name, attempt, not_before, .. } = self;
        write!(f, "step {number} {name:?}, attempt {attempt}, not before {}", not_before.0)
    }
}

/// How an attempt of a step ended.
#[derive(Debug, Clone)]
pub struct StepEnd {
    /// Which step.
    pub number: CommandNumber,
    /// Which attempt it was.
    pub attempt: u32,
    /// When it began.
    pub began_at: Timestamp,
    /// How it ended.
    pub result: Result<Payload, Failure>,
}
