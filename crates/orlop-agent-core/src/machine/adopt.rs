//! The machine of a replica as it is found.

use super::secrets::SecretFiles;
use super::{Busy, Container, Goal, HealthProgress, InitProgress, Piece, ReplicaMachine, Retry};
use crate::{ContainerState, Found, FoundContainer, Record, Role, Step, Timings};
use orlop_model::{Assignment, Desired, Health, Outcome, Phase, ReplicaId, StopOrder, Timestamp};

impl ReplicaMachine {
    /// The machine of a replica that the node may have something of, and its first steps. Whatever the last agent was
    /// doing when it died: what is found of containers is believed, what was written down tells what had been decided.
    ///
    /// `assignment` is `None` for a replica that a live view does not hold; it is ended and forgotten. A container that
    /// runs and is wanted is left alone, but for its health check. The status is reported again, because nobody knows
    /// whether it was.
    pub fn adopt(
        id: ReplicaId,
        assignment: Option<Assignment>,
        record: Option<Record>,
        found: Found,
        now: Timestamp,
        timings: Timings,
        seed: u64,
    ) -> (Self, Vec<Step>) {
        let had_record = record.is_some();
        let mut record = record.unwrap_or_else(|| Record::new(id, assignment.as_ref(), now));
        if let Some(assignment) = &assignment {
            record.generation = assignment.replica.generation;
            // One of the image is in the record.
            record.stop_signal = assignment.workload.stop_signal.unwrap_or(record.stop_signal);
            record.stop_grace = assignment.workload.stop_grace_period;
        }
        if found.address.is_some() {
            record.status.address = found.address;
        }
        let goal = match (&assignment, record.status.phase) {
            (None, _) => Goal::Leave(StopOrder::Graceful),
            (Some(assignment), phase) => match (assignment.replica.desired, phase) {
                (_, Phase::Finished(outcome @ Outcome::Failed)) => Goal::GiveUp(outcome),
                (Desired::Stop(order), _) => Goal::Stop(order),
                (Desired::Run, Phase::Finished(outcome @ Outcome::Isolated)) => Goal::GiveUp(outcome),
                // That it stops was decided; a view from before that does not take it back.
                (Desired::Run, Phase::Stopping | Phase::Finished(Outcome::Stopped | Outcome::Lost)) => {
                    Goal::Stop(StopOrder::Graceful)
                }
                (Desired::Run, _) => Goal::Run,
            },
        };
        let mut machine = ReplicaMachine {
            id,
            assignment,
            goal,
            image: Piece::MISSING,
            network: match found.address {
                Some(_) => Piece::Ready,
                None => Piece::MISSING,
            },
            files: Piece::MISSING,
            container: Container::None,
            secrets: SecretFiles::UNKNOWN,
            leftovers: false,
            cleared: false,
            detached: false,
            busy: Busy::default(),
            init: InitProgress::default(),
            health: HealthProgress::default(),
            unhealthy: None,
            ending: None,
            keeping: None,
            taking_secrets: false,
            epoch: 0,
            early_exit: None,
            hold_until: match record.status.phase {
                // However the clock was set meanwhile.
                Phase::BackingOff(until) => Some(until.min(now + timings.restart_max)),
                _ => None,
            },
            retry: Retry::default(),
            gone: false,
            record,
            timings,
            seed,
        };
        let mut out = Vec::new();
        let found_any = !found.containers.is_empty();
        machine.find_container(&found.containers, had_record, now, &mut out);
        if had_record || found_any {
            out.push(Step::Persist(machine.record.clone()));
            out.push(Step::Report(machine.record.status.clone()));
        } else {
            // Nothing was ever done for it: it is also known that nothing is left of it.
            machine.cleared = true;
            machine.detached = found.address.is_none();
        }
        machine.drive(now, &mut out);
        (machine, out)
    }

    fn find_container(&mut self, containers: &[FoundContainer], had_record: bool, now: Timestamp, out: &mut Vec<Step>) {
        let mains = || containers.iter().filter(|c| c.role == Role::Main);
        let newest = mains().max_by_key(|c| (c.state == ContainerState::Running, c.attempt));
        self.leftovers = containers.iter().any(|c| Some(c) != newest);
        self.record.attempt = mains().map(|c| c.attempt).max().unwrap_or(0).max(self.record.attempt);
        let lost = |machine: &Self, attempt| {
            machine.record.started_attempt == attempt && machine.record.ended_attempt < attempt
        };
        let Some(&FoundContainer { attempt, state, .. }) = newest else {
            let attempt = self.record.attempt;
            if lost(self, attempt) && attempt > 0 {
                self.process_lost(attempt, now, out);
                self.container = Container::None;
            }
            return;
        };
        if !had_record {
            // Only the containers tell how often it was started: each but the last was.
            self.record.starts = attempt - 1;
            self.record.started_attempt = attempt - 1;
            self.record.ended_attempt = attempt - 1;
            // Init steps come before the first container.
            self.record.init_next = self.assignment.as_ref().map_or(0, |a| a.workload.init.len());
        }
        match state {
            ContainerState::NoTask if lost(self, attempt) => self.process_lost(attempt, now, out),
            ContainerState::NoTask => self.container = Container::Ended { attempt },
            ContainerState::Created => self.container = Container::Made { attempt },
            ContainerState::Stopped(exit) => {
                self.count_start(attempt);
                match self.record.ended_attempt >= attempt {
                    true => self.container = Container::Ended { attempt },
                    false => {
                        self.container = Container::Running { attempt };
                        self.resume_unhealthy();
                        self.exited(attempt, exit, None, now, out);
                    }
                }
            }
            ContainerState::Running => {
                self.container = Container::Running { attempt };
                self.count_start(attempt);
                self.hold_until = None;
                self.resume_unhealthy();
                self.resume_running(now);
            }
        }
    }

    /// A process that was being ended for being unhealthy still is.
    fn resume_unhealthy(&mut self) {
        if self.record.status.phase == Phase::Running(Health::Unhealthy) {
            self.unhealthy = self.record.status.reason.clone();
        }
    }

    fn resume_running(&mut self, now: Timestamp) {
        let status = &mut self.record.status;
        let phase = match (status.phase, self.assignment.as_ref().map(|a| a.workload.health.is_some())) {
            _ if self.goal != Goal::Run => status.phase,
            (phase @ (Phase::Running(_) | Phase::Starting), Some(true)) => phase,
            (_, Some(true)) => Phase::Starting,
            (_, _) => Phase::Running(Health::Unchecked),
        };
        if status.phase != phase {
            status.phase = phase;
            status.since = now.max(status.since);
            status.reason = None;
            if phase == Phase::Running(Health::Unchecked) {
                self.record.ready_since = Some(now);
            }
        }
        let began = self.record.status.since;
        self.resume_health(began, phase == Phase::Running(Health::Healthy), now);
    }
}
