//! The refusal of orders that are older than what the node has.

use orlop_model::{Assignment, Generation, ReplicaId, ServiceRef};
use std::collections::BTreeMap;

/// An assignment that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{service} slot {slot}: generation {offered} is older than generation {newest}, which this node has already")]
pub struct Stale {
    /// The service.
    pub service: ServiceRef,
    /// The slot.
    pub slot: u32,
    /// The generation of the refused assignment.
    pub offered: Generation,
    /// The newest generation known for the slot.
    pub newest: Generation,
}

/// Remembers the generation of each replica that the node has, so that one from an older plan is not begun beside or
/// after a newer one. A replica that was admitted stays admitted: during an update the old and the new hold one slot.
#[derive(Debug, Default)]
pub struct GenerationGuard {
    slots: BTreeMap<(ServiceRef, u32), BTreeMap<ReplicaId, Generation>>,
}

impl GenerationGuard {
    /// Takes a replica in, unless its slot has a newer generation. One that was taken in before is not asked again.
    pub fn admit(&mut self, assignment: &Assignment) -> Result<(), Stale> {
        let replica = &assignment.replica;
        let slot = self.slots.entry((replica.service.clone(), replica.slot)).or_default();
        if slot.contains_key(&replica.id) {
            return Ok(());
        }
        let newest = slot.values().copied().max().unwrap_or_default();
        if replica.generation < newest {
            return Err(Stale {
                service: replica.service.clone(),
                slot: replica.slot,
                offered: replica.generation,
                newest,
            });
        }
        slot.insert(replica.id, replica.generation);
        Ok(())
    }

    /// Takes in a replica that the node has already, whatever its generation.
    pub fn adopted(&mut self, assignment: &Assignment) {
        let replica = &assignment.replica;
        self.slots.entry((replica.service.clone(), replica.slot)).or_default().insert(replica.id, replica.generation);
    }

    /// Lets a replica go.
    pub fn forget(&mut self, replica: ReplicaId) {
        self.slots.retain(|_, slot| {
            slot.remove(&replica);
            !slot.is_empty()
        });
    }
}
