//! Secrets in files, while a container has them.
//!
//! A container is made with the values of now. One that comes later goes into the files, and then the process is told, if
//! its service asks for that and as soon as it is ready: before, it may not have said yet what it does about the signal,
//! which would be lost on it then. A process that begins later reads the files, and needs to be told nothing.

use super::{Container, Goal, Piece, ReplicaMachine};
use crate::{Failure, Step};
use orlop_model::spec::Signal;
use orlop_model::{Level, Timestamp};
use std::collections::BTreeSet;

/// The files of the present container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SecretFiles {
    /// Ready: they have the values of the assignment.
    values: Piece,
    /// Its process may have begun, though nobody has said so.
    begun: bool,
    /// Other values came while these were being written.
    overtaken: bool,
    /// What the process is to get.
    due: BTreeSet<Signal>,
    telling: Piece,
}

impl SecretFiles {
    /// Of a container of which nothing is known.
    pub(super) const UNKNOWN: SecretFiles = SecretFiles::with(Piece::MISSING, true);
    /// Of a container that is made with the values of now.
    pub(super) const NEW: SecretFiles = SecretFiles::with(Piece::Ready, false);

    const fn with(values: Piece, begun: bool) -> Self {
        Self { values, begun, overtaken: false, due: BTreeSet::new(), telling: Piece::MISSING }
    }

    /// Its process is being started.
    pub(super) fn begin(&mut self) {
        self.begun = true;
    }

    /// Is something of theirs under way?
    pub(super) fn are_busy(&self) -> bool {
        [self.values, self.telling].iter().any(|piece| matches!(piece, Piece::Busy { .. }))
    }

    /// The assignment has other values.
    pub(super) fn change(&mut self) {
        match self.values {
            Piece::Busy { .. } => self.overtaken = true,
            Piece::Ready | Piece::Missing { .. } => self.values = Piece::MISSING,
        }
    }
}

impl ReplicaMachine {
    /// Before the process is started; true when its files are as they should be.
    pub(super) fn settle_secrets(&mut self, now: Timestamp, out: &mut Vec<Step>) -> bool {
        if !self.must_settle() || self.secrets.values == Piece::Ready {
            return true;
        }
        if self.secrets.values.begin(now) {
            out.push(Step::RefreshSecrets { started: self.secrets.begun });
        }
        false
    }

    fn must_settle(&self) -> bool {
        if self.secrets.begun { self.has_changing_files() } else { self.has_secret_files() }
    }

    /// While the process runs.
    pub(super) fn drive_secrets(&mut self, now: Timestamp, out: &mut Vec<Step>) {
        let Some(attempt) = self.running_attempt() else { return };
        if !self.has_changing_files() || self.secrets.are_busy() {
            return;
        }
        if self.secrets.values.begin(now) {
            out.push(Step::RefreshSecrets { started: true });
        } else if self.must_tell() && self.secrets.telling.begin(now) {
            out.push(Step::TellOfSecrets { attempt, signals: self.secrets.due.clone() });
        }
    }

    pub(super) fn secrets_refreshed(&mut self, signals: BTreeSet<Signal>) {
        let overtaken = std::mem::take(&mut self.secrets.overtaken);
        self.secrets.values = if overtaken { Piece::MISSING } else { Piece::Ready };
        self.secrets.due = signals;
    }

    pub(super) fn secrets_failed(&mut self, failure: Failure, now: Timestamp, out: &mut Vec<Step>) {
        self.secrets.overtaken = false;
        self.secrets.values = self.again(self.secrets.values, failure, now, out);
    }

    pub(super) fn secrets_told(&mut self) {
        self.secrets.telling = Piece::MISSING;
        self.secrets.due.clear();
    }

    pub(super) fn secrets_untold(&mut self, failure: Failure, now: Timestamp, out: &mut Vec<Step>) {
        self.secrets.telling = self.again(self.secrets.telling, failure, now, out);
    }

    /// When something of the files is due by the clock.
    pub(super) fn secrets_deadline(&self) -> Option<Timestamp> {
        match (self.container, self.secrets.values) {
            _ if self.secrets.are_busy() => None,
            (Container::Made { .. }, values) if self.must_settle() => values.deadline(),
            (Container::Running { .. }, Piece::Ready) if self.must_tell() => self.secrets.telling.deadline(),
            (Container::Running { .. }, values) if self.has_changing_files() => values.deadline(),
            _ => None,
        }
    }

    pub(super) fn has_secret_files(&self) -> bool {
        self.assignment.as_ref().is_some_and(|a| !a.workload.secret_files.is_empty())
    }

    fn has_changing_files(&self) -> bool {
        self.assignment.as_ref().is_some_and(|a| a.workload.changing_files().next().is_some())
    }

    fn must_tell(&self) -> bool {
        !self.secrets.due.is_empty() && self.record.status.phase.is_ready()
    }

    /// The process goes on with what it has, and people are told once.
    fn again(&self, piece: Piece, failure: Failure, now: Timestamp, out: &mut Vec<Step>) -> Piece {
        let tries = match piece {
            Piece::Busy { tries } => tries.saturating_add(1),
            Piece::Ready | Piece::Missing { .. } => 1,
        };
        if tries == 1 && self.goal == Goal::Run {
            out.push(Step::Event { level: Level::Warning, reason: failure.reason });
        }
        Piece::Missing { tries, retry_at: Some(now + self.timings.retry_delay(tries)) }
    }
}
