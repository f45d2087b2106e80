//! Runs: from their start to their end.

use super::{Engine, Timer};
use crate::effect::{Load, Message, Reply, RunChange, RunRow, RunStatus, TaskRow, TaskStatus, Write};
use crate::input::{Refusal, StoredRun, Ticket};
use crate::numbers::Numbers;
use orlop_model::durable::{
    BlockCause, CallId, Command, CommandKind, CommandNumber, EngineFrame, Entry, Failure, FailureCause, Fence, Outcome,
    Owner, Record, Seq, Signal, Started, Waiting,
};
use orlop_model::{TaskId, Timestamp, WorkerSessionId, WorkflowRunId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A journal of at most so many entries is kept in memory, so that it need not be read when a worker is to have it.
const KEPT_ENTRIES_MAX: usize = 64;
/// The same in bytes of payloads, about.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// A run in memory.
pub(super) struct Run {
    pub(super) row: RunRow,
    pub(super) status: RunStatus,
    /// The place of the next entry.
    next: u64,
    /// Commands that are in the journal.
    numbers: Numbers,
    /// Commands that wait for an answer.
    open: BTreeMap<CommandNumber, Open>,
    signal_ids: BTreeSet<String>,
    cancel_requested: bool,
    /// What was written for its holder since it has the run, less what it surely has taken into account; of signals, which.
    unseen: VecDeque<Option<Signal>>,
    holder: Holder,
    /// What the workflow waits for, and nothing came since it said so.
    waiting: Option<Waiting>,
    /// The journal, while it is short.
    kept: Option<Vec<Entry>>,
    kept_bytes: usize,
}

/// What a command waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Task(TaskId),
    Child { run: WorkflowRunId, detached: bool },
    Timer(Timestamp),
}

impl Open {
    const fn child(&self) -> Option<WorkflowRunId> {
        match self {
            Open::Child { run, .. } => Some(*run),
            Open::Task(_) | Open::Timer(_) => None,
        }
    }
}

/// Who has a run.
#[derive(Debug, Default)]
enum Holder {
    /// Nobody, and nobody need.
    #[default]
    Nobody,
    /// Nobody yet.
    Wanted,
    /// A worker is to have it as soon as its journal is read; what comes meanwhile is sent after it.
    Fetching {
        session: WorkerSessionId,
        fence: Fence,
        later: Vec<Entry>,
    },
    Held {
        session: WorkerSessionId,
        fence: Fence,
    },
}

/// What happens to a run, also to one that must be read first.
#[derive(Debug)]
pub(super) enum RunInput {
    /// It is to be in memory.
    Wake,
    Answered {
        command: CommandNumber,
        outcome: Outcome,
    },
    /// A task that it scheduled has ended, and is over when it has been told.
    TaskEnded {
        task: TaskId,
        command: CommandNumber,
        status: TaskStatus,
        outcome: Outcome,
    },
    TimerFired {
        at: Timestamp,
        command: CommandNumber,
    },
    Signal {
        ticket: Option<Ticket>,
        signal: Signal,
    },
    Cancel {
        ticket: Option<Ticket>,
        reason: String,
    },
    Await(Ticket),
    Retry(Ticket),
}

impl RunInput {
    /// Whether it is as good for the run that goes on in its place.
    const fn goes_on(&self) -> bool {
        matches!(self, RunInput::Signal { .. } | RunInput::Cancel { .. } | RunInput::Await(_))
    }
}

impl Run {
    fn new(row: RunRow) -> Self {
        Self {
            row,
            status: RunStatus::Open,
            next: 0,
            numbers: Numbers::default(),
            open: BTreeMap::new(),
            signal_ids: BTreeSet::new(),
            cancel_requested: false,
            unseen: VecDeque::new(),
            holder: Holder::Nobody,
            waiting: None,
            kept: Some(Vec::new()),
            kept_bytes: 0,
        }
    }

    /// Takes an entry into account, be it new or read.
    fn note(&mut self, entry: &Entry) {
        self.next = entry.seq.0 + 1;
        match &entry.record {
            Record::Command(command) => self.note_command(command),
            Record::Answered { command, .. } => {
                self.open.remove(command);
            }
            Record::SignalReceived(signal) => {
                if !signal.id.is_empty() {
                    self.signal_ids.insert(signal.id.clone());
                }
            }
            Record::CancelRequested { .. } => self.cancel_requested = true,
            Record::Started(_) => {}
        }
        self.keep(entry);
    }

    fn note_command(&mut self, command: &Command) {
        let Some(number) = command.number else { return };
        let open = match &command.kind {
            // The same step will be there again, under the same number.
            CommandKind::StepFailed { .. } => return,
            CommandKind::TaskScheduled { task, .. } => Some(Open::Task(*task)),
            CommandKind::ChildStarted { run, detached, .. } => Some(Open::Child { run: *run, detached: *detached }),
            CommandKind::TimerSet { fires_at, .. } => Some(Open::Timer(*fires_at)),
            _ => None,
        };
        self.numbers.insert(number);
        if let Some(open) = open {
            self.open.insert(number, open);
        }
    }

    fn keep(&mut self, entry: &Entry) {
        self.kept_bytes += bytes_of(&entry.record);
        if let Some(kept) = &mut self.kept {
            if kept.len() < KEPT_ENTRIES_MAX && self.kept_bytes <= KEPT_BYTES_MAX {
                kept.push(entry.clone());
            } else {
                self.kept = None;
            }
        }
    }

    /// The worker that has it, or is to have it as soon as its journal is read.
    pub(super) fn session(&self) -> Option<WorkerSessionId> {
        match self.holder {
            Holder::Held { session, .. } | Holder::Fetching { session, .. } => Some(session),
            Holder::Nobody | Holder::Wanted => None,
        }
    }

    /// What it waits for; none when it goes on.
    pub(super) fn waiting(&self) -> Option<&Waiting> {
        self.waiting.as_ref()
    }

    fn is_held_by(&self, by: WorkerSessionId, under: Fence) -> bool {
        matches!(self.holder, Holder::Held { session, fence } if session == by && fence == under)
    }
}

/// About how much memory an entry takes.
fn bytes_of(record: &Record) -> usize {
    let outcome = |outcome: &Outcome| match outcome {
        Outcome::Ok(payload) => payload.data.len(),
        Outcome::Failed(failure) => failure.message.len() + failure.trace.len(),
    };
    100 + match record {
        Record::Started(started) => started.input.data.len(),
        Record::Answered { outcome: answer, .. } => outcome(answer),
        Record::SignalReceived(signal) => signal.payload.data.len(),
        Record::CancelRequested { reason } => reason.len(),
        Record::Command(command) => match &command.kind {
            CommandKind::StepDone { outcome: result, .. } | CommandKind::Finished(result) => outcome(result),
            CommandKind::StepFailed { failure, .. } => failure.message.len() + failure.trace.len(),
            CommandKind::TaskScheduled { input, .. }
            | CommandKind::ChildStarted { input, .. }
            | CommandKind::ContinuedAsNew { input, .. } => input.data.len(),
            CommandKind::SignalSent { payload, .. } => payload.data.len(),
            _ => 0,
        },
    }
}

impl Engine {
    /// Begins a run, or says which one has its key.
    pub(super) fn begin_run(
        &mut self,
        row: RunRow,
        started: Started,
        carried: Vec<Signal>,
    ) -> Result<(), WorkflowRunId> {
        let id = row.run;
        if self.runs.contains_key(&id) {
            return Err(id);
        }
        if !row.key.is_empty() {
            let key = (row.workflow.clone(), row.key.clone());
            match self.run_keys.get(&key) {
                Some(found) => return Err(*found),
                None => self.run_keys.insert(key, id),
            };
        }
        self.over.remove(&id);
        self.write(Write::RunNew(Box::new(row.clone())));
        self.runs.insert(id, Run::new(row));
        self.append(id, Record::Started(started));
        for signal in carried {
            self.append(id, Record::SignalReceived(signal));
        }
        self.want(id);
        Ok(())
    }

    /// Writes the next entry of a journal.
    fn append(&mut self, id: WorkflowRunId, record: Record) -> Option<Entry> {
        let at = self.now;
        let run = self.runs.get_mut(&id)?;
        let entry = Entry { seq: Seq(run.next), at, record };
        run.note(&entry);
        self.effects.writes.push(Write::Entry(id, entry.clone()));
        Some(entry)
    }

    /// Writes what the workflow did not write itself, and tells who runs it.
    fn notify(&mut self, id: WorkflowRunId, record: Record) {
        let Some(entry) = self.append(id, record) else { return };
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.waiting = None;
        match &mut run.holder {
            Holder::Held { session, fence } => {
                run.unseen.push_back(match &entry.record {
                    Record::SignalReceived(signal) => Some(signal.clone()),
                    _ => None,
                });
                let frame = EngineFrame::RunEntries { run: id, fence: *fence, entries: vec![entry], more: false };
                let message = Message::ToWorker(*session, frame);
                self.say(message);
            }
            Holder::Fetching { later, .. } => later.push(entry),
            Holder::Nobody if run.status == RunStatus::Open => self.want(id),
            Holder::Nobody | Holder::Wanted => {}
        }
    }

    /// The run needs a worker.
    fn want(&mut self, id: WorkflowRunId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.holder = Holder::Wanted;
        run.waiting = None;
        let key = (run.row.workflow.clone(), run.row.version.clone());
        self.wanted.entry(key).or_default().push_back(id);
    }

    /// Gives runs that need one to workers that have room, or can make some.
    pub(super) fn dispatch_runs(&mut self) {
        for key in self.wanted.keys().cloned().collect::<Vec<_>>() {
            while let Some(run) = self.first_wanted(&key) {
                // Nobody is to forget a run for one that is not there.
                let Some(session) = self.session_for(&key.0, &key.1) else { break };
                self.wanted.get_mut(&key).and_then(VecDeque::pop_front);
                self.assign_run(run, session);
            }
        }
    }

    /// The run that has waited longest for a worker.
    fn first_wanted(&mut self, key: &(String, String)) -> Option<WorkflowRunId> {
        let queue = self.wanted.get_mut(key)?;
        while let Some(first) = queue.front() {
            if self.runs.get(first).is_some_and(|run| matches!(run.holder, Holder::Wanted)) {
                return Some(*first);
            }
            queue.pop_front();
        }
        self.wanted.remove(key);
        None
    }

    /// The worker with the most room, if one of those that can has any; else one that can forget a run that waits.
    fn session_for(&mut self, workflow: &str, version: &str) -> Option<WorkerSessionId> {
        let able =
            || self.sessions.iter().filter(|(_, session)| session.runs_workflow(workflow, version) && !session.leaving);
        let with_room = able().filter(|(_, session)| session.has_room_for_run());
        if let Some((id, _)) = with_room.max_by_key(|(_, session)| session.runs_max - session.runs.len()) {
            return Some(*id);
        }
        let candidates: Vec<WorkerSessionId> = able().map(|(id, _)| *id).collect();
        candidates.into_iter().find(|id| self.evict_one(*id))
    }

    /// Takes the run back that has waited longest; whether there was one.
    fn evict_one(&mut self, session: WorkerSessionId) -> bool {
        while let Some(id) = self.sessions.get_mut(&session).and_then(|session| session.idle.pop_front()) {
            let Some(run) = self.runs.get_mut(&id) else { continue };
            let Holder::Held { session: holder, fence } = run.holder else { continue };
            if holder != session || run.waiting.is_none() {
                continue;
            }
            let reason = "it waits, and others need the room".to_owned();
            self.say(Message::ToWorker(session, EngineFrame::RunEvicted { run: id, fence, reason }));
            self.forget_holder(id);
            self.park(id);
            return true;
        }
        false
    }

    fn assign_run(&mut self, id: WorkflowRunId, session: WorkerSessionId) {
        let fence = self.next_fence();
        let Some(run) = self.runs.get_mut(&id) else { return };
        if let Some(holder) = self.sessions.get_mut(&session) {
            holder.runs.insert(id);
        }
        // It is sent the whole journal before it can say anything.
        run.unseen.clear();
        if let Some(entries) = run.kept.clone() {
            run.holder = Holder::Held { session, fence };
            let workflow = run.row.workflow.clone();
            let frame = EngineFrame::RunAssigned { run: id, fence, workflow, entries, more: false };
            self.say(Message::ToWorker(session, frame));
        } else {
            run.holder = Holder::Fetching { session, fence, later: Vec::new() };
            self.load_run(id);
        }
    }

    /// Nobody has the run now.
    fn forget_holder(&mut self, id: WorkflowRunId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let holder = std::mem::take(&mut run.holder);
        if let Holder::Held { session, .. } | Holder::Fetching { session, .. } = holder
            && let Some(session) = self.sessions.get_mut(&session)
        {
            session.runs.remove(&id);
        }
    }

    /// A run that waits and that no worker holds need not be in memory, unless something is about to come for it.
    fn park(&mut self, id: WorkflowRunId) {
        if self.is_touched(id) {
            return;
        }
        self.runs.remove(&id);
        self.write(Write::RunChanged(id, RunChange::Parked(true)));
    }

    /// Its worker is gone.
    pub(super) fn run_left(&mut self, id: WorkflowRunId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.holder = Holder::Nobody;
        if run.waiting.is_some() {
            self.park(id);
        } else if run.status == RunStatus::Open {
            self.want(id);
        }
    }

    /// The run is held by this worker under this fence; else the worker is told that it is not.
    fn run_is_held(&mut self, session: WorkerSessionId, id: WorkflowRunId, fence: Fence) -> bool {
        let held = self.runs.get(&id).is_some_and(|run| run.is_held_by(session, fence));
        if !held {
            let reason = "it is over, or another worker has it".to_owned();
            self.say(Message::ToWorker(session, EngineFrame::RunEvicted { run: id, fence, reason }));
        }
        held
    }

    pub(super) fn run_released(&mut self, session: WorkerSessionId, id: WorkflowRunId, fence: Fence) {
        if self.runs.get(&id).is_some_and(|run| run.is_held_by(session, fence)) {
            self.forget_holder(id);
            self.run_left(id);
        }
    }

    pub(super) fn run_blocked(
        &mut self,
        session: WorkerSessionId,
        id: WorkflowRunId,
        fence: Fence,
        cause: BlockCause,
        message: String,
    ) {
        if self.run_is_held(session, id, fence) {
            self.block(id, cause, message);
        }
    }

    fn block(&mut self, id: WorkflowRunId, cause: BlockCause, message: String) {
        self.forget_holder(id);
        if let Some(run) = self.runs.get_mut(&id) {
            run.status = RunStatus::Blocked;
            run.waiting = None;
            self.write(Write::RunChanged(id, RunChange::Blocked { cause, message }));
        }
    }

    /// The runs that commands of this run reach, if the worker holds it; not those that they begin.
    pub(super) fn touched_by(
        &self,
        session: WorkerSessionId,
        id: WorkflowRunId,
        fence: Fence,
        commands: &[Command],
    ) -> BTreeSet<WorkflowRunId> {
        let mut touched = BTreeSet::new();
        let Some(run) = self.runs.get(&id).filter(|run| run.is_held_by(session, fence)) else { return touched };
        for command in commands {
            match &command.kind {
                CommandKind::SignalSent { run, .. } | CommandKind::RunCancelled(run) => touched.extend([*run]),
                CommandKind::CommandCancelled(target) => touched.extend(run.open.get(target).and_then(Open::child)),
                CommandKind::Finished(_) | CommandKind::ContinuedAsNew { .. } => {
                    let attached = |open: &&Open| !matches!(open, Open::Child { detached: true, .. });
                    touched.extend(run.open.values().filter(attached).filter_map(Open::child));
                    // Who waits for it goes on waiting when another run goes on in its place; nothing is written there.
                    let is_end = matches!(command.kind, CommandKind::Finished(_));
                    if let Some(Owner::Run(parent, _)) = run.row.owner.filter(|_| is_end) {
                        touched.insert(parent);
                    }
                }
                _ => {}
            }
        }
        for command in commands {
            if let CommandKind::ChildStarted { run, .. } = &command.kind {
                touched.remove(run);
            }
        }
        touched
    }

    /// What was said of the run waits, so the run does not.
    pub(super) fn goes_on_later(&mut self, id: WorkflowRunId) {
        if let Some(run) = self.runs.get_mut(&id) {
            run.waiting = None;
        }
    }

    pub(super) fn run_advanced(
        &mut self,
        session: WorkerSessionId,
        id: WorkflowRunId,
        fence: Fence,
        commands: Vec<Command>,
        waiting: Option<Waiting>,
    ) {
        if !self.run_is_held(session, id, fence) {
            return;
        }
        let Some(run) = self.runs.get_mut(&id) else { return };
        if let Some(waiting) = &waiting {
            // A worker counts what it has taken into account, its own entries among it, those included that are not written
            // yet. So what it has not seen are the last entries that others wrote, as many as are missing.
            let unseen = usize::try_from(run.next.saturating_sub(waiting.seen.0)).unwrap_or(usize::MAX);
            run.unseen.drain(..run.unseen.len().saturating_sub(unseen));
        }
        let first = Seq(run.next);
        let is_awaited = commands.iter().any(|command| matches!(command.kind, CommandKind::StepDone { .. }));
        // What comes of the others may be written, and comes before the end.
        let is_end =
            |command: &Command| matches!(command.kind, CommandKind::Finished(_) | CommandKind::ContinuedAsNew { .. });
        let is_over_early = commands.iter().rev().skip(1).any(is_end);
        let (end, others): (Vec<_>, Vec<_>) = commands.into_iter().partition(is_end);
        let count = others.len() as u64;
        if is_over_early {
            return self.evict_and_block(session, id, fence, "there are commands after the end".into());
        }
        for commands in [others, end] {
            if let Err(message) = self.write_and_carry_out(session, id, fence, commands) {
                return self.evict_and_block(session, id, fence, message);
            }
        }
        let Some(run) = self.runs.get_mut(&id) else { return };
        // What came of the commands at once is news as well.
        let no_news = run.next == first.0 + count && !is_awaited;
        run.waiting = waiting.filter(|waiting| waiting.seen == first && no_news);
        if run.waiting.is_some()
            && let Some(session) = self.sessions.get_mut(&session)
        {
            session.idle.push_back(id);
            // Runs that went on since stand in it still; it is cleaned when they are many.
            if session.idle.len() > 2 * session.runs.len() + 64 {
                let runs = &self.runs;
                session.idle.retain(|id| runs.get(id).is_some_and(|run| run.waiting.is_some()));
                let mut seen = BTreeSet::new();
                session.idle.retain(|id| seen.insert(*id));
            }
        }
    }

    /// All of the commands are in the journal, one after the other, before anything comes of them.
    fn write_and_carry_out(
        &mut self,
        session: WorkerSessionId,
        id: WorkflowRunId,
        fence: Fence,
        commands: Vec<Command>,
    ) -> Result<(), String> {
        let Some(first) = self.runs.get(&id).map(|run| Seq(run.next)).filter(|_| !commands.is_empty()) else {
            return Ok(());
        };
        let count = u32::try_from(commands.len()).unwrap_or(u32::MAX);
        let mut issued = Vec::with_capacity(commands.len());
        for command in commands {
            let (number, kind) = (command.number, command.kind.clone());
            self.append_command(id, command)?;
            issued.push((number, kind));
        }
        let at = self.now;
        self.say(Message::ToWorker(session, EngineFrame::RunAppended { run: id, fence, first, count, at }));
        issued.into_iter().try_for_each(|(number, kind)| self.carry_out(id, number, kind))
    }

    fn evict_and_block(&mut self, session: WorkerSessionId, id: WorkflowRunId, fence: Fence, message: String) {
        let reason = message.clone();
        self.say(Message::ToWorker(session, EngineFrame::RunEvicted { run: id, fence, reason }));
        self.block(id, BlockCause::Mismatch, message);
    }

    /// Writes a command.
    fn append_command(&mut self, id: WorkflowRunId, command: Command) -> Result<(), String> {
        let Some(run) = self.runs.get_mut(&id) else { return Err("the run is over".into()) };
        match command.number {
            Some(number) if run.numbers.contains(number) => {
                return Err(format!("command {number} is in the journal already"));
            }
            None if command.kind.is_numbered() => return Err(format!("a {} without a number", command.kind.word())),
            _ => {}
        }
        self.append(id, Record::Command(command));
        Ok(())
    }

    /// Does what a command asks for that is in the journal.
    fn carry_out(&mut self, id: WorkflowRunId, number: Option<CommandNumber>, kind: CommandKind) -> Result<(), String> {
        if !self.runs.contains_key(&id) {
            return Err("the run is over".into());
        }
        match (kind, number) {
            (CommandKind::TaskScheduled { task, name, input, options }, Some(number)) => {
                let (root, traceparent) = (self.root_of(id), String::new());
                let change = self.first_change(options.run_at);
                let row = TaskRow {
                    task,
                    name,
                    input,
                    options: *options,
                    key: String::new(),
                    owner: Some(Owner::Run(id, number)),
                    root,
                    traceparent,
                    created: self.now,
                    change,
                };
                if self.submit(row).1 {
                    return Err(format!("task {task} is there already"));
                }
            }
            (CommandKind::ChildStarted { run: child, workflow, version, input, key, detached }, Some(number)) => {
                let owner = Some(Owner::Run(id, number));
                let row = RunRow {
                    run: child,
                    workflow: workflow.clone(),
                    version: version.clone(),
                    key,
                    owner,
                    root: self.root_of(id),
                    detached,
                    created: self.now,
                    attributes: BTreeMap::new(),
                };
                let seed = child.as_u128() as u64;
                let started = Started { workflow, version, input, seed, continues: None, traceparent: String::new() };
                if let Err(found) = self.begin_run(row, started, Vec::new()) {
                    let message = format!("{found} has the key, and is open");
                    let outcome =
                        Outcome::Failed(Failure { is_final: true, ..Failure::new(FailureCause::Returned, message) });
                    self.notify(id, Record::Answered { command: number, outcome });
                }
            }
            (CommandKind::TimerSet { fires_at, .. }, Some(number)) => {
                self.write(Write::TimerNew { at: fires_at, run: id, command: number });
                self.timers.insert((fires_at, Timer::Run(id, number)));
            }
            (CommandKind::SignalSent { run, name, payload }, Some(number)) => {
                let signal = Signal { name, payload, id: format!("{id}/{number}") };
                self.tell_run(run, RunInput::Signal { ticket: None, signal });
            }
            (CommandKind::CommandCancelled(target), _) => self.cancel_command(id, target),
            (CommandKind::RunCancelled(run), _) => {
                self.tell_run(run, RunInput::Cancel { ticket: None, reason: format!("{id} cancelled it") });
            }
            (CommandKind::AttributesSet(attributes), _) => {
                if let Some(run) = self.runs.get_mut(&id) {
                    run.row.attributes.extend(attributes.clone());
                }
                self.write(Write::RunChanged(id, RunChange::Attributes(attributes)));
            }
            (CommandKind::Finished(outcome), _) => self.finish(id, outcome),
            (CommandKind::ContinuedAsNew { run, version, input, carried }, _) => {
                self.continue_as_new(id, run, version, input, carried)?;
            }
            (CommandKind::StepDone { .. } | CommandKind::StepFailed { .. } | CommandKind::PatchMarked { .. }, _) => {}
            (kind, None) => return Err(format!("a {} without a number", kind.word())),
        }
        Ok(())
    }

    fn root_of(&self, id: WorkflowRunId) -> Option<CallId> {
        self.runs.get(&id).and_then(|run| run.row.root).or(Some(CallId::Run(id)))
    }

    /// Ends what an earlier command began. A timer is answered at once, the rest when it is over.
    fn cancel_command(&mut self, id: WorkflowRunId, target: CommandNumber) {
        let open = self.runs.get(&id).and_then(|run| run.open.get(&target).copied());
        match open {
            None => {}
            Some(Open::Task(task)) => {
                self.cancel_task(task, "the workflow does not want it any more".into());
            }
            Some(Open::Child { run: child, .. }) => {
                let reason = "the workflow that started it does not want it any more".into();
                self.tell_run(child, RunInput::Cancel { ticket: None, reason });
            }
            Some(Open::Timer(at)) => {
                self.drop_timer(at, id, target);
                let outcome = Outcome::Failed(Failure::cancelled("the workflow does not want it any more"));
                self.notify(id, Record::Answered { command: target, outcome });
            }
        }
    }

    fn drop_timer(&mut self, at: Timestamp, run: WorkflowRunId, command: CommandNumber) {
        self.timers.remove(&(at, Timer::Run(run, command)));
        self.write(Write::TimerGone { at, run, command });
    }

    fn finish(&mut self, id: WorkflowRunId, outcome: Outcome) {
        let status = match &outcome {
            Outcome::Ok(_) => RunStatus::Completed,
            Outcome::Failed(failure) if failure.cause == FailureCause::Cancelled => RunStatus::Cancelled,
            Outcome::Failed(_) => RunStatus::Failed,
        };
        let Some(run) = self.close_run(id, status, Some(outcome.clone())) else { return };
        if !run.row.key.is_empty() {
            self.run_keys.remove(&(run.row.workflow, run.row.key));
        }
        self.tell_waiters(CallId::Run(id), &outcome);
        if let Some(Owner::Run(parent, command)) = run.row.owner {
            self.tell_run(parent, RunInput::Answered { command, outcome });
        }
    }

    /// The run's journal has its last entry.
    fn close_run(&mut self, id: WorkflowRunId, status: RunStatus, outcome: Option<Outcome>) -> Option<Run> {
        self.forget_holder(id);
        let run = self.runs.remove(&id)?;
        let workflow = run.row.workflow.clone();
        self.write(Write::RunChanged(id, RunChange::Closed { workflow, status, outcome, at: self.now }));
        for (number, open) in &run.open {
            match *open {
                Open::Task(task) => self.orphan_task(task, "the workflow that scheduled it is over"),
                Open::Child { detached: true, .. } => {}
                Open::Child { run: child, .. } => {
                    let reason = "the workflow that started it is over".into();
                    self.tell_run(child, RunInput::Cancel { ticket: None, reason });
                }
                Open::Timer(at) => self.drop_timer(at, id, *number),
            }
        }
        Some(run)
    }

    fn continue_as_new(
        &mut self,
        id: WorkflowRunId,
        next: WorkflowRunId,
        version: String,
        input: orlop_model::durable::Payload,
        mut carried: Vec<Signal>,
    ) -> Result<(), String> {
        if self.runs.contains_key(&next) {
            return Err(format!("run {next} is there already"));
        }
        let cancelled = self.runs.get(&id).is_some_and(|run| run.cancel_requested);
        let Some(mut run) = self.close_run(id, RunStatus::Continued, None) else { return Ok(()) };
        // Those that the workflow could not pass on, because it had not heard of them.
        carried.extend(run.unseen.drain(..).flatten());
        if !run.row.key.is_empty() {
            self.run_keys.remove(&(run.row.workflow.clone(), run.row.key.clone()));
        }
        let row = RunRow { run: next, version: version.clone(), created: self.now, ..run.row };
        let started = Started {
            workflow: row.workflow.clone(),
            version,
            input,
            seed: next.as_u128() as u64,
            continues: Some(id),
            traceparent: String::new(),
        };
        let owner = row.owner;
        carried.dedup_by(|a, b| !a.id.is_empty() && a.id == b.id);
        if self.begin_run(row, started, carried).is_err() {
            return Err(format!("run {next} cannot begin"));
        }
        if cancelled {
            self.notify(next, Record::CancelRequested { reason: "the run before was cancelled".into() });
        }
        // Who waits for it waits for what goes on in its place.
        if let Some(Owner::Run(parent, command)) = owner
            && let Some(parent) = self.runs.get_mut(&parent)
            && let Some(Open::Child { run, .. }) = parent.open.get_mut(&command)
        {
            *run = next;
        }
        for ticket in self.waiters.remove(&CallId::Run(id)).unwrap_or_default() {
            self.wait(ticket, CallId::Run(next));
        }
        Ok(())
    }

    /// Something happens to a run, which is read first if need be.
    pub(super) fn tell_run(&mut self, id: WorkflowRunId, input: RunInput) {
        let id = if input.goes_on() { self.follow(id) } else { id };
        if self.runs.contains_key(&id) {
            self.run_input(id, input);
        } else if let Some(waiting) = self.loading.get_mut(&id) {
            waiting.push(input);
        } else {
            self.loading.insert(id, vec![input]);
            self.load_run(id);
        }
    }

    /// Reads a run. One read of a run is under way at a time: what it finds is as old as its beginning, so if the run is to
    /// be read again meanwhile, it is read when that one is back.
    fn load_run(&mut self, id: WorkflowRunId) {
        match self.reading.get_mut(&id) {
            Some(again) => *again = true,
            None => {
                self.reading.insert(id, false);
                self.load(Load::Run(id));
            }
        }
    }

    /// Something happens to an open run.
    fn run_input(&mut self, id: WorkflowRunId, input: RunInput) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        match input {
            RunInput::Wake => {}
            RunInput::Answered { command, outcome } => {
                if run.open.contains_key(&command) {
                    self.notify(id, Record::Answered { command, outcome });
                }
            }
            RunInput::TaskEnded { task, command, status, outcome } => {
                let is_open = run.open.contains_key(&command);
                self.end_task(task, status, outcome.clone());
                if is_open {
                    self.notify(id, Record::Answered { command, outcome });
                }
            }
            RunInput::TimerFired { at, command } => {
                if run.open.get(&command) == Some(&Open::Timer(at)) {
                    self.drop_timer(at, id, command);
                    let outcome = Outcome::Ok(Default::default());
                    self.notify(id, Record::Answered { command, outcome });
                }
            }
            RunInput::Signal { ticket, signal } => {
                if signal.id.is_empty() || !run.signal_ids.contains(&signal.id) {
                    self.notify(id, Record::SignalReceived(signal));
                }
                self.done(ticket, false);
            }
            RunInput::Cancel { ticket, reason } => {
                if !run.cancel_requested {
                    self.notify(id, Record::CancelRequested { reason });
                }
                self.done(ticket, false);
            }
            RunInput::Await(ticket) => self.wait(ticket, CallId::Run(id)),
            RunInput::Retry(ticket) => {
                if run.status == RunStatus::Blocked {
                    run.status = RunStatus::Open;
                    self.write(Write::RunChanged(id, RunChange::Unblocked));
                    self.want(id);
                    self.done(Some(ticket), false);
                } else {
                    self.reply(ticket, Err(Refusal::NotBlocked(id)));
                }
            }
        }
    }

    fn done(&mut self, ticket: Option<Ticket>, over: bool) {
        if let Some(ticket) = ticket {
            self.reply(ticket, Ok(Reply::Done { over }));
        }
    }

    pub(super) fn run_loaded(&mut self, id: WorkflowRunId, stored: Option<StoredRun>) {
        if self.reading.remove(&id) == Some(true) {
            return self.load_run(id);
        }
        if self.runs.contains_key(&id) {
            self.run_fetched(id, stored);
            // It may have begun while it was looked for.
            return self.loading.remove(&id).into_iter().flatten().for_each(|input| self.tell_run(id, input));
        }
        self.note_over(id, stored.as_ref());
        self.run_read(id, stored);
        self.go_on_with_those_that_touch(id);
    }

    /// What is told to a run that was not in memory.
    fn run_read(&mut self, id: WorkflowRunId, stored: Option<StoredRun>) {
        let waiting = self.loading.remove(&id).unwrap_or_default();
        let Some(stored) = stored else {
            let unknown = Refusal::Unknown(id.to_string());
            for input in waiting {
                self.refuse(input, &unknown);
            }
            return;
        };
        if !stored.status.is_open() {
            return self.tell_closed(id, stored, waiting);
        }
        let mut run = Run::new(stored.row);
        run.status = stored.status;
        stored.entries.iter().for_each(|entry| run.note(entry));
        self.runs.insert(id, run);
        if stored.parked {
            self.write(Write::RunChanged(id, RunChange::Parked(false)));
        }
        if stored.status == RunStatus::Open {
            self.want(id);
        }
        for input in waiting {
            self.tell_run(id, input);
        }
    }

    /// The journal that a worker waits for is read.
    fn run_fetched(&mut self, id: WorkflowRunId, stored: Option<StoredRun>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let Holder::Fetching { session, fence, .. } = run.holder else { return };
        let later = match std::mem::replace(&mut run.holder, Holder::Held { session, fence }) {
            Holder::Fetching { later, .. } => later,
            _ => Vec::new(),
        };
        let mut entries = stored.map(|stored| stored.entries).unwrap_or_default();
        let end = entries.last().map_or(0, |entry| entry.seq.0 + 1);
        entries.extend(later.into_iter().filter(|entry| entry.seq.0 >= end));
        let workflow = run.row.workflow.clone();
        let frame = EngineFrame::RunAssigned { run: id, fence, workflow, entries, more: false };
        self.say(Message::ToWorker(session, frame));
    }

    /// What comes to a run that is over goes to the one that goes on in its place, if there is one.
    fn tell_closed(&mut self, id: WorkflowRunId, stored: StoredRun, waiting: Vec<RunInput>) {
        let goes_on = stored.goes_on();
        let seen = |signal: &Signal| {
            let is_it = |record: &Record| matches!(record, Record::SignalReceived(seen) if seen.id == signal.id);
            !signal.id.is_empty() && stored.entries.iter().any(|entry| is_it(&entry.record))
        };
        for input in waiting {
            match (input, goes_on) {
                (RunInput::Signal { ticket, signal }, Some(_)) if seen(&signal) => self.done(ticket, false),
                (input @ (RunInput::Signal { .. } | RunInput::Cancel { .. } | RunInput::Await(_)), Some(next)) => {
                    self.tell_run(next, input);
                }
                (RunInput::Await(ticket), None) => match stored.outcome.clone() {
                    Some(outcome) => self.reply(ticket, Ok(Reply::Outcome(outcome))),
                    None => self.reply(ticket, Err(Refusal::Over(id))),
                },
                (RunInput::Cancel { ticket, .. }, None) => self.done(ticket, true),
                (RunInput::TimerFired { at, command }, _) => self.drop_timer(at, id, command),
                (input, _) => self.refuse(input, &Refusal::Over(id)),
            }
        }
    }

    fn refuse(&mut self, input: RunInput, refusal: &Refusal) {
        let ticket = match input {
            RunInput::TaskEnded { task, status, outcome, .. } => return self.end_task(task, status, outcome),
            RunInput::Signal { ticket, .. } | RunInput::Cancel { ticket, .. } => ticket,
            RunInput::Await(ticket) | RunInput::Retry(ticket) => Some(ticket),
            RunInput::Wake | RunInput::Answered { .. } | RunInput::TimerFired { .. } => None,
        };
        if let Some(ticket) = ticket {
            self.reply(ticket, Err(refusal.clone()));
        }
    }
}
