//! From whatever a replica does to nothing.

use super::{Container, Ending, Piece, ReplicaMachine};
use crate::{Failure, FailureKind, Operation, Step};
use orlop_model::spec::Signal;
use orlop_model::{Level, Outcome, Phase, Reason, StopOrder, Timestamp};

impl ReplicaMachine {
    pub(super) fn drive_stop(&mut self, order: StopOrder, now: Timestamp, out: &mut Vec<Step>) {
        if self.record.status.phase != Phase::Finished(Outcome::Stopped) {
            self.set_status(Phase::Stopping, None, now, out);
        }
        if self.end_process(order, now, out) && self.clear(out) {
            self.set_status(Phase::Finished(Outcome::Stopped), None, now, out);
        }
    }

    pub(super) fn drive_leave(&mut self, order: StopOrder, now: Timestamp, out: &mut Vec<Step>) {
        if !self.record.status.phase.is_finished() {
            self.set_status(Phase::Stopping, None, now, out);
        }
        if self.end_process(order, now, out) && self.clear(out) {
            self.gone = true;
            out.push(Step::Forget);
        }
    }

    pub(super) fn drive_give_up(&mut self, outcome: Outcome, now: Timestamp, out: &mut Vec<Step>) {
        // Of an isolated one the container stays, for its files, and so does the network.
        if self.end_process(StopOrder::Graceful, now, out) && outcome != Outcome::Isolated {
            self.clear(out);
        }
    }

    /// Ends the process, if there is one: asks it, waits for its grace to pass, kills it. True when there is none.
    pub(super) fn end_process(&mut self, order: StopOrder, now: Timestamp, out: &mut Vec<Step>) -> bool {
        self.cancel(out);
        if self.busy.container {
            return false;
        }
        let Container::Running { attempt } = self.container else { return true };
        let grace = self.record.stop_grace;
        let since = match self.record.status.phase {
            // An agent that died meanwhile does not make the grace longer.
            Phase::Stopping => self.record.status.since,
            _ => now,
        };
        let ending = self.ending.get_or_insert(Ending { asked: false, kill_at: since + grace, killed_at: None });
        if self.busy.signal || self.retry.at.is_some() {
            return false;
        }
        let must_die = order == StopOrder::Forced || (ending.asked && now >= ending.kill_at);
        let signal = if must_die {
            if ending.killed_at.is_some_and(|at| now < at + self.timings.kill_again) {
                return false;
            }
            if ending.killed_at.is_none() && ending.asked && order == StopOrder::Graceful {
                let signal = self.record.stop_signal;
                let message = format!("its process did not end within {grace} after {signal}; it was killed");
                out.push(Step::Event { level: Level::Warning, reason: Reason::new("killed_after_grace", message) });
            }
            ending.killed_at = Some(now);
            Signal::KILL
        } else if !ending.asked {
            ending.asked = true;
            self.record.stop_signal
        } else {
            return false;
        };
        self.busy.signal = true;
        out.push(Step::Signal { attempt, signal });
        false
    }

    pub(super) fn signal_failed(&mut self, failure: Failure, now: Timestamp, out: &mut Vec<Step>) {
        self.busy.signal = false;
        match (failure.kind, self.container) {
            (FailureKind::ContainerGone, Container::Running { attempt }) => self.process_lost(attempt, now, out),
            _ => {
                // Whether the signal arrived is not known; a second one does no harm that a lost one would not.
                if let Some(ending) = &mut self.ending {
                    match ending.killed_at {
                        Some(_) => ending.killed_at = None,
                        None => ending.asked = false,
                    }
                }
                self.retry_later(now);
            }
        }
    }

    /// Removes what the runtime and the overlay have of the replica, and its secrets; true when they have nothing.
    fn clear(&mut self, out: &mut Vec<Step>) -> bool {
        self.cancel(out);
        let busy = [self.image, self.network, self.files].iter().any(|p| matches!(p, Piece::Busy { .. }))
            || self.busy.container
            || self.busy.init
            || self.busy.check
            || self.busy.signal
            || self.busy.remove
            || self.busy.detach
            || self.secrets.are_busy();
        if busy || self.retry.at.is_some() {
            return false;
        }
        if !self.cleared {
            self.remove(None, true, out);
            return false;
        }
        if !self.detached {
            self.busy.detach = true;
            out.push(Step::DetachNetwork);
            return false;
        }
        true
    }

    fn cancel(&mut self, out: &mut Vec<Step>) {
        if matches!(self.image, Piece::Busy { .. }) && !self.busy.pull_cancelled {
            self.busy.pull_cancelled = true;
            out.push(Step::Cancel(Operation::Pull));
        }
        if self.busy.init && !self.busy.init_cancelled {
            self.busy.init_cancelled = true;
            out.push(Step::Cancel(Operation::Init));
        }
        if self.busy.check && !self.busy.check_cancelled {
            self.busy.check_cancelled = true;
            out.push(Step::Cancel(Operation::Check));
        }
    }

    pub(super) fn ending_deadline(&self) -> Option<Timestamp> {
        if self.busy.signal || self.running_attempt().is_none() {
            return None;
        }
        self.ending.map(|ending| match ending.killed_at {
            Some(at) => at + self.timings.kill_again,
            None => ending.kill_at,
        })
    }
}
