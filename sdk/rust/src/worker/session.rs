//! One stream of a worker, from its Hello to its end.

use super::Error;
use super::builder::Parts;
use super::held::HeldTasks;
use super::opening::Opening;
use super::outgoing::Outgoing;
use super::run::{Busy, FromRun, RunActor, RunNews};
use crate::task::TaskNews;
use futures::future::pending;
use orlop_model::WorkflowRunId;
use orlop_model::durable::{BlockCause, EngineFrame, Entry, Failure, FailureCause, Fence, Hello, Outcome, WorkerFrame};
use orlop_proto::engine::v1 as pb;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::Endpoint;

/// How long the engine may take to welcome a worker, and to take what it says last.
const PATIENCE: Duration = Duration::from_secs(10);
/// A workflow whose own code runs for so long without a pause is stuck.
const STUCK: Duration = Duration::from_secs(10);

/// How a stream ended that was open.
pub(super) enum Ended {
    /// The worker was stopped, and has nothing left.
    Left,
    /// It is to connect again.
    Lost(Error),
}

/// One stream.
pub(super) struct Session<'a> {
    parts: &'a Parts,
    held: &'a mut HeldTasks,
    outgoing: Outgoing,
    runs: BTreeMap<WorkflowRunId, HeldRun>,
    to_stream: UnboundedSender<FromRun>,
    payload_bytes_max: u64,
    lost_after: Duration,
    leaving: Option<Instant>,
}

struct HeldRun {
    fence: Fence,
    workflow: String,
    state: RunState,
    busy: Arc<Busy>,
}

enum RunState {
    /// Its journal comes in parts.
    Gathering(Vec<Entry>),
    Driven(UnboundedSender<RunNews>),
}

impl<'a> Session<'a> {
    /// Opens a stream and works until it ends.
    pub(super) async fn open(
        endpoint: &Endpoint,
        hello: &Hello,
        parts: &'a Parts,
        held: &'a mut HeldTasks,
        news: &mut UnboundedReceiver<TaskNews>,
        stop: &CancellationToken,
    ) -> Result<Ended, Error> {
        if stop.is_cancelled() && !held.is_busy() {
            return Ok(Ended::Left);
        }
        let hello = Hello { held_tasks: held.announced(), ..hello.clone() };
        let opening = timeout(PATIENCE, Opening::of(endpoint, hello)).await;
        let opening = opening.map_err(|_| Error::Lost("the engine did not welcome the worker in time"))??;
        let Opening { requests, responses, session, lost_after, kept_tasks, payload_bytes_max, frames } = opening;
        tracing::info!(%session, "connected");
        held.keep(&kept_tasks);
        let (to_stream, from_runs) = mpsc::unbounded_channel();
        let mut opened = Session {
            parts,
            held,
            outgoing: Outgoing::default(),
            runs: BTreeMap::new(),
            to_stream,
            payload_bytes_max,
            lost_after: Duration::from(lost_after),
            leaving: None,
        };
        opened.outgoing.push(WorkerFrame::Credit { tasks: parts.concurrency, runs: parts.cached_runs });
        let worked = async {
            for frame in frames {
                opened.take(frame)?;
            }
            opened.work(requests, responses, from_runs, news, stop).await
        };
        Ok(worked.await.unwrap_or_else(Ended::Lost))
    }

    async fn work(
        &mut self,
        requests: mpsc::Sender<pb::WorkRequest>,
        mut responses: Streaming<pb::WorkResponse>,
        mut from_runs: UnboundedReceiver<FromRun>,
        news: &mut UnboundedReceiver<TaskNews>,
        stop: &CancellationToken,
    ) -> Result<Ended, Error> {
        // The engine pings three times before it counts a worker as lost; a worker waits longer than it.
        let mut heard = Instant::now();
        let mut given_back = false;
        loop {
            self.held.flush(&mut self.outgoing);
            if self.leaving.is_some() && !self.held.is_busy() && self.runs.is_empty() && self.outgoing.is_empty() {
                return Ok(finish(requests, responses).await);
            }
            tokio::select! {
                permit = requests.reserve(), if !self.outgoing.is_empty() => {
                    permit.map_err(|_| Error::Lost("it takes nothing more"))?.send(self.outgoing.take());
                }
                message = responses.message() => {
                    heard = Instant::now();
                    let message = message?.ok_or(Error::Lost("the engine closed it"))?;
                    for frame in message.frames {
                        self.take(frame)?;
                    }
                }
                Some(first) = news.recv() => {
                    self.held.note(first);
                    while let Ok(more) = news.try_recv() {
                        self.held.note(more);
                    }
                }
                Some(first) = from_runs.recv() => {
                    self.take_from_run(first);
                    while let Ok(more) = from_runs.try_recv() {
                        self.take_from_run(more);
                    }
                }
                () = stop.cancelled(), if self.leaving.is_none() => self.leave(),
                () = until(self.leaving) => {
                    if std::mem::replace(&mut given_back, true) {
                        return Ok(Ended::Left);
                    }
                    self.leaving = Some(Instant::now() + PATIENCE);
                    self.held.give_back(&mut self.outgoing);
                    for (run, held) in std::mem::take(&mut self.runs) {
                        self.outgoing.push(WorkerFrame::RunReleased { run, fence: held.fence });
                    }
                }
                () = sleep_until(heard + self.lost_after * 2) => return Err(Error::Lost("nothing comes over it")),
            }
        }
    }

    /// Takes nothing new, and waits for what there is.
    fn leave(&mut self) {
        self.leaving = Some(Instant::now() + self.parts.grace);
        self.outgoing.push(WorkerFrame::Leaving);
        for held in self.runs.values() {
            if let RunState::Driven(inbox) = &held.state {
                // A run that is over leaves anyway.
                let _ = inbox.send(RunNews::Leave);
            }
        }
    }

    fn take_from_run(&mut self, FromRun { run, fence, frame }: FromRun) {
        if self.runs.get(&run).is_some_and(|held| held.fence == fence) {
            match frame {
                Some(frame) => self.outgoing.push(frame),
                None => drop(self.runs.remove(&run)),
            }
        }
    }

    fn take(&mut self, frame: pb::EngineFrame) -> Result<(), Error> {
        match EngineFrame::try_from(frame)? {
            EngineFrame::Welcome { .. } => return Err(Error::Unreadable("a second welcome".into())),
            EngineFrame::Ping => {
                self.outgoing.push(WorkerFrame::Pong);
                self.block_stuck();
            }
            EngineFrame::Leaving => tracing::info!("the engine is going to stop"),
            EngineFrame::EndsTaken { count } => self.held.forget_taken(count),
            EngineFrame::RunAssigned { run, fence, workflow, entries, more } => {
                self.runs.insert(
                    run,
                    HeldRun { fence, workflow, state: RunState::Gathering(entries), busy: Arc::default() },
                );
                if !more {
                    self.drive(run);
                }
            }
            EngineFrame::RunEntries { run, fence, entries, more } => self.entries(run, fence, entries, more),
            EngineFrame::RunAppended { run, fence, first, count, at } => {
                self.tell(run, fence, RunNews::Appended { first, count, at });
            }
            EngineFrame::RunEvicted { run, fence, reason } => {
                if self.runs.get(&run).is_some_and(|held| held.fence == fence) {
                    tracing::debug!(%run, reason, "evicted");
                    self.runs.remove(&run);
                }
            }
            EngineFrame::Query { query, name, .. } => {
                let failure = Failure::new(FailureCause::Returned, format!("nothing answers the question {name:?}"));
                self.outgoing.push(WorkerFrame::QueryAnswered { query, outcome: Outcome::Failed(failure) });
            }
            EngineFrame::TaskAssigned(assigned) => {
                let code = self.parts.tasks.get(&assigned.name).cloned();
                self.held.begin(*assigned, code, self.payload_bytes_max);
            }
            EngineFrame::TaskCancelled { task, fence, reason } => self.held.cancel(task, fence, reason),
        }
        Ok(())
    }

    /// Workflows that do not yield are given up; the thread that runs them is lost with them.
    fn block_stuck(&mut self) {
        let stuck = |held: &HeldRun| held.busy.lasts().filter(|lasts| *lasts >= STUCK);
        let stuck: Vec<_> = self.runs.iter().filter_map(|(run, held)| Some((*run, held.fence, stuck(held)?))).collect();
        for (run, fence, lasts) in stuck {
            let message = format!(
                "the workflow's own code ran for {} s without a pause: it loops, or waits for something without await. \
                 Long work belongs into a step or a task",
                lasts.as_secs()
            );
            tracing::error!(%run, "{message}");
            self.outgoing.push(WorkerFrame::RunBlocked { run, fence, cause: BlockCause::Stuck, message });
            self.runs.remove(&run);
        }
    }

    fn entries(&mut self, run: WorkflowRunId, fence: Fence, entries: Vec<Entry>, more: bool) {
        let held = self.runs.get_mut(&run).filter(|held| held.fence == fence);
        let Some(held) = held else { return };
        match &mut held.state {
            RunState::Driven(inbox) => {
                // An actor that is gone has said so, and that is on its way here.
                let _ = inbox.send(RunNews::Entries(entries));
            }
            RunState::Gathering(journal) => {
                journal.extend(entries);
                if !more {
                    self.drive(run);
                }
            }
        }
    }

    fn tell(&mut self, run: WorkflowRunId, fence: Fence, news: RunNews) {
        if let Some(held) = self.runs.get(&run).filter(|held| held.fence == fence)
            && let RunState::Driven(inbox) = &held.state
        {
            // As above.
            let _ = inbox.send(news);
        }
    }

    /// The whole journal is here.
    fn drive(&mut self, run: WorkflowRunId) {
        let Some(held) = self.runs.get_mut(&run) else { return };
        let fence = held.fence;
        let Some(definition) = self.parts.workflows.get(&held.workflow).cloned() else {
            let message = format!("this worker has no workflow {:?}", held.workflow);
            self.outgoing.push(WorkerFrame::RunBlocked { run, fence, cause: BlockCause::Mismatch, message });
            self.runs.remove(&run);
            return;
        };
        let (inbox, received) = mpsc::unbounded_channel();
        let state = std::mem::replace(&mut held.state, RunState::Driven(inbox.clone()));
        let RunState::Gathering(journal) = state else { return };
        let actor = RunActor {
            run,
            fence,
            definition,
            chain: self.parts.chain.clone(),
            payload_bytes_max: self.payload_bytes_max,
            to_stream: self.to_stream.clone(),
            busy: held.busy.clone(),
        };
        tokio::spawn(actor.drive(journal, received));
        if self.leaving.is_some() {
            // As above.
            let _ = inbox.send(RunNews::Leave);
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

/// Says no more, and waits until the engine has heard all.
async fn finish(requests: mpsc::Sender<pb::WorkRequest>, mut responses: Streaming<pb::WorkResponse>) -> Ended {
    drop(requests);
    let closed = async { while let Ok(Some(_)) = responses.message().await {} };
    let _ = timeout(PATIENCE, closed).await;
    Ended::Left
}
