//! Following a view: one task that owns the copy, waits for the next thing to happen, and applies it.

use crate::Backoff;
use crate::cache::Cache;
use crate::view::{OutOfStep, Parts, ViewState};
use orlop_model::Revision;
use orlop_model::view::View;
use orlop_proto::watch::v1 as pb;
use orlop_proto::watch::v1::watch_service_client::WatchServiceClient;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;

const BACKOFF_LEAST: Duration = Duration::from_millis(50);
const BACKOFF_MOST: Duration = Duration::from_secs(5);
/// A connection that lasted so long was a good one: when it breaks, the next attempt comes soon.
const GOOD_CONNECTION: Duration = Duration::from_secs(5);
/// A change is kept on disk so long after it came, together with those that came in between.
const CACHE_DELAY: Duration = Duration::from_millis(500);
/// Between two attempts to write a cache that could not be written.
const CACHE_AGAIN: Duration = Duration::from_secs(5);

/// What to follow, and how.
#[derive(Debug, Clone)]
pub struct FollowerConfig {
    /// What the follower is called in logs ("agent", "proxy").
    pub name: &'static str,
    /// The way to the control plane; it must connect again by itself and send keep-alives while idle, as the channels
    /// of `orlop_client::connect` do.
    pub channel: Channel,
    /// The view. Events are not for following: they would pile up.
    pub view: View,
    /// Where the last good view is kept over restarts; its directory is made if absent. None: nowhere.
    pub cache_path: Option<PathBuf>,
}

/// Why a follower did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The view has no end.
    #[error("events cannot be kept as a view: they would pile up; read the stream of WatchService.Watch instead")]
    Events,
}

/// The follower ended, because it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the follower ended")]
pub struct Stopped;

/// A running follower; clones are handles of the same one, each with its own memory of what it has seen.
#[derive(Debug, Clone)]
pub struct Follower {
    state: watch::Receiver<Arc<ViewState>>,
}

impl Follower {
    /// Reads the cache, if any, then follows the view in a task of its own until `stop` is cancelled.
    ///
    /// That the control plane is away is no error: the view is what was cached, or not [known](ViewState::is_known), and
    /// not live.
    pub async fn start(config: FollowerConfig, stop: CancellationToken) -> Result<Self, StartError> {
        if matches!(config.view, View::Events(_)) {
            return Err(StartError::Events);
        }
        let cache = config.cache_path.map(|path| Cache::new(path, config.view.clone()));
        let cached = match cache.clone() {
            None => None,
            Some(cache) => tokio::task::spawn_blocking(move || {
                cache.read().unwrap_or_else(|problem| {
                    let path = cache.path().display();
                    tracing::warn!(%path, problem, "the cached view cannot be used; beginning with nothing");
                    None
                })
            })
            .await
            .unwrap_or_default(),
        };
        let (publish, mut state) = watch::channel(Arc::new(cached.unwrap_or_default()));
        state.mark_changed();
        let task = Task {
            name: config.name,
            client: WatchServiceClient::new(config.channel).max_decoding_message_size(orlop_client::MESSAGE_BYTES_MAX),
            view: config.view,
            publish,
            cache,
            unsaved_since: None,
            saving: None,
            stop: stop.clone(),
            backoff: Backoff::new(BACKOFF_LEAST, BACKOFF_MOST, rand::random()),
        };
        tokio::spawn(task.run(stop));
        Ok(Self { state })
    }

    /// The view as it is now.
    pub fn view(&self) -> Arc<ViewState> {
        self.state.borrow().clone()
    }

    /// Waits until the view is another one than this handle last returned from here; the first call returns at once.
    /// Several changes may be one nudge. Cancel-safe.
    pub async fn changed(&mut self) -> Result<Arc<ViewState>, Stopped> {
        self.state.changed().await.map_err(|_| Stopped)?;
        Ok(self.state.borrow_and_update().clone())
    }

    /// Waits until the follower has ended and its cache is on disk.
    pub async fn ended(&self) {
        let mut state = self.state.clone();
        while state.changed().await.is_ok() {}
    }
}

struct Task {
    name: &'static str,
    client: WatchServiceClient<Channel>,
    view: View,
    publish: watch::Sender<Arc<ViewState>>,
    cache: Option<Cache>,
    /// When the first change came that is not on disk.
    unsaved_since: Option<Instant>,
    saving: Option<JoinHandle<()>>,
    stop: CancellationToken,
    backoff: Backoff,
}

/// Why a connection ended.
enum Ended {
    Stopped,
    Lost(Status),
    OutOfStep(OutOfStep),
}

/// What happens next while connected.
enum Next {
    Message(Result<Option<pb::WatchResponse>, Status>),
    SaveDue,
    Stop,
}

impl Task {
    async fn run(mut self, stop: CancellationToken) {
        let mut quiet = false;
        loop {
            let began = Instant::now();
            match self.connection(&stop).await {
                Ended::Stopped => break,
                Ended::Lost(status) => {
                    let was_live = self.publish.borrow().live;
                    if was_live || !quiet {
                        tracing::warn!(
                            follower = self.name, code = ?status.code(), reason = status.message(),
                            "the control plane cannot be reached; going on with what is known, and trying again"
                        );
                        quiet = true;
                    }
                }
                Ended::OutOfStep(problem) => {
                    tracing::warn!(follower = self.name, %problem, "asking the control plane for everything again");
                    self.publish.send_if_modified(|state| {
                        Arc::make_mut(state).revision = Revision(0);
                        false
                    });
                }
            }
            self.publish.send_if_modified(|state| {
                let was_live = state.live;
                if was_live {
                    Arc::make_mut(state).live = false;
                }
                was_live
            });
            if began.elapsed() >= GOOD_CONNECTION {
                self.backoff.reset();
                quiet = false;
            }
            if !self.pause(&stop).await {
                break;
            }
        }
        self.save_now().await;
    }

    /// Waits before the next attempt; false when it is time to stop.
    async fn pause(&mut self, stop: &CancellationToken) -> bool {
        let until = Instant::now() + self.backoff.delay();
        loop {
            tokio::select! {
                () = stop.cancelled() => return false,
                () = due(self.save_due()) => self.save(),
                () = sleep_until(until) => return true,
            }
        }
    }

    /// Connects, resumes, and applies what comes until the connection is lost.
    async fn connection(&mut self, stop: &CancellationToken) -> Ended {
        let request = {
            let state = self.publish.borrow();
            pb::WatchRequest {
                view: Some((&self.view).into()),
                since: state.revision.0,
                cluster: state.cluster.map(|cluster| cluster.to_string()).unwrap_or_default(),
            }
        };
        let mut client = self.client.clone();
        let mut messages = tokio::select! {
            () = stop.cancelled() => return Ended::Stopped,
            answer = client.watch(request) => match answer {
                Ok(answer) => answer.into_inner(),
                Err(status) => return Ended::Lost(status),
            },
        };
        let mut parts = Parts::default();
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => Next::Stop,
                message = messages.message() => Next::Message(message),
                () = due(self.save_due()) => Next::SaveDue,
            };
            match next {
                Next::Stop => return Ended::Stopped,
                Next::SaveDue => self.save(),
                Next::Message(Err(status)) => return Ended::Lost(status),
                Next::Message(Ok(None)) => {
                    return Ended::Lost(Status::unavailable("the control plane ended the watch"));
                }
                Next::Message(Ok(Some(message))) => {
                    if let Err(problem) = self.take(&mut parts, message) {
                        return Ended::OutOfStep(problem);
                    }
                }
            }
        }
    }

    fn take(&mut self, parts: &mut Parts, message: pb::WatchResponse) -> Result<(), OutOfStep> {
        let Some(update) = parts.add(message)? else { return Ok(()) };
        let mut result = Ok(());
        self.publish.send_if_modified(|state| {
            let was_live = state.live;
            match Arc::make_mut(state).take(update) {
                Ok(taken) => {
                    if !was_live {
                        let (revision, objects) = (state.revision.0, state.objects.len());
                        tracing::info!(follower = self.name, revision, objects, "the view is live");
                    }
                    for problem in taken.invalid {
                        tracing::error!(
                            follower = self.name,
                            problem,
                            "an object of the view is invalid; its last good value stays"
                        );
                    }
                    taken.changed
                }
                Err(problem) => {
                    result = Err(problem);
                    false
                }
            }
        });
        if result.is_ok() && self.cache.is_some() && self.unsaved_since.is_none() {
            self.unsaved_since = Some(Instant::now());
        }
        result
    }

    /// When the cache is to be written, if there is anything to write and it is not being written.
    fn save_due(&self) -> Option<Instant> {
        let since = self.unsaved_since?;
        let busy = self.saving.as_ref().is_some_and(|saving| !saving.is_finished());
        // While an earlier state is being written this is looked at again a delay later.
        Some(if busy { Instant::now() + CACHE_DELAY } else { since + CACHE_DELAY })
    }

    fn save(&mut self) {
        if self.saving.as_ref().is_some_and(|saving| !saving.is_finished()) {
            return;
        }
        let Some(cache) = self.cache.clone() else { return };
        self.unsaved_since = None;
        self.saving = Some(tokio::spawn(write(cache, self.publish.subscribe(), self.stop.clone())));
    }

    async fn save_now(&mut self) {
        for _ in 0..2 {
            if let Some(saving) = self.saving.take() {
                saving.await.ok();
            }
            if self.unsaved_since.is_some() {
                self.save();
            }
        }
    }
}

/// Writes the newest view until it is on disk, or until it is time to stop.
async fn write(cache: Cache, newest: watch::Receiver<Arc<ViewState>>, stop: CancellationToken) {
    let mut failed = false;
    loop {
        let (state, file) = (newest.borrow().clone(), cache.clone());
        let written = tokio::task::spawn_blocking(move || file.write(&state)).await.map_err(std::io::Error::other);
        let path = cache.path().display();
        match written.flatten() {
            Ok(()) if failed => return tracing::info!(%path, "the view is cached again"),
            Ok(()) => return,
            Err(error) if !failed => {
                tracing::warn!(%path, %error, "the view could not be cached; going on without, and trying again");
                failed = true;
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(CACHE_AGAIN) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Waits until a time; for ever without one.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
