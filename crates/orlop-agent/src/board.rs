//! What sessions may know of the replicas: written by the agent's loop, read by anyone.

use orlop_model::{Assignment, ReplicaId};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Posted {
    /// The id of the container that runs.
    pub(crate) container: Option<String>,
    /// The phase's word.
    pub(crate) phase: &'static str,
}

/// A handle; clones share one board.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    posted: Arc<Mutex<BTreeMap<ReplicaId, Posted>>>,
    /// Grows when a replica appears, for those who look for its files.
    replicas: watch::Sender<u64>,
}

impl Board {
    pub(crate) fn new() -> Self {
        Self { posted: Arc::default(), replicas: watch::Sender::new(0) }
    }

    pub(crate) fn post(&self, replica: ReplicaId, posted: Posted) {
        let before = self.posted.lock().insert(replica, posted);
        if before.is_none() {
            self.replicas.send_modify(|n| *n += 1);
        }
    }

    pub(crate) fn drop_replica(&self, replica: ReplicaId) {
        self.posted.lock().remove(&replica);
    }

    pub(crate) fn get(&self, replica: ReplicaId) -> Option<Posted> {
        self.posted.lock().get(&replica).cloned()
    }

    /// Becomes changed when a replica appears.
    pub(crate) fn appearances(&self) -> watch::Receiver<u64> {
        self.replicas.subscribe()
    }
}

/// The name of a replica's container: unique, and found by it in `ctr`.
pub(crate) fn main_container(replica: ReplicaId, attempt: u32) -> String {
    format!("{replica}-{attempt}")
}

/// The name of the container of an init step's try.
pub(crate) fn init_container(assignment: &Assignment, index: usize, attempt: u32) -> String {
    format!("{}-init-{index}-{attempt}", assignment.replica.id)
}
