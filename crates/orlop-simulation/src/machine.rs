//! The state machine of a member, watched as it applies.

use crate::check::applied::AppliedLog;
use crate::check::command;
use crate::mutation::Mutation;
use crate::trace::hash_of;
use orlop_consensus::{Encode, InvalidSnapshot, StateMachine};
use orlop_control::seam::Machine;
use orlop_state::{Kind, State, stored};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// States are compared after every so many entries.
const COMPARED_EVERY: u64 = 16;
/// So many changes are remembered for watchers: few, so that some come back too late.
const RING: usize = 60;

/// The real machine, and what is noted of it.
pub(crate) struct Recorder {
    pub(crate) machine: Machine,
    member: u64,
    last: AtomicU64,
    log: Arc<Mutex<AppliedLog>>,
    mutation: Option<Mutation>,
    /// The command before.
    before: Mutex<Vec<u8>>,
}

impl Recorder {
    pub(crate) fn new(member: u64, log: Arc<Mutex<AppliedLog>>, mutation: Option<Mutation>) -> Self {
        let (last, before) = (AtomicU64::new(0), Mutex::default());
        Self { machine: Machine::new(RING), member, last, log, mutation, before }
    }

    /// The state now, as a hash.
    pub(crate) fn state(&self) -> u64 {
        hash_of(&StateMachine::snapshot(&self.machine)())
    }

    fn apply_with_bugs(&self, index: u64, command: &[u8]) -> Vec<u8> {
        let mut read = stored::decode_command(command);
        match (self.mutation, &mut read.kind) {
            // Every command gets twice its index, so that there is room for one that comes again.
            (Some(Mutation::ApplyTwice), _) => {
                let answer = self.machine.apply(index * 2, command);
                let before = std::mem::replace(&mut *self.before.lock(), command.to_vec());
                if index.is_multiple_of(5) {
                    self.machine.apply(index * 2 + 1, &before);
                }
                return answer;
            }
            (Some(Mutation::IgnoreFence), Kind::SubmitPlan(plan)) => {
                plan.fence = self.machine.read(|state| state.lease().map_or(0, |lease| lease.fence));
            }
            (Some(Mutation::IgnoreGeneration), Kind::ReportReplicas(reports)) => self.machine.read(|state| {
                for report in &mut reports.reports {
                    if let Some(replica) = state.replica(report.replica) {
                        report.generation = replica.generation;
                    }
                }
            }),
            _ => return self.machine.apply(index, command),
        }
        self.machine.apply(index, &stored::encode_command(&read))
    }
}

impl StateMachine for Recorder {
    fn apply(&self, index: u64, command: &[u8]) -> Vec<u8> {
        let read = stored::decode_command(command);
        let before = command::is_guarded(&read.kind).then(|| self.machine.read(State::clone));
        let answer = self.apply_with_bugs(index, command);
        let at = self.last.swap(index, Ordering::Relaxed);
        let mut log = self.log.lock();
        log.applied(self.member, at, index, hash_of(command), hash_of(&answer));
        if let Some(before) = before {
            let found = self.machine.read(|after| command::look(&read.kind, &before, after));
            found.into_iter().for_each(|violation| log.found(violation));
        }
        if index.is_multiple_of(COMPARED_EVERY) {
            log.state(self.member, index, self.state());
        }
        answer
    }

    fn snapshot(&self) -> Encode {
        self.machine.snapshot()
    }

    fn restore(&self, index: u64, snapshot: &[u8]) -> Result<(), InvalidSnapshot> {
        let scale = if self.mutation == Some(Mutation::ApplyTwice) { 2 } else { 1 };
        self.machine.restore(index * scale, snapshot)?;
        self.last.store(index, Ordering::Relaxed);
        Ok(())
    }
}
