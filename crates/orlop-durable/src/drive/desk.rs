//! Where answers and frames are handed out.

use orlop_durable_core::{Refusal, Reply, Ticket};
use orlop_model::WorkerSessionId;
use orlop_model::durable::EngineFrame;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// What the engine says to one worker.
pub(crate) type Frames = mpsc::UnboundedReceiver<EngineFrame>;
type Answer = Result<Reply, Refusal>;

/// Who waits for what. Closed for good by [`Desk::clear`].
#[derive(Default)]
pub(crate) struct Desk {
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    closed: bool,
    answers: HashMap<Ticket, oneshot::Sender<Answer>>,
    workers: HashMap<WorkerSessionId, mpsc::UnboundedSender<EngineFrame>>,
}

impl Desk {
    fn inside<T>(&self, act: impl FnOnce(&mut Inside) -> T) -> T {
        act(&mut self.inside.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn open(&self, ticket: Ticket) -> Option<oneshot::Receiver<Answer>> {
        let (tell, told) = oneshot::channel();
        self.inside(|inside| {
            (!inside.closed).then(|| {
                inside.answers.insert(ticket, tell);
                told
            })
        })
    }

    pub(super) fn withdraw(&self, ticket: Ticket) {
        self.inside(|inside| inside.answers.remove(&ticket));
    }

    pub(super) fn connect(&self, session: WorkerSessionId) -> Option<Frames> {
        let (frames, outbox) = mpsc::unbounded_channel();
        self.inside(|inside| {
            (!inside.closed).then(|| {
                inside.workers.insert(session, frames);
                outbox
            })
        })
    }

    /// The stream ended.
    pub(crate) fn disconnect(&self, session: WorkerSessionId) {
        self.inside(|inside| inside.workers.remove(&session));
    }

    pub(super) fn answer(&self, ticket: Ticket, answer: Answer) {
        if let Some(waiting) = self.inside(|inside| inside.answers.remove(&ticket)) {
            waiting.send(answer).ok();
        }
    }

    pub(super) fn frame(&self, session: WorkerSessionId, frame: EngineFrame) {
        self.inside(|inside| {
            if let Some(worker) = inside.workers.get(&session) {
                worker.send(frame).ok();
            }
        });
    }

    /// Nothing comes any more: who waits hears so.
    pub(super) fn clear(&self) {
        self.inside(|inside| *inside = Inside { closed: true, ..Inside::default() });
    }
}
