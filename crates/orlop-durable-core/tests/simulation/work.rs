//! What workers do in the world, and what becomes of their streams.

use crate::Check;
use crate::world::World;
use orlop_durable_core::Input;
use orlop_model::WorkerSessionId;
use orlop_model::durable::WorkerFrame;

impl World {
    /// It hears some of what was said to it, or opens a stream if it has noticed that it has none.
    pub(crate) fn worker_hears(&mut self, number: usize) -> Check {
        if self.workers[number].session.is_none() {
            self.connect(number);
            return Ok(());
        }
        let most = self.chance.between(1, 6);
        for _ in 0..most {
            let Some(frame) = self.workers[number].hears.pop_front() else { break };
            self.tell(|| format!("worker {number} hears {frame:?}"));
            self.workers[number].hear(frame)?;
        }
        // It looks whether its stream is still there.
        let session = self.workers[number].session;
        let is_open = session.is_some_and(|session| self.life.sessions.contains_key(&session));
        if !is_open && self.chance.per_mille(400) {
            self.workers[number].session = None;
        }
        Ok(())
    }

    pub(crate) fn connect(&mut self, number: usize) {
        self.streams += 1;
        let session = WorkerSessionId::from_u128(self.streams);
        let hello = self.workers[number].connect(session);
        if !hello.held_tasks.is_empty() {
            self.did("came back with tasks");
        }
        self.life.sessions.insert(session, number);
        self.life.inbox.push_back(Input::Connected(session, Box::new(hello)));
    }

    pub(crate) fn worker_works(&mut self, number: usize) {
        let now = self.now;
        if self.workers[number].work(now, &mut self.chance) {
            self.did("step or task ended");
        }
        // Whoever noticed that a stream is gone says so.
        if self.chance.per_mille(300) {
            self.say_who_is_gone();
        }
    }

    /// The engine hears of streams that are no more.
    pub(crate) fn say_who_is_gone(&mut self) -> bool {
        let gone = std::mem::take(&mut self.life.gone);
        let any = !gone.is_empty();
        self.life.inbox.extend(gone.into_iter().map(Input::Disconnected));
        any
    }

    /// Its stream is gone. The worker notices now or later, and so does the engine.
    pub(crate) fn break_stream(&mut self, number: usize) {
        let Some(session) = self.workers[number].session else { return };
        if self.life.sessions.remove(&session).is_none() {
            return;
        }
        self.did("stream broken");
        self.life.gone.push(session);
        if self.chance.per_mille(300) {
            self.workers[number].session = None;
        }
        if self.chance.per_mille(500) {
            self.say_who_is_gone();
        }
    }

    /// It wants no more work for now.
    pub(crate) fn worker_leaves(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        if worker.session.is_some() && !worker.leaving {
            worker.leaving = true;
            worker.says.push_back(WorkerFrame::Leaving);
            self.did("worker leaving");
        }
    }
}
