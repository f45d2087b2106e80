//! The actor of a run: it owns the run's machine and its steps.

use crate::replay::{Advance, Machine, StepEnd, StepToRun};
use crate::task::{Chain, Invocation, InvocationKind};
use crate::workflow::Definition;
use orlop_model::durable::{CommandNumber, Entry, Fence, Seq, WorkerFrame};
use orlop_model::{Timestamp, WorkflowRunId};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::{AbortHandle, JoinSet};

/// What the engine, or the worker, has for a run.
pub(super) enum RunNews {
    Entries(Vec<Entry>),
    Appended {
        first: Seq,
        count: u32,
        at: Timestamp,
    },
    /// Give the run back as soon as it waits.
    Leave,
}

/// What a run has for its stream.
pub(super) struct FromRun {
    pub(super) run: WorkflowRunId,
    pub(super) fence: Fence,
    /// None is the last.
    pub(super) frame: Option<WorkerFrame>,
}

/// A run on one stream.
pub(super) struct RunActor {
    pub(super) run: WorkflowRunId,
    pub(super) fence: Fence,
    pub(super) definition: Definition,
    pub(super) chain: Chain,
    pub(super) payload_bytes_max: u64,
    pub(super) to_stream: UnboundedSender<FromRun>,
    pub(super) busy: Arc<Busy>,
}

/// Since when the workflow's own code runs without a pause.
#[derive(Default)]
pub(super) struct Busy(Mutex<Option<Instant>>);

impl Busy {
    /// For how long, if it does.
    pub(super) fn lasts(&self) -> Option<Duration> {
        self.0.lock().map(|since| since.elapsed())
    }

    fn around<T>(&self, work: impl FnOnce() -> T) -> T {
        *self.0.lock() = Some(Instant::now());
        let done = work();
        *self.0.lock() = None;
        done
    }
}

impl RunActor {
    /// Drives the run until it is over here: ended, blocked, given back, or forgotten.
    pub(super) async fn drive(self, journal: Vec<Entry>, mut inbox: UnboundedReceiver<RunNews>) {
        let foreign = Arc::new(Notify::new());
        let told = foreign.clone();
        let told = move || told.notify_one();
        let mut machine = Machine::new(self.run, self.definition.clone(), self.payload_bytes_max, told);
        let mut steps = Steps { running: JoinSet::new(), handles: BTreeMap::new() };
        let mut leaving = false;
        let busy = self.busy.clone();
        let mut advance = busy.around(|| machine.replay(journal));
        loop {
            if !self.act(advance, &mut steps) {
                break;
            }
            if leaving && machine.is_waiting() {
                self.send(WorkerFrame::RunReleased { run: self.run, fence: self.fence });
                break;
            }
            advance = tokio::select! {
                news = inbox.recv() => match news {
                    None => return,
                    Some(RunNews::Entries(entries)) => busy.around(|| machine.entries(entries)),
                    Some(RunNews::Appended { first, count, at }) => busy.around(|| machine.appended(first, count, at)),
                    Some(RunNews::Leave) => {
                        leaving = true;
                        Advance::default()
                    }
                },
                Some(end) = steps.running.join_next() => match end {
                    Ok(end) => {
                        steps.handles.remove(&end.number);
                        machine.step_ended(end, Timestamp::from(SystemTime::now()), rand::random())
                    }
                    // It was called off.
                    Err(_) => Advance::default(),
                },
                () = foreign.notified() => machine.foreign_wake(),
            };
        }
        self.to_engine(None);
    }

    /// Does what is to be done; whether the run goes on here.
    fn act(&self, advance: Advance, steps: &mut Steps) -> bool {
        let (run, fence) = (self.run, self.fence);
        for number in &advance.abandoned {
            if let Some(handle) = steps.handles.remove(number) {
                handle.abort();
            }
        }
        for step in &advance.steps {
            let handle = steps.running.spawn(attempt(run, step.clone(), self.chain.clone()));
            steps.handles.insert(step.number, handle);
        }
        if let Some(blocked) = advance.blocked {
            tracing::error!(%run, cause = ?blocked.cause, "{}", blocked.message);
            self.send(WorkerFrame::RunBlocked { run, fence, cause: blocked.cause, message: blocked.message });
            return false;
        }
        if advance.is_for_engine() {
            let Advance { commands, waiting, .. } = advance;
            self.send(WorkerFrame::RunAdvanced { run, fence, commands, waiting });
        }
        !advance.ended
    }

    fn send(&self, frame: WorkerFrame) {
        self.to_engine(Some(frame));
    }

    fn to_engine(&self, frame: Option<WorkerFrame>) {
        // A stream that is gone has forgotten the run.
        let _ = self.to_stream.send(FromRun { run: self.run, fence: self.fence, frame });
    }
}

struct Steps {
    running: JoinSet<StepEnd>,
    handles: BTreeMap<CommandNumber, AbortHandle>,
}

/// One attempt of a step.
async fn attempt(run: WorkflowRunId, step: StepToRun, chain: Chain) -> StepEnd {
    let wait = step.not_before - Timestamp::from(SystemTime::now());
    if wait.0 > 0 {
        tokio::time::sleep(Duration::from(wait)).await;
    }
    let began_at = Timestamp::from(SystemTime::now());
    let (number, attempt) = (step.number, step.attempt);
    let invocation = Invocation {
        kind: InvocationKind::Step,
        name: step.name.clone(),
        id: run.to_string(),
        attempt,
        input: Default::default(),
        traceparent: String::new(),
    };
    let result = chain.run(invocation, move |_| step.start()).await;
    StepEnd { number, attempt, began_at, result }
}
