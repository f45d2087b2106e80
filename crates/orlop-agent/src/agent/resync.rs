//! By timer for truth: what the runtime and the overlay have is compared with what is believed.

use super::{Agent, Event, Leftover};
use crate::replica::Attachment;
use orlop_agent_core::Input;
use orlop_model::{Level, Reason, ReplicaId};
use orlop_runtime::{ContainerInfo, RuntimeError};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// While the runtime is away, it is looked for this often.
const AWAY: Duration = Duration::from_secs(1);

pub(super) struct Listing {
    epochs: BTreeMap<ReplicaId, u64>,
    containers: Result<Vec<ContainerInfo>, RuntimeError>,
    attachments: Option<Vec<(ReplicaId, Attachment)>>,
}

impl Agent {
    pub(super) fn begin_listing(&mut self) {
        self.resync_runs = true;
        self.forgotten.clear();
        let epoch = |(replica, entry): (&ReplicaId, &super::Entry)| Some((*replica, entry.machine.epoch()?));
        let epochs = self.entries.iter().filter_map(epoch).collect();
        let (runtime, overlay) = (self.executor.runtime.clone(), self.executor.overlay.clone());
        self.tasks.spawn(async move {
            let (containers, attachments) = tokio::join!(runtime.list(), overlay.list());
            Event::Listed(Listing { epochs, containers, attachments: attachments.ok() })
        });
    }

    pub(super) fn listed(&mut self, listing: Listing) {
        self.resync_runs = false;
        let containers = match listing.containers {
            Ok(containers) => containers,
            Err(error) => {
                self.resync_at = Instant::now() + AWAY;
                if !std::mem::replace(&mut self.runtime_is_away, true) {
                    tracing::warn!(%error, "the runtime is away; replicas stay as they are, and it is looked for");
                    self.node_event(Level::Warning, Reason::new(error.code(), error.to_string()));
                }
                return;
            }
        };
        self.resync_at = Instant::now() + self.config.resync;
        self.runtime_is_back();
        let mut sorted = self.sort(&containers);
        for (replica, epoch) in listing.epochs {
            let containers = sorted.remove(&replica).unwrap_or_default();
            self.tell(replica, Input::Observed { epoch, containers });
        }
        if !self.view.live {
            return;
        }
        // What has no machine although the view is live belongs to no replica of this node.
        let mut strays: BTreeMap<ReplicaId, Leftover> = BTreeMap::new();
        for (replica, containers) in sorted {
            strays.entry(replica).or_default().containers = containers;
        }
        for (replica, attachment) in listing.attachments.unwrap_or_default() {
            strays.entry(replica).or_default().attachment = Some(attachment);
        }
        let assigned = |replica| self.view.assignments().any(|a| a.replica.id == replica);
        strays.retain(|replica, _| {
            !self.forgotten.contains(replica)
                && !self.entries.contains_key(replica)
                && !self.found.contains_key(replica)
                && !assigned(*replica)
        });
        for (replica, leftover) in strays {
            tracing::warn!(%replica, "removing what is left of a replica that nobody knows");
            self.adopt(replica, None, leftover);
        }
    }
}
