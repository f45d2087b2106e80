//! Whether a process that runs is well.
//!
//! A process that has not passed a check is asked often at first, so that one that is quickly up is quickly ready. These
//! early checks fail without counting; they end with the start grace, or with the first interval when that is longer.
//! From then on, checks are an interval apart, and as many failures in a row as the service allows make it unhealthy.

use super::ReplicaMachine;
use crate::{Failure, FailureKind, Step};
use orlop_model::spec::HealthCheck;
use orlop_model::{Health, Millis, Phase, Reason, Timestamp};

/// How the health check of the present process goes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HealthProgress {
    began: Timestamp,
    next: Option<Timestamp>,
    early: u32,
    failures: u32,
    passed: bool,
}

impl ReplicaMachine {
    fn health_check(&self) -> Option<&HealthCheck> {
        self.assignment.as_ref().and_then(|a| a.workload.health.as_ref())
    }

    pub(super) fn has_health_check(&self) -> bool {
        self.health_check().is_some()
    }

    /// A process has just been started.
    pub(super) fn begin_health(&mut self, now: Timestamp) {
        self.health = HealthProgress { began: now, next: Some(now), ..HealthProgress::default() };
    }

    /// A process was found that had been judged before, or had not.
    pub(super) fn resume_health(&mut self, began: Timestamp, passed: bool, now: Timestamp) {
        self.health = HealthProgress { began, next: Some(now), passed, ..HealthProgress::default() };
    }

    pub(super) fn drive_health(&mut self, now: Timestamp, out: &mut Vec<Step>) {
        let Some(attempt) = self.running_attempt() else { return };
        if self.has_health_check() && !self.busy.check && self.health.next.is_some_and(|next| next <= now) {
            self.busy.check = true;
            self.busy.check_cancelled = false;
            out.push(Step::Check { attempt });
        }
    }

    pub(super) fn checked(&mut self, attempt: u32, result: Result<(), Failure>, now: Timestamp, out: &mut Vec<Step>) {
        self.busy.check = false;
        self.busy.check_cancelled = false;
        let Some(check) = self.health_check() else { return };
        let (interval, grace, retries) = (check.interval, check.start_grace, check.retries);
        if self.running_attempt() != Some(attempt) || self.goal != super::Goal::Run || self.unhealthy.is_some() {
            return;
        }
        self.health.next = Some(now + interval);
        let failure = match result {
            Ok(()) => {
                self.health.passed = true;
                self.health.failures = 0;
                if self.record.status.phase != Phase::Running(Health::Healthy) {
                    self.record.ready_since = Some(now);
                    self.set_status(Phase::Running(Health::Healthy), None, now, out);
                }
                return;
            }
            Err(failure) if failure.kind != FailureKind::Permanent => return,
            Err(failure) => failure,
        };
        let counts_from = self.health.began + grace.max(interval);
        if !self.health.passed && now < counts_from {
            let step = early_pause(self.timings.first_check, self.health.early, interval);
            self.health.early += 1;
            self.health.next = Some((now + step).min(counts_from));
            return;
        }
        self.health.failures += 1;
        if self.health.failures >= retries {
            let message =
                format!("its health check failed {} times in a row: {}", self.health.failures, failure.reason);
            let reason = Reason::new("unhealthy", message);
            self.unhealthy = Some(reason.clone());
            self.set_status(Phase::Running(Health::Unhealthy), Some(reason), now, out);
        }
    }

    pub(super) fn health_deadline(&self) -> Option<Timestamp> {
        let waits = self.running_attempt().is_some() && self.unhealthy.is_none() && !self.busy.check;
        self.health.next.filter(|_| waits && self.has_health_check())
    }
}

fn early_pause(first: Millis, early: u32, interval: Millis) -> Millis {
    let mut pause = first.0.max(1);
    for _ in 0..early {
        pause += pause / 2 + 1;
        if pause >= interval.0 {
            return interval;
        }
    }
    Millis(pause)
}
