//! What people want to see of it.

use super::task::State;
use super::{Engine, run};
use orlop_model::durable::{Hello, QueueName, Waiting};
use orlop_model::{TaskId, Timestamp, WorkerSessionId, WorkflowRunId};
use std::collections::BTreeMap;

/// A worker that is connected.
#[derive(Debug, Clone)]
pub struct WorkerView {
    /// Its stream.
    pub session: WorkerSessionId,
    /// What it is and has.
    pub hello: Hello,
    /// Tasks that it holds.
    pub tasks: usize,
    /// Runs that it holds.
    pub runs: usize,
}

/// A queue with open tasks.
#[derive(Debug, Clone, Default)]
pub struct QueueView {
    /// Tasks that wait for a worker.
    pub ready: u64,
    /// Tasks that a worker holds.
    pub running: u64,
    /// Tasks whose time has not come.
    pub delayed: u64,
    /// Since when the oldest waits for a worker.
    pub oldest_ready: Option<Timestamp>,
}

/// Where an open run is.
#[derive(Debug, Clone, Default)]
pub struct RunView {
    /// The worker that has it.
    pub worker: Option<String>,
    /// What it waits for; none when it goes on.
    pub waiting: Option<Waiting>,
    /// No worker that could have it is connected.
    pub unserved: bool,
}

/// Where an open task is.
#[derive(Debug, Clone)]
pub enum TaskView {
    /// Its time has not come.
    Delayed,
    /// It waits for a worker, and why.
    Ready {
        /// For people.
        reason: String,
    },
    /// A worker has it.
    Running {
        /// What the worker is called.
        worker: String,
    },
}

impl Engine {
    /// The workers that are connected.
    pub fn workers(&self) -> Vec<WorkerView> {
        let view = |(id, session): (&WorkerSessionId, &super::session::Session)| WorkerView {
            session: *id,
            hello: session.hello.clone(),
            tasks: session.tasks.len(),
            runs: session.runs.len(),
        };
        self.sessions.iter().map(view).collect()
    }

    /// The queues with open tasks.
    pub fn queues(&self) -> BTreeMap<QueueName, QueueView> {
        let mut queues: BTreeMap<QueueName, QueueView> = BTreeMap::new();
        for task in self.tasks.values() {
            let queue = queues.entry(task.row.options.queue.clone()).or_default();
            match task.state {
                State::Delayed => queue.delayed += 1,
                State::Held(_) | State::Ending(_) => queue.running += 1,
                State::Ready(since) => {
                    queue.ready += 1;
                    queue.oldest_ready = Some(queue.oldest_ready.map_or(since, |oldest| oldest.min(since)));
                }
            }
        }
        queues
    }

    /// Where a run is that is in memory.
    pub fn run_view(&self, id: WorkflowRunId) -> Option<RunView> {
        let run: &run::Run = self.runs.get(&id)?;
        let name = |session: WorkerSessionId| self.sessions.get(&session).map(|session| session.hello.name.clone());
        let (workflow, version) = (&run.row.workflow, &run.row.version);
        Some(RunView {
            worker: run.session().and_then(name),
            waiting: run.waiting().cloned(),
            unserved: !self.sessions.values().any(|session| session.runs_workflow(workflow, version)),
        })
    }

    /// Where an open task is.
    pub fn task_view(&self, id: TaskId) -> Option<TaskView> {
        let task = self.tasks.get(&id)?;
        Some(match task.state {
            State::Delayed => TaskView::Delayed,
            State::Ending(_) => TaskView::Running { worker: String::new() },
            State::Held(held) => {
                let session = self.sessions.get(&held.session);
                TaskView::Running { worker: session.map(|session| session.hello.name.clone()).unwrap_or_default() }
            }
            State::Ready(_) => TaskView::Ready { reason: self.why_not_running(id) },
        })
    }

    fn why_not_running(&self, id: TaskId) -> String {
        let Some(lane) = self.tasks.get(&id).map(|task| &self.lanes[task.lane()]) else { return String::new() };
        if !lane.sessions.is_empty() {
            return format!("all {} workers that could run it are busy", lane.sessions.len());
        }
        let key = &lane.key;
        let of_queue: Vec<_> = self.sessions.values().filter(|s| s.hello.queues.contains(&key.queue)).collect();
        if of_queue.is_empty() {
            return format!("no worker takes tasks from the queue {}", key.queue);
        }
        if !of_queue.iter().any(|session| session.hello.tasks.contains(&key.name)) {
            return format!("no worker of the queue {} has the task {}", key.queue, key.name);
        }
        let labels: Vec<String> = key.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("no worker that has it carries the labels {}", labels.join(", "))
    }
}
