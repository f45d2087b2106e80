//! How and when a task is run, as it is said by workflows and by clients.

use crate::failure::Failure;
use orlop_model::durable::{InvalidQueueName, Priority, QueueName, RetryPolicy, TaskOptions};
use orlop_model::{Millis, Timestamp};
use std::time::{Duration, SystemTime};

/// What was said so far; what was wrong is said when the task begins.
#[derive(Debug, Clone, Default)]
pub(crate) struct TaskOptionsBuilder {
    options: TaskOptions,
    wrong: Option<String>,
}

impl TaskOptionsBuilder {
    pub(crate) fn queue(&mut self, queue: &str) {
        match queue.parse::<QueueName>() {
            Ok(queue) => self.options.queue = queue,
            Err(error) => self.wrong = Some(InvalidQueueName::to_string(&error)),
        }
    }

    pub(crate) fn priority(&mut self, priority: i32) {
        match Priority::new(priority) {
            Some(priority) => self.options.priority = priority,
            None => self.wrong = Some(format!("{priority} is no priority: expected -100 to 100")),
        }
    }

    pub(crate) fn retry(&mut self, retry: RetryPolicy) {
        self.options.retry = retry;
    }

    pub(crate) fn fair_key(&mut self, key: String) {
        self.options.fair_key = key;
    }

    pub(crate) fn run_at(&mut self, at: SystemTime) {
        self.options.run_at = Some(Timestamp::from(at));
    }

    pub(crate) fn schedule_to_start(&mut self, limit: Duration) {
        self.options.schedule_to_start = Some(Millis::from(limit));
    }

    pub(crate) fn start_to_close(&mut self, limit: Duration) {
        self.options.start_to_close = Some(Millis::from(limit));
    }

    pub(crate) fn heartbeat(&mut self, limit: Duration) {
        self.options.heartbeat = Some(Millis::from(limit));
    }

    pub(crate) fn label(&mut self, label: String, value: String) {
        self.options.labels.insert(label, value);
    }

    pub(crate) fn build(self) -> Result<TaskOptions, Failure> {
        match self.wrong {
            Some(wrong) => Err(Failure::new(wrong).is_final()),
            None => Ok(self.options),
        }
    }
}

/// The builder methods of whatever has `options: TaskOptionsBuilder`.
macro_rules! task_options {
    () => {
        /// Where it waits; `default` if nothing is said.
        pub fn queue(mut self, queue: impl AsRef<str>) -> Self {
            self.options.queue(queue.as_ref());
            self
        }

        /// Greater goes first; −100 to 100.
        pub fn priority(mut self, priority: i32) -> Self {
            self.options.priority(priority);
            self
        }

        /// What happens when it fails.
        pub fn retry(mut self, retry: orlop_model::durable::RetryPolicy) -> Self {
            self.options.retry(retry);
            self
        }

        /// Tasks with different keys take turns.
        pub fn fair_key(mut self, key: impl Into<String>) -> Self {
            self.options.fair_key(key.into());
            self
        }

        /// Not before.
        pub fn run_at(mut self, at: std::time::SystemTime) -> Self {
            self.options.run_at(at);
            self
        }

        /// From being ready to its first start.
        pub fn schedule_to_start(mut self, limit: std::time::Duration) -> Self {
            self.options.schedule_to_start(limit);
            self
        }

        /// Of each attempt.
        pub fn start_to_close(mut self, limit: std::time::Duration) -> Self {
            self.options.start_to_close(limit);
            self
        }

        /// From one sign of life of the running function to the next.
        pub fn heartbeat(mut self, limit: std::time::Duration) -> Self {
            self.options.heartbeat(limit);
            self
        }

        /// What a worker's labels must hold.
        pub fn label(mut self, label: impl Into<String>, value: impl Into<String>) -> Self {
            self.options.label(label.into(), value.into());
            self
        }
    };
}
pub(crate) use task_options;
