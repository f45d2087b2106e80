//! What a replica does not get although it runs.

use super::Agent;
use orlop_model::spec::Signal;
use orlop_model::{Level, Reason, ReplicaId};

impl Agent {
    /// A limit that the machine cannot enforce is asked for all the same, since the scheduler counts with it; but nobody
    /// is left to believe that it holds.
    pub(super) fn tell_of_limits(&self, replica: ReplicaId) {
        let assignment = self.entries.get(&replica).and_then(|entry| entry.machine.assignment());
        let Some(resources) = assignment.map(|a| a.workload.resources) else { return };
        let missing = self.executor.runtime.unenforced(&resources);
        if !missing.is_empty() {
            let reason = Reason::new("limit_not_enforced", limits_message(&missing));
            self.uplink.event(self.clock.now(), Level::Warning, &self.subject_of(replica), &reason);
        }
    }

    /// A stop signal of the image that is not understood is not used.
    pub(super) fn tell_of_signal(&self, replica: ReplicaId) {
        let Some(entry) = self.entries.get(&replica) else { return };
        let is_asked = entry.machine.assignment().is_some_and(|a| a.workload.stop_signal.is_none());
        let signal = entry.image.as_ref().and_then(|image| image.config.stop_signal.as_deref());
        if let Some(signal) = signal.filter(|signal| is_asked && Signal::parse(signal).is_none()) {
            let message = format!(
                "its image asks to be stopped by {signal}, which is none of the signals 1 to 31; SIGTERM is used: \
                 set `stop_signal` in the spec"
            );
            let reason = Reason::new("stop_signal_unknown", message);
            self.uplink.event(self.clock.now(), Level::Warning, &self.subject_of(replica), &reason);
        }
    }
}

fn limits_message(missing: &[&str]) -> String {
    let limits = missing.join(" and ");
    format!(
        "the limit of {limits} is not enforced: the node's kernel has no cgroup controller for it; \
         boot the node with cgroup version 2, or place the service elsewhere"
    )
}
