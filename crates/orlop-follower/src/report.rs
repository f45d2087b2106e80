//! Reporting upwards.

use crate::backoff::Backoff;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The first and the longest wait before a failed call is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How reports are sent.
#[derive(Debug, Clone)]
pub struct ReporterConfig {
    /// What the reporter is called in logs.
    pub name: &'static str,
    /// At most so many reports in one call.
    pub batch_max: usize,
    /// At most so many keys wait; beyond that the oldest report is dropped, with a warning.
    pub waiting_max: usize,
}

/// What became of a call that sends reports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It may go better later; the reports are sent again.
    #[error("{0}")]
    Later(String),
    /// These reports will never be taken; they are dropped with a warning. A batch of several is first sent again one
    /// by one, so that one bad report does not take the others with it.
    #[error("{0}")]
    Never(String),
}

/// What is wrong with the report itself is final; all else may pass.
impl From<tonic::Status> for SendError {
    fn from(status: tonic::Status) -> Self {
        use tonic::Code;
        let why = format!("{:?}: {}", status.code(), status.message());
        match status.code() {
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented => SendError::Never(why),
            _ => SendError::Later(why),
        }
    }
}

/// Reports that were not delivered in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{count} reports were not delivered")]
pub struct Unsent {
    /// How many.
    pub count: usize,
}

/// Delivers reports in order; of each key only the newest that was not yet sent. Clones are handles of the same one.
#[derive(Debug)]
pub struct Reporter<K, V> {
    shared: Arc<Shared<K, V>>,
}

impl<K, V> Clone for Reporter<K, V> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K, V> Reporter<K, V>
where
    K: Ord + Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Starts a task that sends with `send`, one call at a time, until `stop` is cancelled ([`flush`](Self::flush) first,
    /// where what waits matters); after a failure that may go better later it tries again for as long as it takes.
    pub fn start<S, F>(config: ReporterConfig, send: S, stop: CancellationToken) -> Self
    where
        S: FnMut(Vec<(K, V)>) -> F + Send + 'static,
        F: Future<Output = Result<(), SendError>> + Send + 'static,
    {
        let shared = Arc::new(Shared {
            waiting_max: config.waiting_max.max(1),
            name: config.name,
            queue: Mutex::new(Queue { waiting: BTreeMap::new(), places: BTreeMap::new(), next: 0, in_flight: 0 }),
            more: Notify::new(),
            delivered: Notify::new(),
        });
        tokio::spawn(run(config, shared.clone(), send, stop));
        Self { shared }
    }

    /// Queues a report; it replaces one of the same key that was not sent yet, in its place in the queue. Never blocks.
    pub fn report(&self, key: K, value: V) {
        let mut queue = self.shared.lock();
        queue.put(key, value);
        if queue.waiting.len() > self.shared.waiting_max
            && let Some((_, (key, _))) = queue.waiting.pop_first()
        {
            queue.places.remove(&key);
            tracing::warn!(reporter = self.shared.name, "too many reports wait; the oldest is dropped");
        }
        drop(queue);
        self.shared.more.notify_one();
    }

    /// Waits until everything reported before the call is delivered, at most so long.
    pub async fn flush(&self, at_most: Duration) -> Result<(), Unsent> {
        let delivered = async {
            loop {
                let changed = self.shared.delivered.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.shared.lock().left() == 0 {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(at_most, delivered).await.map_err(|_| Unsent { count: self.shared.lock().left() })
    }
}

#[derive(Debug)]
struct Shared<K, V> {
    name: &'static str,
    waiting_max: usize,
    queue: Mutex<Queue<K, V>>,
    more: Notify,
    delivered: Notify,
}

impl<K, V> Shared<K, V> {
    fn lock(&self) -> MutexGuard<'_, Queue<K, V>> {
        // No code that holds the lock can panic half way through a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What waits, in order: a place is never given twice.
#[derive(Debug)]
struct Queue<K, V> {
    waiting: BTreeMap<u64, (K, V)>,
    places: BTreeMap<K, u64>,
    next: u64,
    in_flight: usize,
}

impl<K, V> Queue<K, V> {
    fn left(&self) -> usize {
        self.waiting.len() + self.in_flight
    }
}

impl<K: Ord + Clone, V> Queue<K, V> {
    fn put(&mut self, key: K, value: V) {
        let next = self.next;
        let place = *self.places.entry(key.clone()).or_insert(next);
        self.next += u64::from(place == next);
        self.waiting.insert(place, (key, value));
    }

    /// The oldest values, as many as go into one call.
    fn take(&mut self, most: usize) -> BTreeMap<u64, (K, V)> {
        let rest = match self.waiting.keys().nth(most) {
            Some(place) => {
                let place = *place;
                self.waiting.split_off(&place)
            }
            None => BTreeMap::new(),
        };
        let batch = std::mem::replace(&mut self.waiting, rest);
        for (key, _) in batch.values() {
            self.places.remove(key);
        }
        self.in_flight = batch.len();
        batch
    }

    /// Puts values that were not delivered back where they were, unless a newer one of the key has come.
    fn put_back(&mut self, batch: BTreeMap<u64, (K, V)>) {
        for (place, (key, value)) in batch {
            if !self.places.contains_key(&key) {
                self.places.insert(key.clone(), place);
                self.waiting.insert(place, (key, value));
            }
        }
        self.in_flight = 0;
    }
}

async fn run<K, V, F, S>(config: ReporterConfig, shared: Arc<Shared<K, V>>, mut send: S, stop: CancellationToken)
where
    K: Ord + Clone + Send + 'static,
    V: Clone + Send + 'static,
    S: FnMut(Vec<(K, V)>) -> F + Send + 'static,
    F: Future<Output = Result<(), SendError>> + Send + 'static,
{
    let mut backoff = Backoff::new(RETRY.0, RETRY.1, rand::random());
    loop {
        let batch = shared.lock().take(config.batch_max.max(1));
        if batch.is_empty() {
            shared.delivered.notify_waiters();
            tokio::select! {
                () = shared.more.notified() => continue,
                () = stop.cancelled() => return,
            }
        }
        let undelivered = tokio::select! {
            undelivered = deliver(config.name, &mut send, batch) => undelivered,
            () = stop.cancelled() => return,
        };
        let failed = !undelivered.is_empty();
        shared.lock().put_back(undelivered);
        if failed {
            tokio::select! {
                () = tokio::time::sleep(backoff.delay()) => {}
                () = stop.cancelled() => return,
            }
        } else {
            backoff.reset();
        }
    }
}

/// Sends a batch, and its values one by one when the batch is refused; gives back what may go better later.
async fn deliver<K, V, F, S>(name: &str, send: &mut S, batch: BTreeMap<u64, (K, V)>) -> BTreeMap<u64, (K, V)>
where
    K: Clone,
    V: Clone,
    S: FnMut(Vec<(K, V)>) -> F,
    F: Future<Output = Result<(), SendError>>,
{
    match send(batch.values().cloned().collect()).await {
        Ok(()) => return BTreeMap::new(),
        Err(SendError::Later(why)) => {
            tracing::debug!(reporter = name, why, "reports could not be delivered; trying again");
            return batch;
        }
        Err(SendError::Never(why)) if batch.len() == 1 => {
            tracing::warn!(reporter = name, why, "a report was refused and is dropped");
            return BTreeMap::new();
        }
        Err(SendError::Never(_)) => {}
    }
    let mut later = BTreeMap::new();
    for (place, report) in batch {
        // What follows a value that has to wait waits too: reports arrive in order.
        if !later.is_empty() {
            later.insert(place, report);
            continue;
        }
        match send(vec![report.clone()]).await {
            Ok(()) => {}
            Err(SendError::Never(why)) => tracing::warn!(reporter = name, why, "a report was refused and is dropped"),
            Err(SendError::Later(_)) => {
                later.insert(place, report);
            }
        }
    }
    later
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    type Batch = Vec<(u32, &'static str)>;
    type Answers = mpsc::UnboundedSender<Result<(), SendError>>;

    /// A reporter whose every send waits for the answer that the test gives.
    fn reporter() -> (Reporter<u32, &'static str>, mpsc::UnboundedReceiver<Batch>, Answers) {
        let (sent, batches) = mpsc::unbounded_channel();
        let (answer, answers) = mpsc::unbounded_channel::<Result<(), SendError>>();
        let answers = Arc::new(tokio::sync::Mutex::new(answers));
        let send = move |batch: Batch| {
            let (sent, answers) = (sent.clone(), answers.clone());
            async move {
                let _ = sent.send(batch);
                match answers.lock().await.recv().await {
                    Some(answer) => answer,
                    None => std::future::pending().await,
                }
            }
        };
        let config = ReporterConfig { name: "test", batch_max: 100, waiting_max: 100 };
        (Reporter::start(config, send, CancellationToken::new()), batches, answer)
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_newest_value_of_a_key_is_sent_and_keys_keep_their_order() {
        let (reporter, mut batches, answers) = reporter();
        reporter.report(1, "a");
        assert_eq!(batches.recv().await, Some(vec![(1, "a")]));
        for (key, value) in [(1, "b"), (2, "c"), (1, "d")] {
            reporter.report(key, value);
        }
        assert_eq!(reporter.flush(Duration::from_secs(1)).await, Err(Unsent { count: 3 }));
        answers.send(Ok(())).expect("a reporter that runs");
        assert_eq!(batches.recv().await, Some(vec![(1, "d"), (2, "c")]));
        answers.send(Ok(())).expect("a reporter that runs");
        assert_eq!(reporter.flush(Duration::from_secs(1)).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_sent_is_sent_again_unless_something_newer_came() {
        let (reporter, mut batches, answers) = reporter();
        reporter.report(1, "old");
        reporter.report(2, "kept");
        let first = batches.recv().await;
        assert!(first.is_some());
        reporter.report(1, "new");
        answers.send(Err(SendError::Later("away".into()))).expect("a reporter that runs");
        let mut last = batches.recv().await.expect("a second batch");
        if first == Some(vec![(1, "old")]) {
            // The task took the first value before the second was handed over.
            assert_eq!(last, [(2, "kept"), (1, "new")]);
        } else {
            last.sort();
            assert_eq!(last, [(1, "new"), (2, "kept")]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_value_is_dropped_and_does_not_hold_up_the_others() {
        let (reporter, mut batches, answers) = reporter();
        reporter.report(0, "first");
        batches.recv().await;
        reporter.report(1, "poison");
        reporter.report(2, "good");
        answers.send(Ok(())).expect("a reporter that runs");
        assert_eq!(batches.recv().await, Some(vec![(1, "poison"), (2, "good")]));
        for answer in [Err(SendError::Never("bad".into())), Err(SendError::Never("bad".into())), Ok(())] {
            answers.send(answer).expect("a reporter that runs");
        }
        assert_eq!(batches.recv().await, Some(vec![(1, "poison")]));
        assert_eq!(batches.recv().await, Some(vec![(2, "good")]));
        assert_eq!(reporter.flush(Duration::from_secs(1)).await, Ok(()));
    }
}
