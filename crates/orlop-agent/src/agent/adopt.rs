//! What the agent finds when it starts.

use super::{Agent, Entry};
use crate::replica::{Attachment, LABEL_NODE, load_records, role_of};
use orlop_agent_core::{ContainerState, Found, FoundContainer, Record, ReplicaMachine, Role};
use orlop_model::{Assignment, Level, NodeId, Reason, ReplicaId};
use orlop_runtime::{ContainerInfo, labels};
use std::collections::BTreeMap;
use std::time::Duration;

/// Something of a replica that was here before the agent knew of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Leftover {
    pub(super) record: Option<Record>,
    pub(super) containers: Vec<FoundContainer>,
    pub(super) attachment: Option<Attachment>,
}

impl Agent {
    /// Looks what there is of replicas on the node: records, containers, secrets, attachments. Nothing is done about any of it
    /// before a view tells what it is. Waits for the runtime as long as it takes, since nothing can be done without.
    pub(super) async fn find(&mut self) {
        let mut pause = Duration::from_millis(100);
        let containers = loop {
            match self.executor.runtime.list().await {
                Ok(containers) => break containers,
                Err(error) => {
                    if !self.runtime_is_away {
                        self.runtime_is_away = true;
                        tracing::warn!(%error, "waiting for the runtime");
                        self.node_event(Level::Warning, Reason::new(error.code(), error.to_string()));
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
            }
        };
        self.runtime_is_back();
        match load_records(&self.layout) {
            Ok(records) => {
                for (replica, record) in records {
                    self.found.entry(replica).or_default().record = record;
                }
            }
            Err(error) => tracing::warn!(%error, "records cannot be read; going by the containers"),
        }
        for (replica, containers) in self.sort(&containers) {
            self.found.entry(replica).or_default().containers = containers;
        }
        for replica in self.executor.secrets.found() {
            self.found.entry(replica).or_default();
        }
        // An overlay daemon that is not there yet is asked for each replica when its network is needed.
        let listing = tokio::time::timeout(Duration::from_secs(2), self.executor.overlay.list()).await;
        for (replica, attachment) in listing.ok().and_then(Result::ok).unwrap_or_default() {
            self.found.entry(replica).or_default().attachment = Some(attachment);
        }
        let containers = self.found.values().map(|f| f.containers.len()).sum::<usize>();
        tracing::info!(replicas = self.found.len(), containers, "found");
    }

    /// The node's own containers by replica; all are remembered for their removal.
    pub(super) fn sort(&self, containers: &[ContainerInfo]) -> BTreeMap<ReplicaId, Vec<FoundContainer>> {
        let mut sorted: BTreeMap<ReplicaId, Vec<FoundContainer>> = BTreeMap::new();
        for container in containers {
            if let Some((replica, found)) = read(container, self.node) {
                self.executor.known.add(replica, container.id.clone());
                sorted.entry(replica).or_default().push(found);
            }
        }
        sorted
    }

    /// Gives a replica its machine. `None`: it is not wanted.
    pub(super) fn adopt(&mut self, replica: ReplicaId, assignment: Option<Assignment>, leftover: Leftover) {
        let awaited: Vec<u32> = leftover.containers.iter().filter(|c| is_awaited(c)).map(|c| c.attempt).collect();
        let found = Found { containers: leftover.containers, address: leftover.attachment.as_ref().map(|a| a.address) };
        let seed = replica.as_u128() as u64 ^ self.node.as_u128() as u64;
        let (now, timings) = (self.clock.now(), self.config.timings.clone());
        let (machine, steps) = ReplicaMachine::adopt(replica, assignment, leftover.record, found, now, timings, seed);
        let entry =
            Entry { machine, image: None, attachment: leftover.attachment, cancels: BTreeMap::new(), unwritten: None };
        self.entries.insert(replica, entry);
        for attempt in awaited {
            self.await_end(replica, attempt);
        }
        self.take_steps(replica, steps);
    }

    pub(super) fn runtime_is_back(&mut self) {
        if std::mem::take(&mut self.runtime_is_away) {
            tracing::info!("the runtime is back");
            let message = "the container runtime answers again; all replicas are looked after";
            self.node_event(Level::Info, Reason::new("runtime_back", message));
        }
    }
}

fn is_awaited(container: &FoundContainer) -> bool {
    let runs = matches!(container.state, ContainerState::Created | ContainerState::Running);
    container.role == Role::Main && runs
}

/// What a container's labels say, if it is one of this node's.
fn read(container: &ContainerInfo, node: NodeId) -> Option<(ReplicaId, FoundContainer)> {
    let label = |key| container.labels.get(key);
    if label(LABEL_NODE)?.parse() != Ok(node) {
        return None;
    }
    let state = match container.state {
        orlop_runtime::ContainerState::NoTask => ContainerState::NoTask,
        orlop_runtime::ContainerState::Created => ContainerState::Created,
        orlop_runtime::ContainerState::Running { .. } => ContainerState::Running,
        orlop_runtime::ContainerState::Stopped(exit) => ContainerState::Stopped(exit),
    };
    let found =
        FoundContainer { attempt: label(labels::ATTEMPT)?.parse().ok()?, role: role_of(label(labels::ROLE))?, state };
    Some((label(labels::REPLICA)?.parse().ok()?, found))
}
