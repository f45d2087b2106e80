//! A worker: it holds runs and tasks, and may be slow, wrong about its stream, and late.

use crate::machine::Machine;
use crate::{Check, ensure};
use orlop_history::chance::Chance;
use orlop_model::durable::{
    BlockCause, EngineFrame, Entry, Failure, FailureCause, Fence, Hello, Outcome, Payload, TaskReport, WorkerFrame,
};
use orlop_model::{TaskId, Timestamp, WorkerSessionId, WorkflowRunId};
use std::collections::{BTreeMap, VecDeque};

/// A run that it has.
pub(crate) struct Held {
    pub(crate) fence: Fence,
    pub(crate) machine: Machine,
}

/// A task that it has.
pub(crate) struct Job {
    pub(crate) fence: Fence,
    cancelled: bool,
    /// How it ended, which may have to be said again.
    pub(crate) end: Option<Outcome>,
}

/// A worker.
pub(crate) struct Worker {
    pub(crate) hello: Hello,
    pub(crate) tasks_max: u32,
    pub(crate) runs_max: u32,
    /// The stream that it believes to have.
    pub(crate) session: Option<WorkerSessionId>,
    pub(crate) hears: VecDeque<EngineFrame>,
    pub(crate) says: VecDeque<WorkerFrame>,
    pub(crate) runs: BTreeMap<WorkflowRunId, Held>,
    pub(crate) jobs: BTreeMap<TaskId, Job>,
    /// Ends of tasks that went out on this stream, and are not known to be taken, and how many are.
    sent: VecDeque<(TaskId, Fence)>,
    taken: u64,
    /// What it said once.
    past: Vec<WorkerFrame>,
    pub(crate) leaving: bool,
}

impl Worker {
    pub(crate) fn new(number: usize, chance: &mut Chance) -> Self {
        let queues = if number == 0 { vec!["default", "other"] } else { vec!["default"] };
        let hello = Hello {
            name: format!("worker {number}"),
            labels: if number == 0 { [("gpu".into(), "yes".into())].into() } else { BTreeMap::new() },
            queues: queues.into_iter().filter_map(|queue| queue.parse().ok()).collect(),
            tasks: ["work".to_owned()].into(),
            workflows: [("flow".to_owned(), ["v1".to_owned()].into())].into(),
            ..Hello::default()
        };
        Self {
            hello,
            tasks_max: chance.between(1, 3) as u32,
            runs_max: chance.between(1, 4) as u32,
            session: None,
            hears: VecDeque::new(),
            says: VecDeque::new(),
            runs: BTreeMap::new(),
            jobs: BTreeMap::new(),
            sent: VecDeque::new(),
            taken: 0,
            past: Vec::new(),
            leaving: false,
        }
    }

    /// It opens a stream. What it ran stays with it, but for its runs.
    pub(crate) fn connect(&mut self, session: WorkerSessionId) -> Hello {
        self.session = Some(session);
        self.hears.clear();
        self.says.clear();
        self.runs.clear();
        self.sent.clear();
        self.taken = 0;
        self.leaving = false;
        self.says.push_back(WorkerFrame::Credit { tasks: self.tasks_max, runs: self.runs_max });
        let held_tasks = self.jobs.iter().map(|(task, job)| (*task, job.fence)).collect();
        Hello { held_tasks, ..self.hello.clone() }
    }

    pub(crate) fn hear(&mut self, frame: EngineFrame) -> Check {
        match frame {
            EngineFrame::Welcome { kept_tasks, .. } => {
                self.jobs.retain(|task, job| kept_tasks.contains(&(*task, job.fence)));
                for (task, job) in &self.jobs {
                    if let Some(outcome) = job.end.clone() {
                        self.says.push_back(WorkerFrame::TaskFinished { task: *task, fence: job.fence, outcome });
                    }
                }
            }
            EngineFrame::RunAssigned { run, fence, entries, .. } => {
                ensure!(!self.runs.contains_key(&run), "{} has {run} already", self.hello.name);
                ensure!(self.runs.len() < self.runs_max as usize, "{} has no room for {run}", self.hello.name);
                let machine = Machine::replay(run, fence, &entries)?;
                self.runs.insert(run, Held { fence, machine });
                self.pump(run);
            }
            EngineFrame::RunEntries { run, fence, entries, .. } => {
                self.with(run, fence, |machine| machine.entries(entries))?
            }
            EngineFrame::RunAppended { run, fence, first, count, at } => {
                self.with(run, fence, |machine| machine.appended(first, count, at))?;
            }
            EngineFrame::RunEvicted { run, fence, .. } => {
                self.runs.retain(|held, run_held| *held != run || run_held.fence != fence)
            }
            EngineFrame::TaskAssigned(assigned) => {
                let job = Job { fence: assigned.fence, cancelled: false, end: None };
                self.jobs.insert(assigned.task, job);
            }
            EngineFrame::TaskCancelled { task, fence, .. } => {
                if let Some(job) = self.jobs.get_mut(&task).filter(|job| job.fence == fence) {
                    job.cancelled = true;
                }
            }
            EngineFrame::EndsTaken { count } => {
                for (task, fence) in self.takes(count) {
                    self.jobs.retain(|held, job| *held != task || job.fence != fence);
                }
                let known = usize::try_from(count - self.taken).unwrap_or(usize::MAX).min(self.sent.len());
                self.sent.drain(..known);
                self.taken = count;
            }
            EngineFrame::Ping | EngineFrame::Leaving | EngineFrame::Query { .. } => {}
        }
        Ok(())
    }

    fn with(&mut self, run: WorkflowRunId, fence: Fence, act: impl FnOnce(&mut Machine) -> Check) -> Check {
        if let Some(held) = self.runs.get_mut(&run).filter(|held| held.fence == fence) {
            act(&mut held.machine).map_err(|what| format!("{}, {run}: {what}", self.hello.name))?;
            self.pump(run);
        }
        Ok(())
    }

    /// Says what the run has to say.
    fn pump(&mut self, run: WorkflowRunId) {
        let Some(held) = self.runs.get_mut(&run) else { return };
        let Some(advance) = held.machine.advance() else { return };
        let (fence, commands, waiting) = (held.fence, advance.commands, advance.waiting);
        self.says.push_back(WorkerFrame::RunAdvanced { run, fence, commands, waiting });
        if advance.ended {
            self.runs.remove(&run);
        }
    }

    /// Something that it runs goes on; whether there was anything.
    pub(crate) fn work(&mut self, now: Timestamp, chance: &mut Chance) -> bool {
        let steps =
            |(run, held): (&WorkflowRunId, &Held)| held.machine.steps.keys().map(|n| (*run, *n)).collect::<Vec<_>>();
        let steps: Vec<_> = self.runs.iter().flat_map(steps).collect();
        let jobs: Vec<_> = self.jobs.iter().filter(|(_, job)| job.end.is_none()).map(|(task, _)| *task).collect();
        let is_step = jobs.is_empty() || chance.per_mille(500);
        match (chance.pick(&steps).filter(|_| is_step), chance.pick(&jobs)) {
            (Some((run, number)), _) => {
                if let Some(held) = self.runs.get_mut(&run) {
                    held.machine.step_ended(number, now);
                }
                self.pump(run);
            }
            (None, Some(task)) => self.end_job(task, chance),
            (None, None) => return false,
        }
        true
    }

    fn end_job(&mut self, task: TaskId, chance: &mut Chance) {
        let Some(job) = self.jobs.get_mut(&task) else { return };
        let fence = job.fence;
        let failed = |is_final: bool| {
            let failure = Failure::new(FailureCause::Returned, format!("under {}", fence.0));
            Outcome::Failed(Failure { is_final, ..failure })
        };
        let outcome = match chance.below(100) {
            0..70 if job.cancelled => failed(true),
            0..12 => failed(false),
            12..15 => failed(true),
            _ => Outcome::Ok(Payload { data: fence.0.to_string().into(), encoding: String::new() }),
        };
        job.end = Some(outcome.clone());
        self.says.push_back(WorkerFrame::TaskFinished { task, fence, outcome });
    }

    /// The ends that the engine has for good when it says so.
    pub(crate) fn takes(&self, count: u64) -> Vec<(TaskId, Fence)> {
        let news = usize::try_from(count.saturating_sub(self.taken)).unwrap_or(usize::MAX);
        self.sent.iter().take(news).copied().collect()
    }

    /// It does what a worker may do and seldom does.
    pub(crate) fn misbehave(&mut self, chance: &mut Chance) -> Option<&'static str> {
        let runs: Vec<_> = self.runs.iter().map(|(run, held)| (*run, held.fence)).collect();
        let running = self.jobs.iter().filter(|(_, job)| job.end.is_none());
        let jobs: Vec<_> = running.map(|(task, job)| (*task, job.fence)).collect();
        match (chance.below(5), chance.pick(&runs), chance.pick(&jobs)) {
            (0, Some((run, fence)), _) => {
                self.runs.remove(&run);
                self.says.push_back(WorkerFrame::RunReleased { run, fence });
                Some("run released")
            }
            (1, Some((run, fence)), _) => {
                self.runs.remove(&run);
                let (cause, message) = (BlockCause::Panicked, "it panicked".to_owned());
                self.says.push_back(WorkerFrame::RunBlocked { run, fence, cause, message });
                Some("run blocked")
            }
            (2, _, Some((task, fence))) => {
                self.jobs.remove(&task);
                self.says.push_back(WorkerFrame::TaskReturned { task, fence });
                Some("task returned")
            }
            (3, _, Some((task, fence))) => {
                let checkpoint = chance.per_mille(500).then(Payload::default);
                let report = TaskReport { progress_permille: Some(500), checkpoint, ..TaskReport::default() };
                self.says.push_back(WorkerFrame::TaskReported { task, fence, report });
                Some("task reported")
            }
            (4, ..) => {
                let frame =
                    self.past.get(chance.below(self.past.len())).filter(|frame| !self.is_current(frame)).cloned()?;
                self.says.push_back(frame);
                Some("old frame said again")
            }
            _ => None,
        }
    }

    /// Whether the frame is about something that it holds now, under the same fence.
    fn is_current(&self, frame: &WorkerFrame) -> bool {
        match frame {
            WorkerFrame::RunAdvanced { run, fence, .. }
            | WorkerFrame::RunReleased { run, fence }
            | WorkerFrame::RunBlocked { run, fence, .. } => self.runs.get(run).is_some_and(|held| held.fence == *fence),
            WorkerFrame::TaskFinished { task, fence, .. }
            | WorkerFrame::TaskReturned { task, fence }
            | WorkerFrame::TaskReported { task, fence, .. } => {
                self.jobs.get(task).is_some_and(|job| job.fence == *fence)
            }
            _ => true,
        }
    }

    /// The next thing that it says goes out.
    pub(crate) fn say(&mut self) -> Option<WorkerFrame> {
        let frame = self.says.pop_front()?;
        if let WorkerFrame::TaskFinished { task, fence, .. } = &frame {
            self.sent.push_back((*task, *fence));
        }
        self.past.push(frame.clone());
        if self.past.len() > 64 {
            self.past.remove(0);
        }
        Some(frame)
    }
}

/// Where a journal that nobody runs stands: what the program would still say, and what it waits for.
pub(crate) fn rests(run: WorkflowRunId, entries: &[Entry]) -> Check<Machine> {
    Machine::replay(run, Fence(0), entries)
}
