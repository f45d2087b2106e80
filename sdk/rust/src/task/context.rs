//! What a running task knows, and what it can say.

use crate::failure::Failure;
use crate::payload;
use orlop_model::durable::{AssignedTask, Fence, Outcome, Payload, TaskLog, TaskReport};
use orlop_model::{TaskId, Timestamp};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

/// What a running task has for its worker.
#[derive(Debug)]
pub(crate) struct TaskNews {
    pub(crate) task: TaskId,
    pub(crate) fence: Fence,
    pub(crate) what: Result<TaskReport, Outcome>,
}

/// What a running task knows, and what it can say. All clones are the same attempt's.
#[derive(Clone)]
pub struct TaskContext {
    shared: Arc<Shared>,
}

struct Shared {
    /// Without its input, which the function has.
    assigned: AssignedTask,
    cancel: CancellationToken,
    reason: Mutex<String>,
    checkpoint: Mutex<Option<Payload>>,
    /// None after the end: nothing may come after it.
    news: Mutex<Option<UnboundedSender<TaskNews>>>,
    payload_bytes_max: u64,
}

impl TaskContext {
    pub(crate) fn new(assigned: AssignedTask, news: UnboundedSender<TaskNews>, payload_bytes_max: u64) -> Self {
        let shared = Shared {
            checkpoint: Mutex::new(assigned.checkpoint.clone()),
            assigned,
            cancel: CancellationToken::new(),
            reason: Mutex::default(),
            news: Mutex::new(Some(news)),
            payload_bytes_max,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The task; the same for all its attempts.
    pub fn id(&self) -> TaskId {
        self.shared.assigned.task
    }

    /// What it is called by.
    pub fn name(&self) -> &str {
        &self.shared.assigned.name
    }

    /// Which attempt this is; the first is 1.
    pub fn attempt(&self) -> u32 {
        self.shared.assigned.attempt
    }

    /// What other systems may know this call by: the same for all attempts, and for no other task.
    pub fn idempotency_key(&self) -> String {
        self.id().to_string()
    }

    /// How the attempt before failed.
    pub fn last_failure(&self) -> Option<Failure> {
        self.shared.assigned.last_failure.clone().map(Failure::from_domain)
    }

    /// The run or the task that submitted it, as a printed id; empty for a client.
    pub fn parent(&self) -> &str {
        &self.shared.assigned.parent
    }

    /// The trace that it belongs to, as W3C `traceparent`; empty for none.
    pub fn traceparent(&self) -> &str {
        &self.shared.assigned.traceparent
    }

    /// Where this attempt, or the one before, says that it can go on.
    ///
    /// # Errors
    /// When it cannot be read as the type.
    pub fn checkpoint<T: DeserializeOwned>(&self) -> Result<Option<T>, Failure> {
        let checkpoint = self.shared.checkpoint.lock().clone();
        checkpoint.map(|checkpoint| payload::read("the task's checkpoint", &checkpoint)).transpose()
    }

    /// Says where the next attempt can go on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save_checkpoint<T: Serialize + ?Sized>(&self, checkpoint: &T) -> Result<(), Failure> {
        let checkpoint = payload::written("the task's checkpoint", checkpoint)?;
        let checkpoint = payload::bounded(checkpoint, self.shared.payload_bytes_max)?;
        *self.shared.checkpoint.lock() = Some(checkpoint.clone());
        self.report(TaskReport { checkpoint: Some(checkpoint), ..TaskReport::default() });
        Ok(())
    }

    /// Says how much of the whole is done, from 0.0 to 1.0.
    pub fn progress(&self, part: f64) {
        let permille = (part.clamp(0.0, 1.0) * 1000.0).round();
        self.report(TaskReport { progress_permille: Some(permille as u32), ..TaskReport::default() });
    }

    /// Says something about the task that stays.
    pub fn metadata(&self, name: impl Into<String>, value: impl Into<String>) {
        let metadata = [(name.into(), value.into())].into();
        self.report(TaskReport { metadata, ..TaskReport::default() });
    }

    /// Says a line.
    pub fn log(&self, level: impl Into<String>, text: impl Into<String>) {
        let at = Timestamp::from(SystemTime::now());
        let line = TaskLog { at, level: level.into(), text: text.into() };
        self.report(TaskReport { log: vec![line], ..TaskReport::default() });
    }

    /// Gives a sign of life, for tasks that have a limit between two.
    pub fn heartbeat(&self) {
        self.report(TaskReport::default());
    }

    /// Waits until the task is to stop, and says why.
    pub async fn cancelled(&self) -> String {
        self.shared.cancel.cancelled().await;
        self.shared.reason.lock().clone()
    }

    /// Whether the task is to stop.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancel.is_cancelled()
    }

    pub(crate) fn cancel(&self, reason: String) {
        let mut said = self.shared.reason.lock();
        if said.is_empty() {
            *said = reason;
        }
        drop(said);
        self.shared.cancel.cancel();
    }

    fn report(&self, report: TaskReport) {
        let news = self.shared.news.lock();
        self.send(news.as_ref(), Ok(report));
    }

    /// The attempt is over; what is reported from here on is dropped.
    pub(crate) fn end(&self, outcome: Outcome) {
        let mut news = self.shared.news.lock();
        self.send(news.as_ref(), Err(outcome));
        *news = None;
    }

    fn send(&self, news: Option<&UnboundedSender<TaskNews>>, what: Result<TaskReport, Outcome>) {
        let (task, fence) = (self.shared.assigned.task, self.shared.assigned.fence);
        if let Some(news) = news {
            // A worker that is gone needs no news.
            let _ = news.send(TaskNews { task, fence, what });
        }
    }
}

impl fmt::Debug for TaskContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}, attempt {}", self.id(), self.name(), self.attempt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> (TaskContext, tokio::sync::mpsc::UnboundedReceiver<TaskNews>) {
        let (news, received) = tokio::sync::mpsc::unbounded_channel();
        let assigned = AssignedTask {
            task: TaskId::from_u128(7),
            fence: Fence(3),
            name: "a".into(),
            queue: Default::default(),
            input: Payload::default(),
            attempt: 2,
            checkpoint: Some(payload::encode(&5).unwrap()),
            start_to_close: None,
            heartbeat: None,
            parent: String::new(),
            root: String::new(),
            traceparent: String::new(),
            last_failure: None,
        };
        (TaskContext::new(assigned, news, 16), received)
    }

    #[test]
    fn reports_come_in_their_order_and_none_after_the_end() {
        let (context, mut received) = context();
        context.progress(0.4567);
        context.metadata("a", "b");
        context.progress(f64::NAN);
        context.end(Outcome::Ok(Payload::default()));
        context.log("info", "too late");
        drop(context);
        let mut reports = Vec::new();
        while let Ok(news) = received.try_recv() {
            reports.push(news.what);
        }
        assert_eq!(reports.len(), 4);
        assert_eq!(reports[0].as_ref().unwrap().progress_permille, Some(457));
        assert!(reports[3].is_err());
    }

    #[test]
    fn a_checkpoint_is_that_of_the_attempt_before_until_there_is_a_new_one() {
        let (context, _received) = context();
        assert_eq!(context.checkpoint::<u8>().unwrap(), Some(5));
        context.save_checkpoint(&6).unwrap();
        assert_eq!(context.checkpoint::<u8>().unwrap(), Some(6));
        assert!(context.checkpoint::<String>().is_err());
        let large = context.save_checkpoint("more than sixteen bytes").unwrap_err();
        assert!(large.message.contains("the engine takes 16"), "{large}");
    }

    #[tokio::test]
    async fn the_first_reason_to_stop_is_the_one_that_is_told() {
        let (context, _received) = context();
        assert!(!context.is_cancelled());
        context.cancel("enough".into());
        context.cancel("really".into());
        assert_eq!(context.cancelled().await, "enough");
    }
}
