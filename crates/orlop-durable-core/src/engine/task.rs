//! Tasks: from their submission to their end.

use super::{Engine, Timer};
use crate::effect::{ClosedTask, Load, Message, Reply, TaskChange, TaskRow, TaskStatus, Write};
use crate::engine::run::RunInput;
use crate::input::{Refusal, Ticket};
use crate::ready::{LaneKey, Place};
use orlop_model::durable::{
    AssignedTask, CallId, EngineFrame, Failure, FailureCause, Fence, Outcome, Owner, TaskReport,
};
use orlop_model::{TaskId, Timestamp, WorkerSessionId};

/// A task that is not over.
pub(super) struct Task {
    pub(super) row: TaskRow,
    pub(super) state: State,
    /// Attempts up to this fence ended, and count; nobody can go on with them, or end them again.
    spent: Fence,
    lane: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Delayed,
    /// In its lane since.
    Ready(Timestamp),
    Held(Held),
    /// It ended, and is over as soon as the workflow that waits for it is read; by the word of this worker, if of one.
    Ending(Option<WorkerSessionId>),
}

/// A worker has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) session: WorkerSessionId,
    pub(super) fence: Fence,
    /// The last sign of life of the function.
    seen: Timestamp,
}

impl Task {
    /// Which attempt the next or current one is.
    fn attempt(&self) -> u32 {
        self.row.change.failures.saturating_add(1)
    }

    /// The number of its lane.
    pub(super) fn lane(&self) -> usize {
        self.lane
    }

    fn place(&self, since: Timestamp) -> Place {
        Place::new(self.row.task, self.row.options.priority, since)
    }
}

impl Engine {
    /// Takes a new task, which is written, or finds the one that has its key.
    pub(super) fn submit(&mut self, row: TaskRow) -> (TaskId, bool) {
        if !row.key.is_empty() {
            let key = (row.name.clone(), row.key.clone());
            if let Some(found) = self.task_keys.get(&key) {
                return (*found, true);
            }
        }
        let id = row.task;
        if self.tasks.contains_key(&id) {
            return (id, true);
        }
        self.write(Write::TaskNew(Box::new(row.clone())));
        let due = row.change.due;
        self.take_task(row, due);
        (id, false)
    }

    /// Takes a task that an engine before this one left, and gives it to nobody before the time but to who had it.
    pub(super) fn recover_task(&mut self, row: TaskRow, not_before: Timestamp) {
        let (id, cancelled) = (row.task, row.change.cancelled.clone());
        self.take_task(row, not_before);
        if let Some(reason) = cancelled {
            self.close_task(id, TaskStatus::Cancelled, Outcome::Failed(Failure::cancelled(reason)));
        }
    }

    /// Takes a task that is in the store, and gives it to nobody before the time.
    fn take_task(&mut self, row: TaskRow, not_before: Timestamp) {
        let id = row.task;
        if !row.key.is_empty() {
            self.task_keys.insert((row.name.clone(), row.key.clone()), id);
        }
        let key =
            LaneKey { queue: row.options.queue.clone(), name: row.name.clone(), labels: row.options.labels.clone() };
        let lane = self.lane(key);
        let due = row.change.due;
        if let (0, 0, Some(patience)) = (row.change.failures, row.change.losses, row.options.schedule_to_start) {
            // One that an engine before this one left may have been started: its worker is to come back first.
            let from = due.max(not_before);
            self.timers.insert((Timestamp(from.0.saturating_add(patience.0)), Timer::TaskNotStarted(id)));
        }
        self.tasks.insert(id, Task { row, state: State::Delayed, spent: Fence::default(), lane });
        if not_before <= self.now {
            self.make_ready(id, due);
        } else {
            self.timers.insert((not_before, Timer::TaskDue(id)));
        }
    }

    fn make_ready(&mut self, id: TaskId, since: Timestamp) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.state = State::Ready(since);
        let place = task.place(since);
        self.lanes[task.lane].lane.insert(&task.row.options.fair_key, place);
        self.ready.insert(task.lane);
    }

    pub(super) fn task_due(&mut self, id: TaskId) {
        let delayed = |task: &Task| task.state == State::Delayed && task.row.change.due <= self.now;
        if let Some(task) = self.tasks.get(&id).filter(|task| delayed(task)) {
            self.make_ready(id, task.row.change.due);
        }
    }

    pub(super) fn task_not_started(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else { return };
        let has_worker = matches!(task.state, State::Held(_) | State::Ending(_));
        let started = has_worker || task.row.change.failures + task.row.change.losses > 0;
        if !started {
            let failure = Failure::new(FailureCause::TimedOut, "no worker started it in time (schedule to start)");
            self.close_task(id, TaskStatus::Failed, Outcome::Failed(failure));
        }
    }

    /// Sends ready tasks to workers that have room.
    pub(super) fn dispatch_tasks(&mut self) {
        if self.ready.is_empty() {
            return;
        }
        let lanes: Vec<usize> = self.ready.range(self.turn..).chain(self.ready.range(..self.turn)).copied().collect();
        for number in lanes {
            while let Some(session) = self.session_with_room(number) {
                let Some(task) = self.lanes[number].lane.pop(self.now) else { break };
                self.assign_task(task, session);
                self.turn = number + 1;
            }
            if self.lanes[number].lane.is_empty() {
                self.ready.remove(&number);
            }
        }
    }

    /// One of those that serve the lane, each in its turn.
    fn session_with_room(&mut self, lane: usize) -> Option<WorkerSessionId> {
        let serving = &mut self.lanes[lane].sessions;
        let with_room = |id: &WorkerSessionId| self.sessions.get(id).is_some_and(|session| session.has_room_for_task());
        let place = serving.iter().position(with_room)?;
        let session = serving.remove(place)?;
        serving.push_back(session);
        Some(session)
    }

    fn assign_task(&mut self, id: TaskId, session: WorkerSessionId) {
        let fence = self.next_fence();
        let now = self.now;
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.state = State::Held(Held { session, fence, seen: now });
        let (row, attempt) = (&task.row, task.attempt());
        let assigned = AssignedTask {
            task: id,
            fence,
            name: row.name.clone(),
            queue: row.options.queue.clone(),
            input: row.input.clone(),
            attempt,
            checkpoint: row.change.checkpoint.clone(),
            start_to_close: row.options.start_to_close,
            heartbeat: row.options.heartbeat,
            parent: row.owner.map(|owner| owner.call().to_string()).unwrap_or_default(),
            root: row.root.map(|root| root.to_string()).unwrap_or_default(),
            traceparent: row.traceparent.clone(),
            last_failure: row.change.last_failure.clone(),
        };
        self.hold_task(id, session, fence);
        self.say(Message::ToWorker(session, EngineFrame::TaskAssigned(Box::new(assigned))));
    }

    fn hold_task(&mut self, id: TaskId, session: WorkerSessionId, fence: Fence) {
        let Some(task) = self.tasks.get(&id) else { return };
        if let Some(limit) = task.row.options.start_to_close {
            self.timers.insert((Timestamp(self.now.0.saturating_add(limit.0)), Timer::TaskTooLong(id, fence)));
        }
        if let Some(limit) = task.row.options.heartbeat {
            self.timers.insert((Timestamp(self.now.0.saturating_add(limit.0)), Timer::TaskSilent(id, fence)));
        }
        if let Some(session) = self.sessions.get_mut(&session) {
            session.tasks.insert(id);
        }
    }

    /// A worker that comes back says that it still runs the task, which an engine before this one gave it; whether it may go
    /// on. Of several that say so the one with the newest fence may.
    pub(super) fn keep_task(&mut self, session: WorkerSessionId, id: TaskId, fence: Fence) -> bool {
        let now = self.now;
        if fence.0 >> 32 >= u64::from(self.options.epoch) {
            return false;
        }
        let Some(task) = self.tasks.get(&id).filter(|task| task.spent < fence) else { return false };
        match task.state {
            State::Delayed if task.row.change.due > now => return false,
            State::Held(held) if held.fence >= fence => return false,
            State::Held(held) => {
                let reason = "another worker has it under a newer fence".to_owned();
                let frame = EngineFrame::TaskCancelled { task: id, fence: held.fence, reason };
                self.say(Message::ToWorker(held.session, frame));
                self.let_go(id);
            }
            State::Ready(_) => self.leave_lane(id),
            State::Delayed => {}
            State::Ending(_) => return false,
        }
        if let Some(task) = self.tasks.get_mut(&id) {
            task.state = State::Held(Held { session, fence, seen: now });
        }
        self.hold_task(id, session, fence);
        true
    }

    /// The task, if this worker holds it under this fence; else the worker is told that it does not.
    fn held_by(&mut self, session: WorkerSessionId, id: TaskId, fence: Fence) -> Option<&mut Task> {
        let is_held =
            |task: &Task| matches!(task.state, State::Held(held) if held.session == session && held.fence == fence);
        if !self.tasks.get(&id).is_some_and(is_held) {
            let reason = "it is over, or another worker has it".to_owned();
            self.say(Message::ToWorker(session, EngineFrame::TaskCancelled { task: id, fence, reason }));
            return None;
        }
        self.tasks.get_mut(&id)
    }

    pub(super) fn task_finished(&mut self, session: WorkerSessionId, id: TaskId, fence: Fence, outcome: Outcome) {
        let Some(task) = self.held_by(session, id, fence) else { return };
        match outcome {
            Outcome::Ok(_) => self.close_task(id, TaskStatus::Completed, outcome),
            Outcome::Failed(_) if task.row.change.cancelled.is_some() => {
                self.close_task(id, TaskStatus::Cancelled, outcome);
            }
            Outcome::Failed(failure) => self.task_failed(id, failure),
        }
        // The worker keeps what it said until that is written.
        if let Some(task) = self.tasks.get_mut(&id).filter(|task| task.state == State::Ending(None))
            && let Some(by) = self.sessions.get_mut(&session)
        {
            task.state = State::Ending(Some(session));
            by.ends_open += 1;
        }
    }

    /// An attempt failed: another one, or the end.
    fn task_failed(&mut self, id: TaskId, failure: Failure) {
        self.spend(id);
        let (chance, now) = (self.chance(), self.now);
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if let Some(reason) = task.row.change.cancelled.clone() {
            return self.close_task(id, TaskStatus::Cancelled, Outcome::Failed(Failure::cancelled(reason)));
        }
        let Some(wait) = task.row.options.retry.wait_after(task.attempt(), &failure, chance) else {
            return self.close_task(id, TaskStatus::Failed, Outcome::Failed(failure));
        };
        task.row.change.failures += 1;
        task.row.change.last_failure = Some(failure);
        self.again(id, Timestamp(now.0.saturating_add(wait.0)));
    }

    /// Written, and ready at the time.
    fn again(&mut self, id: TaskId, due: Timestamp) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.row.change.due = due;
        task.state = State::Delayed;
        let change = Box::new(task.row.change.clone());
        self.write(Write::TaskChanged(id, change));
        if due <= self.now {
            self.make_ready(id, due);
        } else {
            self.timers.insert((due, Timer::TaskDue(id)));
        }
    }

    /// The worker has it no more.
    fn let_go(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if let State::Held(held) = task.state {
            task.state = State::Delayed;
            if let Some(session) = self.sessions.get_mut(&held.session) {
                session.tasks.remove(&id);
            }
        }
    }

    /// The attempt that its worker has ended.
    fn spend(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.get_mut(&id)
            && let State::Held(held) = task.state
        {
            task.spent = held.fence;
        }
        self.let_go(id);
    }

    pub(super) fn task_lost(&mut self, id: TaskId) {
        self.let_go(id);
        let (losses_max, now) = (self.options.losses_max, self.now);
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.row.change.losses += 1;
        let losses = task.row.change.losses;
        if let Some(reason) = task.row.change.cancelled.clone() {
            return self.close_task(id, TaskStatus::Cancelled, Outcome::Failed(Failure::cancelled(reason)));
        }
        if losses >= losses_max {
            let message = format!("its worker was lost {losses} times while it ran");
            let failure = Failure::new(FailureCause::WorkerLost, message);
            return self.close_task(id, TaskStatus::Failed, Outcome::Failed(failure));
        }
        self.again(id, now);
    }

    pub(super) fn task_returned(&mut self, session: WorkerSessionId, id: TaskId, fence: Fence) {
        let now = self.now;
        let Some(task) = self.held_by(session, id, fence) else { return };
        let cancelled = task.row.change.cancelled.clone();
        self.spend(id);
        match cancelled {
            Some(reason) => {
                self.close_task(id, TaskStatus::Cancelled, Outcome::Failed(Failure::cancelled(reason)));
            }
            None => self.make_ready(id, now),
        }
    }

    pub(super) fn task_too_long(&mut self, id: TaskId, fence: Fence) {
        self.task_overdue(id, fence, "it ran longer than it may (start to close)");
    }

    pub(super) fn task_silent(&mut self, id: TaskId, fence: Fence) {
        let Some(task) = self.tasks.get(&id) else { return };
        let (State::Held(held), Some(limit)) = (task.state, task.row.options.heartbeat) else { return };
        let due = Timestamp(held.seen.0.saturating_add(limit.0));
        if held.fence == fence && due > self.now {
            self.timers.insert((due, Timer::TaskSilent(id, fence)));
        } else {
            self.task_overdue(id, fence, "it gave no sign of life in time (heartbeat)");
        }
    }

    fn task_overdue(&mut self, id: TaskId, fence: Fence, message: &str) {
        let held = self.tasks.get(&id).map(|task| task.state);
        let Some(State::Held(held)) = held else { return };
        if held.fence == fence {
            let frame = EngineFrame::TaskCancelled { task: id, fence, reason: message.to_owned() };
            self.say(Message::ToWorker(held.session, frame));
            self.task_failed(id, Failure::new(FailureCause::TimedOut, message));
        }
    }

    pub(super) fn task_reported(&mut self, session: WorkerSessionId, id: TaskId, fence: Fence, report: TaskReport) {
        let now = self.now;
        let Some(task) = self.held_by(session, id, fence) else { return };
        if let State::Held(held) = &mut task.state {
            held.seen = now;
        }
        let change = &mut task.row.change;
        let news = report.progress_permille.is_some() || !report.metadata.is_empty() || report.checkpoint.is_some();
        change.progress_permille = report.progress_permille.or(change.progress_permille);
        change.metadata.extend(report.metadata);
        if report.checkpoint.is_some() {
            change.checkpoint = report.checkpoint;
        }
        let change = Box::new(change.clone());
        if news {
            self.write(Write::TaskChanged(id, change));
        }
        if !report.log.is_empty() {
            self.write(Write::TaskSaid(id, report.log));
        }
    }

    /// Whether there was anything to cancel.
    pub(super) fn cancel_task(&mut self, id: TaskId, reason: String) -> bool {
        let Some(task) = self.tasks.get(&id) else { return false };
        let is_away = |owner: &Owner| matches!(owner, Owner::Run(run, _) if !self.runs.contains_key(run));
        if !matches!(task.state, State::Held(_)) && task.row.owner.as_ref().is_some_and(is_away) {
            // It is over only when its owner is read, and whoever cancels it is told now.
            self.mark_cancelled(id, &reason);
        }
        if !self.stops(id, &reason) {
            self.close_task(id, TaskStatus::Cancelled, Outcome::Failed(Failure::cancelled(reason)));
        }
        true
    }

    /// Who waited for the task is over.
    pub(super) fn orphan_task(&mut self, id: TaskId, reason: &str) {
        if !self.stops(id, reason) {
            self.end_task(id, TaskStatus::Cancelled, Outcome::Failed(Failure::cancelled(reason)));
        }
    }

    /// Whether it ends without more ado: its worker is told, or it has ended already.
    fn stops(&mut self, id: TaskId, reason: &str) -> bool {
        let Some(task) = self.tasks.get(&id) else { return true };
        let State::Held(held) = task.state else { return matches!(task.state, State::Ending(_)) };
        if self.mark_cancelled(id, reason) {
            let frame = EngineFrame::TaskCancelled { task: id, fence: held.fence, reason: reason.to_owned() };
            self.say(Message::ToWorker(held.session, frame));
        }
        true
    }

    /// Writes that it is to end early; whether that is news.
    fn mark_cancelled(&mut self, id: TaskId, reason: &str) -> bool {
        let Some(task) = self.tasks.get_mut(&id).filter(|task| task.row.change.cancelled.is_none()) else {
            return false;
        };
        task.row.change.cancelled = Some(reason.to_owned());
        let change = Box::new(task.row.change.clone());
        self.write(Write::TaskChanged(id, change));
        true
    }

    /// Its last attempt ended. It is over together with the answer in the journal of who waits for it, which is read first
    /// if need be: an engine that dies between the two would leave the answer out for ever.
    fn close_task(&mut self, id: TaskId, status: TaskStatus, outcome: Outcome) {
        self.let_go(id);
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let Some(Owner::Run(run, command)) = task.row.owner else { return self.end_task(id, status, outcome) };
        self.leave_lane(id);
        if let Some(task) = self.tasks.get_mut(&id) {
            task.state = State::Ending(None);
        }
        self.tell_run(run, RunInput::TaskEnded { task: id, command, status, outcome });
    }

    fn leave_lane(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else { return };
        if let State::Ready(since) = task.state {
            let lane = &mut self.lanes[task.lane].lane;
            lane.remove(&task.row.options.fair_key, task.place(since));
            if lane.is_empty() {
                self.ready.remove(&task.lane);
            }
        }
    }

    /// The task is over. Who waits for it in a journal is told by the caller.
    pub(super) fn end_task(&mut self, id: TaskId, status: TaskStatus, outcome: Outcome) {
        self.leave_lane(id);
        let Some(task) = self.tasks.remove(&id) else { return };
        if let State::Ending(Some(by)) = task.state
            && let Some(session) = self.sessions.get_mut(&by)
        {
            session.ends_open -= 1;
            self.ends_untold.insert(by);
        }
        let attempt = task.attempt();
        if !task.row.key.is_empty() {
            self.task_keys.remove(&(task.row.name.clone(), task.row.key.clone()));
        }
        let closed = ClosedTask { row: task.row, status, outcome: outcome.clone(), at: self.now, attempt };
        self.write(Write::TaskClosed(Box::new(closed)));
        self.tell_waiters(CallId::Task(id), &outcome);
    }

    pub(super) fn await_task(&mut self, ticket: Ticket, id: TaskId) {
        self.wait(ticket, CallId::Task(id));
        if !self.tasks.contains_key(&id) {
            self.load(Load::Task(id));
        }
    }

    pub(super) fn task_loaded(&mut self, id: TaskId, outcome: Option<Outcome>) {
        match outcome {
            Some(outcome) => self.tell_waiters(CallId::Task(id), &outcome),
            None if self.tasks.contains_key(&id) => {}
            None => self.refuse_waiters(CallId::Task(id), &Refusal::Unknown(id.to_string())),
        }
    }

    /// What a task that was just submitted begins with.
    pub(super) fn first_change(&self, run_at: Option<Timestamp>) -> TaskChange {
        TaskChange { due: run_at.unwrap_or(self.now).max(self.now), ..TaskChange::default() }
    }

    pub(super) fn tell_waiters(&mut self, call: CallId, outcome: &Outcome) {
        for ticket in self.waiters.remove(&call).unwrap_or_default() {
            self.tickets.remove(&ticket);
            self.reply(ticket, Ok(Reply::Outcome(outcome.clone())));
        }
    }

    pub(super) fn refuse_waiters(&mut self, call: CallId, refusal: &Refusal) {
        for ticket in self.waiters.remove(&call).unwrap_or_default() {
            self.tickets.remove(&ticket);
            self.reply(ticket, Err(refusal.clone()));
        }
    }

    pub(super) fn wait(&mut self, ticket: Ticket, call: CallId) {
        self.waiters.entry(call).or_default().insert(ticket);
        self.tickets.insert(ticket, call);
    }
}
