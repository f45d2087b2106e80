//! The state machine of a member, watched as it applies.

use crate::check::applied::AppliedLog;
use crate::mutation::Mutation;
use crate::trace::hash_of;
use orlop_consensus::{Encode, InvalidSnapshot, StateMachine};
use orlop_control::seam::Machine;
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
    /// Every command gets twice its index, so that there is room for one that comes again.
    again: Option<Mutex<Vec<u8>>>,
}

impl Recorder {
    pub(crate) fn new(member: u64, log: Arc<Mutex<AppliedLog>>, mutation: Option<Mutation>) -> Self {
        let again = (mutation == Some(Mutation::ApplyTwice)).then(Mutex::default);
        Self { machine: Machine::new(RING), member, last: AtomicU64::new(0), log, again }
    }

    fn apply_real(&self, index: u64, command: &[u8]) -> Vec<u8> {
        let Some(before) = &self.again else { return self.machine.apply(index, command) };
        let answer = self.machine.apply(index * 2, command);
        let before = std::mem::replace(&mut *before.lock(), command.to_vec());
        if index.is_multiple_of(5) {
            self.machine.apply(index * 2 + 1, &before);
        }
        answer
    }

    /// The state now, as a hash.
    pub(crate) fn state(&self) -> u64 {
        hash_of(&StateMachine::snapshot(&self.machine)())
    }
}

impl StateMachine for Recorder {
    fn apply(&self, index: u64, command: &[u8]) -> Vec<u8> {
        let answer = self.apply_real(index, command);
        let before = self.last.swap(index, Ordering::Relaxed);
        let mut log = self.log.lock();
        log.applied(self.member, before, index, hash_of(command), hash_of(&answer));
        if index.is_multiple_of(COMPARED_EVERY) {
            log.state(self.member, index, self.state());
        }
        answer
    }

    fn snapshot(&self) -> Encode {
        self.machine.snapshot()
    }

    fn restore(&self, index: u64, snapshot: &[u8]) -> Result<(), InvalidSnapshot> {
        let scale = if self.again.is_some() { 2 } else { 1 };
        self.machine.restore(index * scale, snapshot)?;
        self.last.store(index, Ordering::Relaxed);
        Ok(())
    }
}
