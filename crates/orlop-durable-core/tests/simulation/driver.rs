//! One life of the engine, driven as in production: inputs are taken in batches, what they lead to is written later, many
//! batches as one, and only then said and read. The engine, and all that is not written, may be gone at any moment.

use crate::said::is_durable;
use crate::world::{Mutation, World};
use crate::{Check, ensure};
use orlop_durable_core::{Effects, Engine, Input, Load, Message, Options};
use orlop_model::WorkerSessionId;
use orlop_model::durable::{EngineFrame, WorkerFrame};
use std::collections::{BTreeMap, VecDeque};

/// What dies with the engine.
pub(crate) struct Life {
    pub(crate) engine: Engine,
    pub(crate) inbox: VecDeque<Input>,
    batches: VecDeque<Effects>,
    loads: Vec<Load>,
    /// What was read and has not come back yet.
    read: Vec<Input>,
    /// Streams that are open, with their workers.
    pub(crate) sessions: BTreeMap<WorkerSessionId, usize>,
    /// Streams that are not, of which the engine does not know.
    pub(crate) gone: Vec<WorkerSessionId>,
}

impl Life {
    pub(crate) fn of(engine: Engine) -> Self {
        Self {
            engine,
            inbox: VecDeque::new(),
            batches: VecDeque::new(),
            loads: Vec::new(),
            read: Vec::new(),
            sessions: BTreeMap::new(),
            gone: Vec::new(),
        }
    }
}

impl World {
    /// An engine begins over what is in the store.
    pub(crate) fn new_life(&mut self) -> Life {
        let (epoch, recovered) = self.store.take_over();
        let options = Options { epoch, seed: self.chance.next(), ..Options::default() };
        self.said.begin_anew(&self.store, self.now);
        let mut life = Life::of(Engine::new(options, recovered, self.now));
        life.batches.push_back(life.engine.take_effects());
        life
    }

    /// The engine takes at most so many inputs, and leaves one batch.
    pub(crate) fn take(&mut self, most: usize) -> Check<bool> {
        let mut batch = Effects::default();
        let mut taken = 0;
        while taken < most {
            let is_due = self.life.engine.next_deadline().is_some_and(|at| at <= self.now);
            let input = match self.life.inbox.pop_front() {
                Some(input) => input,
                None if is_due => Input::Tick,
                None => break,
            };
            taken += 1;
            self.tell(|| format!("takes {input:?}"));
            let (mut left, mut end) = (None, None);
            match &input {
                Input::Frame(session, WorkerFrame::Credit { tasks, runs }) => {
                    self.said.gave_credit(*session, *tasks, *runs);
                }
                Input::Frame(_, WorkerFrame::TaskFinished { task, fence, .. }) => end = Some((*task, *fence)),
                Input::Disconnected(session) => left = Some(*session),
                _ => {}
            }
            self.life.engine.handle(input, self.now);
            let effects = self.life.engine.take_effects();
            self.said.decided(&effects)?;
            if let Some(session) = left {
                self.said.left(session);
            }
            if let Some((task, fence)) = end {
                self.said.heard_end(task, fence, &effects);
            }
            self.said.within_credit(&self.life.engine)?;
            batch.writes.extend(effects.writes);
            batch.messages.extend(effects.messages);
            batch.loads.extend(effects.loads);
        }
        if self.mutation == Mutation::SpeaksEarly {
            let messages = std::mem::take(&mut batch.messages);
            self.speak(messages)?;
        }
        if !batch.is_empty() {
            self.life.batches.push_back(batch);
        }
        Ok(taken > 0)
    }

    /// At most so many batches are written in one transaction, and what they say is said.
    pub(crate) fn commit(&mut self, most: usize) -> Check<bool> {
        let mut all = Effects::default();
        let count = most.min(self.life.batches.len());
        for batch in self.life.batches.drain(..count) {
            all.writes.extend(batch.writes);
            all.messages.extend(batch.messages);
            all.loads.extend(batch.loads);
        }
        self.write(&all)?;
        self.speak(all.messages)?;
        self.life.loads.extend(all.loads);
        Ok(count > 0)
    }

    fn write(&mut self, effects: &Effects) -> Check {
        if effects.writes.is_empty() {
            return Ok(());
        }
        if self.mutation == Mutation::LosesCommit {
            self.before = Some(self.store.clone());
        }
        for write in &effects.writes {
            self.tell(|| format!("writes {write:?}"));
        }
        self.store.commit(&effects.writes)
    }

    fn speak(&mut self, messages: Vec<Message>) -> Check {
        for message in messages {
            self.tell(|| format!("says {message:?}"));
            match message {
                Message::ToWorker(session, frame) => {
                    is_durable(&self.store, &frame)?;
                    let worker = self.life.sessions.get(&session).map(|number| &mut self.workers[*number]);
                    if let Some(worker) = worker.filter(|worker| worker.session == Some(session)) {
                        if let EngineFrame::EndsTaken { count } = frame {
                            self.said.takes(&self.store, session, worker.takes(count))?;
                        }
                        worker.hears.push_back(frame);
                    }
                }
                Message::Close(session, reason) => return Err(format!("{session} is closed: {reason}")),
                Message::Reply(ticket, reply) => self.answered(ticket, reply)?,
            }
        }
        Ok(())
    }

    /// Something is read, or what was read comes back; in any order.
    pub(crate) fn read(&mut self) -> bool {
        let comes_back = self.life.loads.is_empty() || self.chance.per_mille(500);
        if comes_back && !self.life.read.is_empty() {
            let which = self.chance.below(self.life.read.len());
            let input = self.life.read.swap_remove(which);
            self.life.inbox.push_back(input);
            return true;
        }
        if self.life.loads.is_empty() {
            return false;
        }
        let which = self.chance.below(self.life.loads.len());
        let load = self.life.loads.swap_remove(which);
        if self.mutation == Mutation::ForgetsReads && self.chance.per_mille(300) {
            return true;
        }
        self.did("rows read");
        self.life.read.push(match load {
            Load::Run(run) => Input::RunLoaded(run, self.store.runs.get(&run).cloned().map(Box::new)),
            Load::Task(task) => Input::TaskLoaded(task, self.store.outcome_of(task)),
        });
        true
    }

    /// The engine dies, and another one begins.
    pub(crate) fn crash(&mut self) -> Check {
        self.did("engine died");
        // Some of what it decided is still written, and what that says is not said any more.
        let written = self.chance.below(self.life.batches.len() + 1);
        let mut all = Effects::default();
        self.life.batches.drain(..written).for_each(|batch| all.writes.extend(batch.writes));
        self.write(&all)?;
        if self.mutation == Mutation::LosesCommit
            && let Some(before) = self.before.take()
        {
            let epoch = std::mem::replace(&mut self.store, before).epoch;
            self.store.epoch = epoch;
        }
        self.tell(|| "the engine dies".into());
        self.life = self.new_life();
        self.nobody_answers();
        ensure!(self.life.sessions.is_empty(), "a new engine has no streams");
        Ok(())
    }

    /// What a worker says comes to the engine, if its stream is open.
    pub(crate) fn carry(&mut self, number: usize) -> bool {
        let Some(frame) = self.workers[number].say() else { return false };
        let session = self.workers[number].session.filter(|session| self.life.sessions.contains_key(session));
        let Some(session) = session else { return true };
        let (session, frame) = match self.mutation {
            Mutation::IgnoresFences => self.as_if_held(session, frame),
            _ => (session, frame),
        };
        self.life.inbox.push_back(Input::Frame(session, frame));
        true
    }

    /// What is said about a run is taken for the word of who holds it.
    fn as_if_held(&self, session: WorkerSessionId, mut frame: WorkerFrame) -> (WorkerSessionId, WorkerFrame) {
        let holder = match &mut frame {
            WorkerFrame::RunAdvanced { run, fence, .. } => self.said.runs.get(run).map(|held| (held, fence)),
            WorkerFrame::TaskFinished { task, fence, .. } => self.said.tasks.get(task).map(|held| (held, fence)),
            _ => None,
        };
        let Some(((holder, newest), fence)) = holder else { return (session, frame) };
        *fence = *newest;
        (*holder, frame)
    }
}
