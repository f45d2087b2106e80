//! What is said of a task besides its name and its input.

use super::{CommandNumber, RetryPolicy};
use crate::id::InvalidId;
use crate::{Millis, TaskId, Timestamp, WorkflowRunId};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Where tasks wait: 1 to 200 letters, digits and `-_./`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueName(String);

/// What was wrong with the name of a queue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no name of a queue: expected 1 to 200 letters, digits, and any of - _ . /")]
pub struct InvalidQueueName {
    /// What was found instead, its beginning.
    pub found: String,
}

impl QueueName {
    /// Characters at most.
    pub const LENGTH_MAX: usize = 200;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for QueueName {
    fn default() -> Self {
        Self("default".into())
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for QueueName {
    type Err = InvalidQueueName;

    fn from_str(text: &str) -> Result<Self, InvalidQueueName> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if (1..=Self::LENGTH_MAX).contains(&text.len()) && text.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidQueueName { found: text.chars().take(64).collect() })
        }
    }
}

/// Greater goes first; −100 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Priority(i8);

impl Priority {
    /// The priority, if it is within its bounds.
    pub const fn new(priority: i32) -> Option<Self> {
        if priority >= -100 && priority <= 100 { Some(Self(priority as i8)) } else { None }
    }

    /// As a number.
    pub const fn get(self) -> i32 {
        self.0 as i32
    }
}

/// How and when a task is run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaskOptions {
    /// Where it waits.
    pub queue: QueueName,
    /// Who goes first.
    pub priority: Priority,
    /// Tasks with different keys take turns; empty is a key as well.
    pub fair_key: String,
    /// Not before.
    pub run_at: Option<Timestamp>,
    /// What happens when it fails.
    pub retry: RetryPolicy,
    /// From being ready to its first start.
    pub schedule_to_start: Option<Millis>,
    /// Of each attempt.
    pub start_to_close: Option<Millis>,
    /// From one sign of life of the running function to the next.
    pub heartbeat: Option<Millis>,
    /// What a worker's labels must hold.
    pub labels: BTreeMap<String, String>,
}

/// A run or a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallId {
    /// A run of a workflow.
    Run(WorkflowRunId),
    /// A task.
    Task(TaskId),
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallId::Run(run) => run.fmt(f),
            CallId::Task(task) => task.fmt(f),
        }
    }
}

impl FromStr for CallId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.split_once('_') {
            Some((TaskId::KIND, _)) => text.parse().map(CallId::Task),
            _ => text.parse().map(CallId::Run),
        }
    }
}

/// Who submitted a task or started a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A workflow, with this command.
    Run(WorkflowRunId, CommandNumber),
    /// A running task, which does not wait for it.
    Task(TaskId),
}

impl Owner {
    /// The run or the task.
    pub const fn call(self) -> CallId {
        match self {
            Owner::Run(run, _) => CallId::Run(run),
            Owner::Task(task) => CallId::Task(task),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_queues_have_their_bounds() {
        for good in ["default", "gpu/a100", "a.b_c-d", &"x".repeat(200)] {
            assert!(good.parse::<QueueName>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "ü", &"x".repeat(201)] {
            assert!(bad.parse::<QueueName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn priorities_have_their_bounds() {
        assert_eq!(Priority::new(-100).map(Priority::get), Some(-100));
        assert_eq!((Priority::new(101), Priority::new(-101)), (None, None));
    }
}
