//! From a placed replica to one whose container can be made: image, network, files, init steps.

use super::{Piece, ReplicaMachine};
use crate::{Failure, FailureKind, Operation, Step};
use orlop_model::spec::{InitAction, OnFailure, OnInitFailure};
use orlop_model::{Level, Outcome, Phase, Reason, Timestamp};

/// How far the present init step is. A new agent begins it again, with its whole time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct InitProgress {
    tries: u32,
    deadline: Option<Timestamp>,
    pause_until: Option<Timestamp>,
}

impl ReplicaMachine {
    /// Asks for what is missing, all at once; true when nothing is.
    pub(super) fn prepare(&mut self, now: Timestamp, out: &mut Vec<Step>) -> bool {
        if [self.image, self.network, self.files] == [Piece::Ready; 3] {
            return true;
        }
        if self.record.status.phase != Phase::Preparing {
            self.set_status(Phase::Preparing, None, now, out);
        }
        if self.image.begin(now) {
            out.push(Step::PullImage);
        }
        self.attach(now, out);
        if self.files.begin(now) {
            out.push(Step::PrepareFiles);
        }
        false
    }

    /// What becomes of a piece that could not be had.
    pub(super) fn piece_failed(
        &mut self,
        piece: Piece,
        failure: Failure,
        now: Timestamp,
        out: &mut Vec<Step>,
    ) -> Piece {
        let tries = match piece {
            Piece::Busy { tries } => tries.saturating_add(1),
            _ => 1,
        };
        if self.goal != super::Goal::Run || self.hold_until.is_some() {
            // It was cancelled, or another piece failed first and all are tried again after the same wait.
            return Piece::MISSING;
        }
        match failure.kind {
            FailureKind::Permanent => {
                self.init_failed(failure.reason, now, out);
                Piece::MISSING
            }
            FailureKind::Infrastructure | FailureKind::ImageGone | FailureKind::ContainerGone => {
                self.waits_for_infrastructure(failure.reason, now, out);
                Piece::Missing { tries, retry_at: Some(now + self.timings.retry_delay(tries)) }
            }
        }
    }

    /// Goes through the init steps; true when all have been done.
    pub(super) fn initialize(&mut self, now: Timestamp, out: &mut Vec<Step>) -> bool {
        loop {
            let Some(step) = self.assignment.as_ref().and_then(|a| a.workload.init.get(self.record.init_next)) else {
                return true;
            };
            let (id, timeout) = (step.id.clone(), step.timeout);
            if self.record.status.phase != Phase::Initializing {
                self.set_status(Phase::Initializing, None, now, out);
            }
            let deadline = *self.init.deadline.get_or_insert(now + timeout);
            if self.busy.init {
                if now >= deadline && !self.busy.init_cancelled {
                    self.busy.init_cancelled = true;
                    out.push(Step::Cancel(Operation::Init));
                }
                return false;
            }
            if now >= deadline {
                let reason = Reason::new("init_timeout", format!("init step {id} took longer than {timeout}"));
                self.init_step_failed(reason, now, out);
                if self.goal != super::Goal::Run || self.hold_until.is_some() {
                    return false;
                }
                continue;
            }
            if self.init.pause_until.is_none_or(|until| until <= now) {
                self.init.pause_until = None;
                self.busy.init = true;
                self.epoch += 1;
                self.cleared = false;
                out.push(Step::RunInit { index: self.record.init_next, attempt: self.init.tries });
            }
            return false;
        }
    }

    pub(super) fn init_done(&mut self, now: Timestamp, out: &mut Vec<Step>) {
        self.busy.init = false;
        self.busy.init_cancelled = false;
        self.next_init_step(out);
        if self.goal == super::Goal::Run && self.record.status.reason.is_some() {
            self.set_status(Phase::Initializing, None, now, out);
        }
    }

    fn next_init_step(&mut self, out: &mut Vec<Step>) {
        self.init = InitProgress::default();
        self.record.init_next += 1;
        out.push(Step::Persist(self.record.clone()));
    }

    /// One try of the present init step failed.
    pub(super) fn init_try_failed(&mut self, failure: Failure, now: Timestamp, out: &mut Vec<Step>) {
        self.busy.init = false;
        self.busy.init_cancelled = false;
        if self.goal != super::Goal::Run {
            return;
        }
        let Some(step) = self.assignment.as_ref().and_then(|a| a.workload.init.get(self.record.init_next)) else {
            return;
        };
        let is_poll = matches!(step.action, InitAction::WaitTcp { .. } | InitAction::WaitHttp { .. });
        let (id, timeout, retries) = (step.id.clone(), step.timeout, step.retries);
        if self.init.deadline.is_some_and(|deadline| now >= deadline) {
            let message = format!("init step {id} took longer than {timeout}: {}", failure.reason);
            return self.init_step_failed(Reason::new("init_timeout", message), now, out);
        }
        if failure.kind != FailureKind::Permanent {
            self.init.pause_until = Some(now + self.timings.retry_delay(self.init.tries + 1));
            self.init.tries += 1;
            return self.waits_for_infrastructure(failure.reason, now, out);
        }
        if is_poll || self.init.tries < retries {
            self.init.tries += 1;
            self.init.pause_until = Some(now + self.timings.init_pause);
            return;
        }
        let message = format!("init step {id} failed: {}", failure.reason);
        self.init_step_failed(Reason::new("init_failed", message), now, out);
    }

    /// The present init step failed for good.
    fn init_step_failed(&mut self, reason: Reason, now: Timestamp, out: &mut Vec<Step>) {
        let Some(step) = self.assignment.as_ref().and_then(|a| a.workload.init.get(self.record.init_next)) else {
            return;
        };
        let level = match step.on_failure {
            OnFailure::Fail => {
                self.init = InitProgress::default();
                return self.init_failed(reason, now, out);
            }
            OnFailure::Warn => Level::Warning,
            OnFailure::Continue => Level::Info,
        };
        out.push(Step::Event { level, reason });
        self.next_init_step(out);
    }

    /// The replica could not be made ready for a start: an init step failed, or its image, its volumes or its
    /// environment can never be had as they are. Users push images and set variables, so it is tried again unless the
    /// service says otherwise; it goes on with the init step that failed.
    fn init_failed(&mut self, reason: Reason, now: Timestamp, out: &mut Vec<Step>) {
        match self.assignment.as_ref().map(|a| a.workload.on_init_failure) {
            Some(OnInitFailure::Fail) => self.give_up(Outcome::Failed, reason, now, out),
            Some(OnInitFailure::Restart) => {
                self.next_attempt();
                self.record.failures = self.record.failures.saturating_add(1);
                self.hold(self.timings.init_restart, reason, now, out);
            }
            Some(OnInitFailure::Backoff) | None => {
                self.next_attempt();
                self.back_off(reason, now, out);
            }
        }
    }

    pub(super) fn init_deadline(&self) -> Option<Timestamp> {
        let waits = self.hold_until.is_none() && self.running_attempt().is_none();
        match (waits, self.busy.init, self.busy.init_cancelled) {
            (true, true, false) => self.init.deadline,
            (true, false, _) => match (self.init.deadline, self.init.pause_until) {
                (Some(deadline), Some(pause)) => Some(deadline.min(pause)),
                (deadline, _) => deadline,
            },
            _ => None,
        }
    }
}
