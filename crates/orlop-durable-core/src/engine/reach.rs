//! What touches several runs is written in one go, so whoever is to hear of it is read first.
//!
//! A run that ends tells who started it and whom it started, and a signal goes from one journal to another. Were the
//! second entry written by a later batch, an engine that dies between the two would leave it out for ever: nobody looks
//! for what a parked run was to be told. So what a worker says of a run waits, and all that it says of that run after it,
//! until the runs that it touches are in memory or known to be over.

use super::Engine;
use super::run::RunInput;
use crate::input::StoredRun;
use orlop_model::durable::WorkerFrame;
use orlop_model::{WorkerSessionId, WorkflowRunId};
use std::collections::{BTreeSet, VecDeque};

/// What was said of a run and waits, the first first.
#[derive(Default)]
pub(super) struct HeldBack {
    frames: VecDeque<(WorkerSessionId, WorkerFrame)>,
    /// The runs that the first one touches; those that are in memory stay there.
    touches: BTreeSet<WorkflowRunId>,
}

impl Engine {
    /// A worker says something about a run.
    pub(super) fn run_said(&mut self, session: WorkerSessionId, id: WorkflowRunId, frame: WorkerFrame) {
        if let Some(held) = self.held_back.get_mut(&id) {
            held.frames.push_back((session, frame));
        } else if let Some(frame) = self.take_run_frame(session, id, frame) {
            self.held_back.entry(id).or_default().frames.push_front((session, frame));
        }
    }

    /// Takes what was said of a run and waits, up to what touches a run that must be read.
    fn go_on_with(&mut self, id: WorkflowRunId) {
        while let Some((session, frame)) = self.held_back.get_mut(&id).and_then(|held| held.frames.pop_front()) {
            if let Some(frame) = self.take_run_frame(session, id, frame) {
                self.held_back.entry(id).or_default().frames.push_front((session, frame));
                return;
            }
        }
        self.held_back.remove(&id);
        if self.held_back.is_empty() {
            self.over.clear();
        }
    }

    /// Takes what was said of a run, or gives it back when it touches runs that must be read, which are.
    fn take_run_frame(
        &mut self,
        session: WorkerSessionId,
        id: WorkflowRunId,
        frame: WorkerFrame,
    ) -> Option<WorkerFrame> {
        let (touches, missing) = self.reach(session, &frame);
        if missing.is_empty() {
            self.do_as_said(session, frame);
            return None;
        }
        self.goes_on_later(id);
        self.held_back.entry(id).or_default().touches = touches;
        for run in missing {
            self.tell_run(run, RunInput::Wake);
        }
        Some(frame)
    }

    fn do_as_said(&mut self, session: WorkerSessionId, frame: WorkerFrame) {
        match frame {
            WorkerFrame::RunAdvanced { run, fence, commands, waiting } => {
                self.run_advanced(session, run, fence, commands, waiting);
            }
            WorkerFrame::RunReleased { run, fence } => self.run_released(session, run, fence),
            WorkerFrame::RunBlocked { run, fence, cause, message } => {
                self.run_blocked(session, run, fence, cause, message);
            }
            _ => {}
        }
    }

    /// The runs that what was said touches, and of them those that must be read first.
    fn reach(&self, session: WorkerSessionId, frame: &WorkerFrame) -> (BTreeSet<WorkflowRunId>, Vec<WorkflowRunId>) {
        let WorkerFrame::RunAdvanced { run, fence, commands, .. } = frame else { return Default::default() };
        let touches: BTreeSet<_> = self.touched_by(session, *run, *fence, commands);
        let touches: BTreeSet<_> = touches.into_iter().map(|run| self.follow(run)).collect();
        let is_missing = |run: &&WorkflowRunId| !self.runs.contains_key(run) && !self.over.contains_key(run);
        let missing = touches.iter().filter(is_missing).copied().collect();
        (touches, missing)
    }

    /// The run that goes on in the place of this one, as far as is known, or itself.
    pub(super) fn follow(&self, mut id: WorkflowRunId) -> WorkflowRunId {
        while !self.runs.contains_key(&id)
            && let Some(Some(next)) = self.over.get(&id)
        {
            id = *next;
        }
        id
    }

    /// Whether something that was said is to reach the run as soon as others are read.
    pub(super) fn is_touched(&self, id: WorkflowRunId) -> bool {
        self.held_back.values().any(|held| held.touches.contains(&id))
    }

    /// Notes that a run that was read is over, or was never there, for those that wait for it.
    pub(super) fn note_over(&mut self, id: WorkflowRunId, stored: Option<&StoredRun>) {
        if !self.held_back.is_empty() && stored.is_none_or(|stored| !stored.status.is_open()) {
            self.over.insert(id, stored.and_then(StoredRun::goes_on));
        }
    }

    /// A run was read.
    pub(super) fn go_on_with_those_that_touch(&mut self, id: WorkflowRunId) {
        let waiting = self.held_back.iter().filter(|(_, held)| held.touches.contains(&id));
        for run in waiting.map(|(run, _)| *run).collect::<Vec<_>>() {
            self.go_on_with(run);
        }
    }
}
