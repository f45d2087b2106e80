//! What a replica's record on disk holds back.
//!
//! A record is written before the step that depends on it. While it cannot be written, no process of the replica is
//! begun: its machine hears that the step failed, and tries it again in its own time. Nor is the control plane told that
//! the replica is finished by its policy, which an agent that starts again would know nothing of. Everything that ends a
//! replica goes on: a full disk must not keep it from being stopped.

use super::Agent;
use crate::replica::{store_record, unwritten};
use orlop_agent_core::{Failure, Record, Step};
use orlop_model::{Outcome, Phase, ReplicaId, ReplicaStatus};
use std::time::{Duration, Instant};

/// A record that was not written is tried again this often.
const AGAIN: Duration = Duration::from_secs(1);

/// A record that is behind what its machine has decided.
pub(super) struct Unwritten {
    again_at: Instant,
    failure: Failure,
    /// A status waits to be told until the record is written.
    withheld: bool,
}

impl Agent {
    /// Writes a record down.
    pub(super) fn persist(&mut self, replica: ReplicaId, record: &Record) {
        let written = store_record(&self.layout, record);
        let Some(entry) = self.entries.get_mut(&replica) else { return };
        match written {
            Ok(()) => {
                let withheld = entry.unwritten.take().is_some_and(|unwritten| unwritten.withheld);
                if withheld {
                    self.report(replica, record.status.clone());
                }
            }
            Err(error) => {
                if entry.unwritten.is_none() {
                    tracing::warn!(%replica, %error, "its record was not written; tried again");
                }
                let withheld = entry.unwritten.as_ref().is_some_and(|unwritten| unwritten.withheld);
                let failure = unwritten("its record was not written", &self.layout.replica(replica), &error);
                entry.unwritten = Some(Unwritten { again_at: Instant::now() + AGAIN, failure, withheld });
            }
        }
    }

    /// Why a step has to wait for the record, if it has to.
    pub(super) fn held_back(&self, replica: ReplicaId, step: &Step) -> Option<Failure> {
        let begins = matches!(step, Step::RunInit { .. } | Step::CreateContainer { .. } | Step::StartContainer { .. });
        let unwritten = self.entries.get(&replica)?.unwritten.as_ref();
        unwritten.filter(|_| begins).map(|unwritten| unwritten.failure.clone())
    }

    /// Is a status kept from the control plane until the record is written?
    pub(super) fn withhold(&mut self, replica: ReplicaId, status: &ReplicaStatus) -> bool {
        let by_policy = matches!(status.phase, Phase::Finished(Outcome::Failed | Outcome::Isolated));
        let Some(unwritten) = self.entries.get_mut(&replica).and_then(|entry| entry.unwritten.as_mut()) else {
            return false;
        };
        unwritten.withheld = by_policy;
        by_policy
    }

    /// Writes the records that were not written and are due.
    pub(super) fn write_again(&mut self) {
        let now = Instant::now();
        let due = self.entries.iter().filter(|(_, entry)| entry.unwritten.as_ref().is_some_and(|u| u.again_at <= now));
        let due: Vec<(ReplicaId, Record)> = due.map(|(replica, e)| (*replica, e.machine.record().clone())).collect();
        for (replica, record) in due {
            self.persist(replica, &record);
        }
    }

    pub(super) fn writing_deadline(&self) -> Option<Instant> {
        self.entries.values().filter_map(|entry| entry.unwritten.as_ref()).map(|unwritten| unwritten.again_at).min()
    }
}
