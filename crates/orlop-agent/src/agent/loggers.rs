//! Loggers that were killed: others are started, and people hear of it.

use super::{Agent, Event, LOGGERS_EVERY};
use crate::board::main_container;
use orlop_model::spec::Signal;
use orlop_model::{Level, Reason, ReplicaId};
use orlop_runtime::LostLogger;
use std::time::Instant;

impl Agent {
    pub(super) fn begin_mending(&mut self) {
        self.loggers_at = None;
        let runtime = self.executor.runtime.clone();
        self.tasks.spawn(async move { Event::Mended(runtime.mend_loggers().await) });
    }

    pub(super) fn mended(&mut self, lost: Vec<LostLogger>) {
        self.loggers_at = Some(Instant::now() + LOGGERS_EVERY);
        for LostLogger { id, outcome } in lost {
            let reason = match &outcome {
                Ok(()) => Reason::new(
                    "logger_replaced",
                    "the process that keeps its output (orlop-logger) was killed; another one goes on, and a few lines \
                     may be missing",
                ),
                Err(detail) => Reason::new(
                    "logger_lost",
                    format!(
                        "the process that keeps its output (orlop-logger) was killed, and another one could not take \
                         over ({detail}); the replica is killed to be started again, since it would wait for ever to \
                         be read"
                    ),
                ),
            };
            tracing::warn!(container = id, code = reason.code, "{}", reason.message);
            if let Some(replica) = self.replica_of(&id) {
                self.uplink.event(self.clock.now(), Level::Warning, &self.subject_of(replica), &reason);
            }
            if outcome.is_err() {
                let runtime = self.executor.runtime.clone();
                self.tasks.spawn(async move {
                    if let Err(error) = runtime.signal(&id, Signal::KILL).await {
                        tracing::warn!(container = id, %error, "it could not be killed; tried again");
                    }
                    Event::Done
                });
            }
        }
    }

    /// Whose process runs in a container.
    fn replica_of(&self, id: &str) -> Option<ReplicaId> {
        let runs = |(replica, entry): (&ReplicaId, &super::Entry)| {
            let attempt = entry.machine.running_attempt()?;
            (main_container(*replica, attempt) == id).then_some(*replica)
        };
        self.entries.iter().find_map(runs)
    }
}
