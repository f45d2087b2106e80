//! The state machine of a member, watched as it applies.

use crate::check::applied::AppliedLog;
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
}

impl Recorder {
    pub(crate) fn new(member: u64, log: Arc<Mutex<AppliedLog>>) -> Self {
        Self { machine: Machine::new(RING), member, last: AtomicU64::new(0), log }
    }

    /// The state now, as a hash.
    pub(crate) fn state(&self) -> u64 {
        hash_of(&StateMachine::snapshot(&self.machine)())
    }
}

impl StateMachine for Recorder {
    fn apply(&self, index: u64, command: &[u8]) -> Vec<u8> {
        let answer = self.machine.apply(index, command);
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
        self.machine.restore(index, snapshot)?;
        self.last.store(index, Ordering::Relaxed);
        Ok(())
    }
}
