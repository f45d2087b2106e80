//! Waiting for processes to end: one subscription to containerd's events serves all who wait.
//!
//! An event is only a nudge: who waits then asks for the process's state. So a lost event (containerd was away) costs
//! nothing: after each new subscription, and now and then for good measure, all are nudged.

use super::client::{Client, Failure, QUICK};
use super::proto::timestamp;
use crate::RuntimeError;
use containerd_client::events::{TaskDelete, TaskExit};
use containerd_client::services::v1::{GetRequest, PublishRequest, SubscribeRequest};
use containerd_client::types::Envelope;
use containerd_client::types::v1::{Process, Status};
use orlop_model::Timestamp;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

/// All who wait are nudged this often without any event.
const ANYWAY: Duration = Duration::from_secs(60);
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// A subscription has begun when the first event arrives on it; this one is ours.
const MARKER: &str = "/orlop/subscribed";

/// How a process ended, as containerd tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) code: u32,
    pub(crate) at: Timestamp,
}

/// The shared subscription.
#[derive(Debug)]
pub(crate) struct Exits {
    client: Client,
    shared: Arc<Shared>,
    task: OnceLock<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    namespace: String,
    waiting: Mutex<HashMap<String, Weak<Notify>>>,
    live: watch::Sender<bool>,
}

impl Exits {
    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        let shared =
            Shared { namespace: namespace.to_owned(), waiting: Mutex::default(), live: watch::Sender::new(false) };
        Self { client, shared: Arc::new(shared), task: OnceLock::new() }
    }

    /// Waits until a container's process, or one of its exec'd ones, has ended. `NotFound` when there is none.
    pub(crate) async fn wait(&self, container: &str, exec: &str) -> Result<Ended, RuntimeError> {
        self.task.get_or_init(|| {
            AbortOnDropHandle::new(tokio::spawn(subscribe_for_ever(self.client.clone(), self.shared.clone())))
        });
        let nudge = self.shared.nudge(&key(container, exec));
        let mut live = self.shared.live.subscribe();
        loop {
            let nudged = nudge.notified();
            tokio::pin!(nudged);
            // From here on no nudge is lost.
            nudged.as_mut().enable();
            // The sender lives in `self`.
            let _ = live.wait_for(|live| *live).await;
            match process(&self.client, container, exec).await {
                Ok(Some(process)) if process.status == Status::Stopped as i32 => {
                    return Ok(Ended { code: process.exit_status, at: timestamp(process.exited_at) });
                }
                Ok(Some(_)) => nudged.await,
                Ok(None) => {
                    let what = if exec.is_empty() {
                        format!("a process of container {container}")
                    } else {
                        format!("process {exec}")
                    };
                    return Err(RuntimeError::NotFound { what });
                }
                // It is going away, and the next subscription nudges; or it is very slow.
                Err(failure) => {
                    tracing::debug!(?failure, container, "containerd did not tell how a process is; asking again");
                    let _ = tokio::time::timeout(Duration::from_secs(1), nudged).await;
                }
            }
        }
    }
}

/// A process's state; `None` when there is no such process.
pub(crate) async fn process(client: &Client, container: &str, exec: &str) -> Result<Option<Process>, Failure> {
    let request = client.request(GetRequest { container_id: container.to_owned(), exec_id: exec.to_owned() });
    match client.answer(QUICK, client.tasks().get(request)).await {
        Ok(response) => Ok(response.process),
        Err(Failure::NotFound(_)) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn key(container: &str, exec: &str) -> String {
    format!("{container}/{exec}")
}

impl Shared {
    /// What wakes those who wait for this process.
    fn nudge(&self, key: &str) -> Arc<Notify> {
        let mut waiting = self.waiting.lock();
        if let Some(nudge) = waiting.get(key).and_then(Weak::upgrade) {
            return nudge;
        }
        waiting.retain(|_, nudge| nudge.strong_count() > 0);
        let nudge = Arc::new(Notify::new());
        waiting.insert(key.to_owned(), Arc::downgrade(&nudge));
        nudge
    }

    fn wake(&self, key: &str) {
        if let Some(nudge) = self.waiting.lock().get(key).and_then(Weak::upgrade) {
            nudge.notify_waiters();
        }
    }

    fn wake_all(&self) {
        self.waiting.lock().values().filter_map(Weak::upgrade).for_each(|nudge| nudge.notify_waiters());
    }

    fn hear(&self, envelope: &Envelope) {
        let Some(event) = &envelope.event else { return };
        let ended = match envelope.topic.as_str() {
            "/tasks/exit" => {
                <TaskExit as prost::Message>::decode(event.value.as_slice()).map(|e| (e.container_id, e.id))
            }
            "/tasks/delete" => {
                <TaskDelete as prost::Message>::decode(event.value.as_slice()).map(|e| (e.container_id, e.id))
            }
            _ => return,
        };
        match ended {
            // A container's own process is called like the container.
            Ok((container, id)) if id == container => self.wake(&key(&container, "")),
            Ok((container, id)) => self.wake(&key(&container, &id)),
            Err(error) => {
                tracing::debug!(%error, "an event of containerd cannot be read");
                self.wake_all();
            }
        }
    }
}

async fn subscribe_for_ever(client: Client, shared: Arc<Shared>) {
    let mut backoff = BACKOFF.0;
    loop {
        let error = subscribe(&client, &shared).await;
        // Whoever begins to wait now waits for the next subscription; whoever waits already asks, and fails, and waits.
        if shared.live.send_replace(false) {
            backoff = BACKOFF.0;
        }
        tracing::debug!(error, "containerd's events broke off; subscribing again");
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF.1);
    }
}

/// Hears events until they break off, and says why.
async fn subscribe(client: &Client, shared: &Shared) -> String {
    let filters = ["/tasks/exit", "/tasks/delete", MARKER]
        .map(|topic| format!("namespace=={},topic==\"{topic}\"", shared.namespace))
        .to_vec();
    let mut events = client.events();
    let subscription = events.subscribe(client.request(SubscribeRequest { filters }));
    tokio::pin!(subscription);
    // containerd answers the call with the first event, so one is made; the first ones may come before it listens.
    let answered = loop {
        let marker = prost_types::Any { type_url: "google.protobuf.Empty".into(), value: Vec::new() };
        let request = client.request(PublishRequest { topic: MARKER.into(), event: Some(marker) });
        let mut publisher = client.events();
        let publish = client.answer(QUICK, publisher.publish(request));
        tokio::select! {
            biased;
            answered = &mut subscription => break answered,
            published = async {
                let published = publish.await;
                tokio::time::sleep(Duration::from_millis(10)).await;
                published
            } => if let Err(failure) = published {
                return format!("{failure:?}");
            },
        }
    };
    let mut stream = match answered {
        Ok(response) => response.into_inner(),
        Err(status) => return format!("{:?}", client.failure(status)),
    };
    shared.live.send_replace(true);
    shared.wake_all();
    loop {
        match tokio::time::timeout(ANYWAY, stream.message()).await {
            Ok(Ok(Some(envelope))) => shared.hear(&envelope),
            Ok(Ok(None)) => return "it ended the stream".into(),
            Ok(Err(status)) => return format!("{:?}", client.failure(status)),
            Err(_) => shared.wake_all(),
        }
    }
}
