//! Workers: what they offer, what they hold, and what becomes of it when they go.

use super::Engine;
use crate::effect::Message;
use crate::ready::LaneKey;
use orlop_model::durable::{EngineFrame, Hello, WorkerFrame};
use orlop_model::{TaskId, WorkerSessionId, WorkflowRunId};
use std::collections::{BTreeSet, VecDeque};

/// One worker's stream.
pub(super) struct Session {
    pub(super) hello: Hello,
    /// So many tasks it holds at most.
    pub(super) tasks_max: usize,
    /// So many runs it holds at most.
    pub(super) runs_max: usize,
    pub(super) tasks: BTreeSet<TaskId>,
    pub(super) runs: BTreeSet<WorkflowRunId>,
    /// Runs that waited once, the longest ago first; those that do no more are passed over.
    pub(super) idle: VecDeque<WorkflowRunId>,
    /// Numbers of the lanes that it serves.
    pub(super) lanes: Vec<usize>,
    pub(super) leaving: bool,
    /// Ends of tasks that came on this stream.
    pub(super) ends: u64,
    /// Those of them that are not written yet.
    pub(super) ends_open: u64,
}

impl Session {
    pub(super) fn serves(&self, lane: &LaneKey) -> bool {
        let has = |(label, value): (&String, &String)| self.hello.labels.get(label) == Some(value);
        self.hello.queues.contains(&lane.queue) && self.hello.tasks.contains(&lane.name) && lane.labels.iter().all(has)
    }

    pub(super) fn runs_workflow(&self, workflow: &str, version: &str) -> bool {
        let versions = self.hello.workflows.get(workflow);
        versions.is_some_and(|versions| version.is_empty() || versions.contains(version))
    }

    pub(super) fn has_room_for_task(&self) -> bool {
        !self.leaving && self.tasks.len() < self.tasks_max
    }

    pub(super) fn has_room_for_run(&self) -> bool {
        !self.leaving && self.runs.len() < self.runs_max
    }
}

impl Engine {
    pub(super) fn connected(&mut self, id: WorkerSessionId, hello: Hello) {
        let mut session = Session {
            hello,
            tasks_max: 0,
            runs_max: 0,
            tasks: BTreeSet::new(),
            runs: BTreeSet::new(),
            idle: VecDeque::new(),
            lanes: Vec::new(),
            leaving: false,
            ends: 0,
            ends_open: 0,
        };
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            if session.serves(&lane.key) {
                session.lanes.push(number);
                lane.sessions.push_back(id);
            }
        }
        let held = std::mem::take(&mut session.hello.held_tasks);
        self.sessions.insert(id, session);
        let mut kept = held;
        kept.retain(|(task, fence)| self.keep_task(id, *task, *fence));
        let welcome = EngineFrame::Welcome {
            session: id,
            ping: self.options.ping,
            lost_after: self.options.lost_after,
            kept_tasks: kept,
            payload_bytes_max: self.options.payload_bytes_max,
        };
        self.say(Message::ToWorker(id, welcome));
    }

    pub(super) fn disconnected(&mut self, id: WorkerSessionId) {
        let Some(session) = self.sessions.remove(&id) else { return };
        for number in session.lanes {
            self.lanes[number].sessions.retain(|other| *other != id);
        }
        for task in session.tasks {
            self.task_lost(task);
        }
        for run in session.runs {
            self.run_left(run);
        }
    }

    pub(super) fn frame(&mut self, id: WorkerSessionId, frame: WorkerFrame) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        match frame {
            WorkerFrame::Credit { tasks, runs } => {
                session.tasks_max = tasks as usize;
                session.runs_max = runs as usize;
            }
            WorkerFrame::Pong => {}
            WorkerFrame::Leaving => session.leaving = true,
            WorkerFrame::RunAdvanced { run, .. }
            | WorkerFrame::RunReleased { run, .. }
            | WorkerFrame::RunBlocked { run, .. } => self.run_said(id, run, frame),
            // Nobody asks yet.
            WorkerFrame::QueryAnswered { .. } => {}
            WorkerFrame::TaskFinished { task, fence, outcome } => {
                session.ends += 1;
                self.ends_untold.insert(id);
                self.task_finished(id, task, fence, outcome);
            }
            WorkerFrame::TaskReported { task, fence, report } => self.task_reported(id, task, fence, report),
            WorkerFrame::TaskReturned { task, fence } => self.task_returned(id, task, fence),
        }
    }
}
