//! An engine, and what it wrote and said.

use orlop_durable_core::{
    Effects, Engine, Input, Load, Message, NewRun, NewTask, Options, Recovered, Reply, Request, RunChange, RunRow,
    RunStatus, StoredRun, TaskRow, Ticket, Write,
};
use orlop_model::durable::{
    Command, CommandKind, CommandNumber, EngineFrame, Entry, Failure, FailureCause, Fence, Hello, Outcome, Payload,
    Record, Seq, Signal, TaskOptions, Waiting, WorkerFrame,
};
use orlop_model::{TaskId, Timestamp, WorkerSessionId, WorkflowRunId};
use std::collections::BTreeMap;

pub(crate) struct Bench {
    engine: Engine,
    pub(crate) now: Timestamp,
    tickets: u64,
    /// The journals, as they are in the store once everything is written.
    runs: BTreeMap<WorkflowRunId, StoredRun>,
    /// Of what each worker was given, the newest fence.
    pub(crate) fences: BTreeMap<WorkflowRunId, Fence>,
    pub(crate) task_fences: BTreeMap<TaskId, Fence>,
}

pub(crate) fn run(number: u128) -> WorkflowRunId {
    WorkflowRunId::from_u128(number)
}

pub(crate) fn task(number: u128) -> TaskId {
    TaskId::from_u128(number)
}

pub(crate) fn session(number: u128) -> WorkerSessionId {
    WorkerSessionId::from_u128(number)
}

pub(crate) fn ok() -> Outcome {
    Outcome::Ok(Payload::default())
}

pub(crate) fn failed() -> Outcome {
    Outcome::Failed(Failure::new(FailureCause::Returned, "no"))
}

pub(crate) fn command(number: u32, kind: CommandKind) -> Command {
    let number = kind.is_numbered().then_some(CommandNumber(number));
    Command { number, source: String::new(), kind }
}

pub(crate) fn child(child: WorkflowRunId, key: &str) -> CommandKind {
    let (workflow, version, key) = ("flow".into(), String::new(), key.into());
    CommandKind::ChildStarted { run: child, workflow, version, input: Payload::default(), key, detached: false }
}

pub(crate) fn scheduled(task: TaskId, options: TaskOptions) -> CommandKind {
    CommandKind::TaskScheduled { task, name: "work".into(), input: Payload::default(), options: Box::new(options) }
}

pub(crate) fn goes_on_as(run: WorkflowRunId) -> CommandKind {
    CommandKind::ContinuedAsNew { run, version: String::new(), input: Payload::default(), carried: Vec::new() }
}

pub(crate) fn signal(id: &str) -> Signal {
    Signal { name: "a".into(), payload: Payload::default(), id: id.into() }
}

pub(crate) fn seen(seen: u64) -> Option<Waiting> {
    Some(Waiting { seen: Seq(seen), ..Waiting::default() })
}

impl Bench {
    pub(crate) fn new(epoch: u32, recovered: Recovered) -> Self {
        let now = Timestamp(1_000_000);
        let engine = Engine::new(Options { epoch, ..Options::default() }, recovered, now);
        let (runs, fences, task_fences) = Default::default();
        Self { engine, now, tickets: 0, runs, fences, task_fences }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What comes of an input.
    pub(crate) fn take(&mut self, input: Input) -> Effects {
        self.engine.handle(input, self.now);
        let effects = self.engine.take_effects();
        for write in &effects.writes {
            self.keep(write);
        }
        for message in &effects.messages {
            match message {
                Message::ToWorker(_, EngineFrame::RunAssigned { run, fence, .. }) => {
                    self.fences.insert(*run, *fence);
                }
                Message::ToWorker(_, EngineFrame::TaskAssigned(assigned)) => {
                    self.task_fences.insert(assigned.task, assigned.fence);
                }
                _ => {}
            }
        }
        effects
    }

    fn keep(&mut self, write: &Write) {
        match write {
            Write::RunNew(row) => {
                let (row, status, parked, outcome) = (RunRow::clone(row), RunStatus::Open, false, None);
                self.runs.insert(row.run, StoredRun { row, status, parked, entries: Vec::new(), outcome });
            }
            Write::Entry(run, entry) => self.stored_mut(*run).entries.push(entry.clone()),
            Write::RunChanged(run, RunChange::Parked(parked)) => self.stored_mut(*run).parked = *parked,
            Write::RunChanged(run, RunChange::Closed { status, outcome, .. }) => {
                let stored = self.stored_mut(*run);
                (stored.status, stored.outcome) = (*status, outcome.clone());
            }
            _ => {}
        }
    }

    fn stored_mut(&mut self, run: WorkflowRunId) -> &mut StoredRun {
        self.runs.get_mut(&run).expect("a run that is written was made")
    }

    pub(crate) fn stored(&self, run: WorkflowRunId) -> StoredRun {
        self.runs[&run].clone()
    }

    pub(crate) fn signals_of(&self, run: WorkflowRunId) -> usize {
        let is_signal = |entry: &&Entry| matches!(entry.record, Record::SignalReceived(_));
        self.runs[&run].entries.iter().filter(is_signal).count()
    }

    /// A read of the run comes back.
    pub(crate) fn read(&mut self, run: WorkflowRunId) -> Effects {
        let stored = self.runs.get(&run).cloned().map(Box::new);
        self.take(Input::RunLoaded(run, stored))
    }

    pub(crate) fn worker(&mut self, number: u128, tasks: u32, runs: u32, held_tasks: Vec<(TaskId, Fence)>) -> Effects {
        let hello = Hello {
            queues: [Default::default()].into(),
            tasks: ["work".to_owned()].into(),
            workflows: [("flow".to_owned(), Default::default())].into(),
            held_tasks,
            ..Hello::default()
        };
        let welcome = self.take(Input::Connected(session(number), Box::new(hello)));
        self.frame(number, WorkerFrame::Credit { tasks, runs });
        welcome
    }

    pub(crate) fn frame(&mut self, number: u128, frame: WorkerFrame) -> Effects {
        self.take(Input::Frame(session(number), frame))
    }

    pub(crate) fn request(&mut self, request: Request) -> Effects {
        self.tickets += 1;
        self.take(Input::Request(Ticket(self.tickets), request))
    }

    pub(crate) fn start(&mut self, run: WorkflowRunId, key: &str) -> Effects {
        let (workflow, version, key) = ("flow".into(), String::new(), key.into());
        let (input, attributes, traceparent) = Default::default();
        let new = NewRun { run, workflow, version, input, key, attributes, seed: 0, traceparent };
        self.request(Request::Start(Box::new(new)))
    }

    pub(crate) fn submit(&mut self, task: TaskId, options: TaskOptions) -> Effects {
        let (input, key, traceparent) = Default::default();
        let new = NewTask { task, name: "work".into(), input, options, key, parent: None, traceparent };
        self.request(Request::Submit(vec![new]))
    }

    /// The workflow says something under the fence that it has.
    pub(crate) fn advance(
        &mut self,
        number: u128,
        run: WorkflowRunId,
        commands: Vec<Command>,
        waiting: Option<Waiting>,
    ) -> Effects {
        let fence = self.fences[&run];
        self.frame(number, WorkerFrame::RunAdvanced { run, fence, commands, waiting })
    }

    /// The workflow has seen everything and waits, and its worker gives it back: the engine forgets it.
    pub(crate) fn park(&mut self, number: u128, run: WorkflowRunId) {
        let next = self.runs[&run].entries.len() as u64;
        self.advance(number, run, Vec::new(), seen(next));
        let fence = self.fences[&run];
        self.frame(number, WorkerFrame::RunReleased { run, fence });
        assert!(self.runs[&run].parked, "it waits, and nobody has it");
    }

    pub(crate) fn end_task(&mut self, number: u128, task: TaskId, outcome: Outcome) -> Effects {
        let fence = self.task_fences[&task];
        self.frame(number, WorkerFrame::TaskFinished { task, fence, outcome })
    }
}

pub(crate) fn is_closed(effects: &Effects, run: WorkflowRunId) -> bool {
    let closes = |write: &Write| matches!(write, Write::RunChanged(it, RunChange::Closed { .. }) if *it == run);
    effects.writes.iter().any(closes)
}

/// How the task ended.
pub(crate) fn ended(effects: &Effects, task: TaskId) -> Option<orlop_durable_core::TaskStatus> {
    effects.writes.iter().find_map(|write| match write {
        Write::TaskClosed(closed) if closed.row.task == task => Some(closed.status),
        _ => None,
    })
}

pub(crate) fn answers(effects: &Effects, run: WorkflowRunId) -> usize {
    let is_answer =
        |write: &&Write| matches!(write, Write::Entry(it, Entry { record: Record::Answered { .. }, .. }) if *it == run);
    effects.writes.iter().filter(is_answer).count()
}

pub(crate) fn reads(effects: &Effects, run: WorkflowRunId) -> usize {
    effects.loads.iter().filter(|load| **load == Load::Run(run)).count()
}

pub(crate) fn is_assigned(effects: &Effects, task: TaskId) -> bool {
    let is_it = |frame: &EngineFrame| matches!(frame, EngineFrame::TaskAssigned(assigned) if assigned.task == task);
    effects.messages.iter().any(|message| matches!(message, Message::ToWorker(_, frame) if is_it(frame)))
}

/// What is kept of what a worker said that it still runs.
pub(crate) fn kept(effects: &Effects) -> usize {
    let kept = |message: &Message| match message {
        Message::ToWorker(_, EngineFrame::Welcome { kept_tasks, .. }) => Some(kept_tasks.len()),
        _ => None,
    };
    effects.messages.iter().find_map(kept).expect("a welcome")
}

pub(crate) fn is_done(effects: &Effects) -> bool {
    effects.messages.iter().any(|message| matches!(message, Message::Reply(_, Ok(Reply::Done { .. }))))
}

/// A task as an engine leaves it.
pub(crate) fn row(task: TaskId, options: TaskOptions, change: orlop_durable_core::TaskChange) -> TaskRow {
    let (input, key, traceparent) = Default::default();
    let (name, created) = ("work".into(), Timestamp(1));
    TaskRow { task, name, input, options, key, owner: None, root: None, traceparent, created, change }
}
