//! What a replica does not get although it runs.

use super::Agent;
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
}

fn limits_message(missing: &[&str]) -> String {
    let limits = missing.join(" and ");
    format!(
        "the limit of {limits} is not enforced: the node's kernel has no cgroup controller for it; \
         boot the node with cgroup version 2, or place the service elsewhere"
    )
}
