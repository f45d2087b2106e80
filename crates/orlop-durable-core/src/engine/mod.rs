//! The engine: sessions, time, and what ties runs and tasks together.

mod inspect;
mod reach;
mod request;
mod run;
mod session;
mod task;

pub use inspect::{QueueView, RunView, TaskView, WorkerView};

use crate::effect::{Effects, Load, Message, Reply, Write};
use crate::input::{Input, Recovered, Refusal, Ticket};
use crate::ready::{Lane, LaneKey};
use orlop_model::durable::{CallId, CommandNumber, EngineFrame, Fence};
use orlop_model::{Millis, TaskId, Timestamp, WorkerSessionId, WorkflowRunId};
use reach::HeldBack;
use run::{Run, RunInput};
use session::Session;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use task::Task;

/// What is decided once for an engine.
#[derive(Debug, Clone)]
pub struct Options {
    /// Grows with each engine over the same store; all fences of this one are greater than those of earlier ones.
    pub epoch: u32,
    /// The seed of the random parts of waits.
    pub seed: u64,
    /// How often workers are asked whether they are there; for [`Welcome`](orlop_model::durable::EngineFrame::Welcome).
    pub ping: Millis,
    /// When a silent worker is lost; for the same.
    pub lost_after: Millis,
    /// No payload is larger, in bytes.
    pub payload_bytes_max: u64,
    /// For so long after its start an engine gives tasks of the one before to nobody but the workers that had them.
    pub comeback: Millis,
    /// A task whose worker was lost so often is not tried again.
    pub losses_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            epoch: 1,
            seed: 0,
            ping: Millis(1000),
            lost_after: Millis(3000),
            payload_bytes_max: 4 << 20,
            comeback: Millis(1000),
            losses_max: 5,
        }
    }
}

/// Runs and tasks, and who works on them.
pub struct Engine {
    options: Options,
    now: Timestamp,
    fence: u64,
    chance: u64,
    effects: Effects,

    runs: BTreeMap<WorkflowRunId, Run>,
    /// Runs that are being read, and what waits for them.
    loading: BTreeMap<WorkflowRunId, Vec<RunInput>>,
    /// Reads of runs that are under way, and whether they are to be made again.
    reading: BTreeMap<WorkflowRunId, bool>,
    /// What was said of runs and touches others that are not in memory.
    held_back: BTreeMap<WorkflowRunId, HeldBack>,
    /// Runs that were read and found to be over while something was held back, with those that go on in their places.
    over: BTreeMap<WorkflowRunId, Option<WorkflowRunId>>,
    run_keys: BTreeMap<(String, String), WorkflowRunId>,
    /// Runs that need a worker, by workflow and version.
    wanted: BTreeMap<(String, String), VecDeque<WorkflowRunId>>,

    tasks: BTreeMap<TaskId, Task>,
    task_keys: BTreeMap<(String, String), TaskId>,
    lanes: Vec<LaneState>,
    lane_numbers: BTreeMap<LaneKey, usize>,
    /// Lanes with tasks in them.
    ready: BTreeSet<usize>,
    /// The lane that is served first next time.
    turn: usize,

    sessions: BTreeMap<WorkerSessionId, Session>,
    /// Those that are to hear how many ends of tasks are taken.
    ends_untold: BTreeSet<WorkerSessionId>,
    timers: BTreeSet<(Timestamp, Timer)>,
    waiters: BTreeMap<CallId, BTreeSet<Ticket>>,
    tickets: BTreeMap<Ticket, CallId>,
}

struct LaneState {
    key: LaneKey,
    lane: Lane,
    /// Sessions that serve it, the next one first.
    sessions: VecDeque<WorkerSessionId>,
}

/// What time brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Run(WorkflowRunId, CommandNumber),
    TaskDue(TaskId),
    TaskNotStarted(TaskId),
    TaskTooLong(TaskId, Fence),
    TaskSilent(TaskId, Fence),
}

impl Engine {
    /// An engine over what the store has.
    pub fn new(options: Options, recovered: Recovered, now: Timestamp) -> Self {
        let fence = u64::from(options.epoch) << 32;
        let chance = options.seed ^ 0x9e37_79b9_7f4a_7c15;
        let mut engine = Self {
            options,
            now,
            fence,
            chance,
            effects: Effects::default(),
            runs: BTreeMap::new(),
            loading: BTreeMap::new(),
            reading: BTreeMap::new(),
            held_back: BTreeMap::new(),
            over: BTreeMap::new(),
            run_keys: BTreeMap::new(),
            wanted: BTreeMap::new(),
            tasks: BTreeMap::new(),
            task_keys: BTreeMap::new(),
            lanes: Vec::new(),
            lane_numbers: BTreeMap::new(),
            ready: BTreeSet::new(),
            turn: 0,
            sessions: BTreeMap::new(),
            ends_untold: BTreeSet::new(),
            timers: BTreeSet::new(),
            waiters: BTreeMap::new(),
            tickets: BTreeMap::new(),
        };
        for (workflow, key, run) in recovered.run_keys {
            engine.run_keys.insert((workflow, key), run);
        }
        for (at, run, command) in recovered.timers {
            engine.timers.insert((at, Timer::Run(run, command)));
        }
        // Their workers come back and say that they still run them.
        let workers_are_back = Timestamp(now.0.saturating_add(engine.options.comeback.0));
        for row in recovered.tasks {
            let not_before = row.change.due.max(workers_are_back);
            engine.recover_task(row, not_before);
        }
        for run in recovered.runs {
            engine.tell_run(run, RunInput::Wake);
        }
        engine
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input, now: Timestamp) {
        self.now = now.max(self.now);
        match input {
            Input::Connected(session, hello) => self.connected(session, *hello),
            Input::Frame(session, frame) => self.frame(session, frame),
            Input::Disconnected(session) => self.disconnected(session),
            Input::Request(ticket, request) => self.request(ticket, request),
            Input::Abandoned(ticket) => self.abandoned(ticket),
            Input::RunLoaded(run, stored) => self.run_loaded(run, stored.map(|stored| *stored)),
            Input::TaskLoaded(task, outcome) => self.task_loaded(task, outcome),
            Input::Tick => {}
        }
        self.fire();
        self.dispatch_tasks();
        self.dispatch_runs();
    }

    /// What is to be done after all inputs so far.
    pub fn take_effects(&mut self) -> Effects {
        for id in std::mem::take(&mut self.ends_untold) {
            // Until all are, the last of them is told when it is written.
            if let Some(session) = self.sessions.get(&id).filter(|session| session.ends_open == 0) {
                let frame = EngineFrame::EndsTaken { count: session.ends };
                self.effects.messages.push(Message::ToWorker(id, frame));
            }
        }
        std::mem::take(&mut self.effects)
    }

    /// When there is something to do although nothing comes.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    fn fire(&mut self) {
        while let Some((at, timer)) = self.timers.first().copied().filter(|(at, _)| *at <= self.now) {
            self.timers.remove(&(at, timer));
            match timer {
                Timer::Run(run, command) => self.tell_run(run, RunInput::TimerFired { at, command }),
                Timer::TaskDue(task) => self.task_due(task),
                Timer::TaskNotStarted(task) => self.task_not_started(task),
                Timer::TaskTooLong(task, fence) => self.task_too_long(task, fence),
                Timer::TaskSilent(task, fence) => self.task_silent(task, fence),
            }
        }
    }

    fn next_fence(&mut self) -> Fence {
        self.fence += 1;
        Fence(self.fence)
    }

    /// A random number (xorshift64*, Vigna 2016).
    fn chance(&mut self) -> u32 {
        self.chance ^= self.chance >> 12;
        self.chance ^= self.chance << 25;
        self.chance ^= self.chance >> 27;
        (self.chance.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    fn write(&mut self, write: Write) {
        self.effects.writes.push(write);
    }

    fn say(&mut self, message: Message) {
        self.effects.messages.push(message);
    }

    fn reply(&mut self, ticket: Ticket, reply: Result<Reply, Refusal>) {
        self.say(Message::Reply(ticket, reply));
    }

    fn load(&mut self, load: Load) {
        self.effects.loads.push(load);
    }

    /// The number of the lane, which is made if need be, with the sessions that serve it.
    fn lane(&mut self, key: LaneKey) -> usize {
        if let Some(number) = self.lane_numbers.get(&key) {
            return *number;
        }
        let number = self.lanes.len();
        let serving = self.sessions.iter_mut().filter(|(_, session)| session.serves(&key));
        let sessions = serving.map(|(id, session)| {
            session.lanes.push(number);
            *id
        });
        let sessions = sessions.collect();
        self.lane_numbers.insert(key.clone(), number);
        self.lanes.push(LaneState { key, lane: Lane::default(), sessions });
        number
    }
}
