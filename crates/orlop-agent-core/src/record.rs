//! What must survive a crash of the agent.

use orlop_model::spec::Signal;
use orlop_model::{Assignment, Generation, Millis, Phase, ReplicaId, ReplicaStatus, Timestamp};

/// What is written down of a replica, so that an agent that starts again knows what it had decided. Everything else is
/// found in the runtime and the overlay.
///
/// It is written before the step that depends on it. It guards against a crash of the agent, not of the machine: after a
/// power cut no process is left that a lost record could wrong, the containers found tell their own number, and a lost
/// count only means a shorter wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose.
    pub replica: ReplicaId,
    /// The generation it runs.
    pub generation: Generation,
    /// The number of the newest container that was to be made; 0 for none.
    pub attempt: u32,
    /// The newest container whose process is known to have started; its start is in `starts`.
    pub started_attempt: u32,
    /// The newest container whose end was dealt with.
    pub ended_attempt: u32,
    /// How often a process was started.
    pub starts: u32,
    /// Failures in a row, the base of the next wait.
    pub failures: u32,
    /// The next init step to do; all before have been done.
    pub init_next: usize,
    /// Since when the present process has been ready.
    pub ready_since: Option<Timestamp>,
    /// Its stop signal, for when neither its workload nor its image is known any more.
    pub stop_signal: Signal,
    /// Its grace period, likewise.
    pub stop_grace: Millis,
    /// Its status as last decided; it may not have been reported yet.
    pub status: ReplicaStatus,
}

impl Record {
    /// The record of a replica that nothing was done for.
    pub fn new(replica: ReplicaId, assignment: Option<&Assignment>, now: Timestamp) -> Self {
        Self {
            replica,
            generation: assignment.map(|a| a.replica.generation).unwrap_or_default(),
            attempt: 0,
            started_attempt: 0,
            ended_attempt: 0,
            starts: 0,
            failures: 0,
            init_next: 0,
            ready_since: None,
            stop_signal: assignment.and_then(|a| a.workload.stop_signal).unwrap_or(Signal::TERM),
            stop_grace: assignment.map_or(Millis::from_secs(10), |a| a.workload.stop_grace_period),
            status: ReplicaStatus::pending(now),
        }
    }

    /// Was it decided that it stops? That is never taken back.
    pub fn is_stopping(&self) -> bool {
        self.status.phase == Phase::Stopping
    }
}
