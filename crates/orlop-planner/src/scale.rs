//! Which slots a service has, and which of its replicas are too many.

use crate::roster::{Roster, has_failed};
use orlop_model::Replica;
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Takes from the roster the current replicas that are more than `wanted`: first what failed, then what is not ready,
/// then the highest slots.
pub(crate) fn take_surplus<'a>(roster: &mut Roster<'a>, wanted: usize) -> Vec<&'a Replica> {
    let surplus = roster.current.len().saturating_sub(wanted);
    if surplus == 0 {
        return Vec::new();
    }
    roster.current.sort_by_key(|r| (!has_failed(r), r.is_ready(), Reverse(r.slot)));
    let mut taken: Vec<_> = roster.current.drain(..surplus).collect();
    taken.sort_by_key(|r| Reverse(r.slot));
    taken
}

/// The slots that the service is to have: those taken by current replicas stay, then replicas of an older generation and
/// lost ones hand theirs on, then the lowest free numbers are new.
pub(crate) fn slots(roster: &Roster, wanted: usize) -> BTreeSet<u32> {
    let mut slots: BTreeSet<u32> = roster.current.iter().map(|r| r.slot).collect();
    for heirless in [&roster.outdated, &roster.lost] {
        let mut candidates: Vec<u32> = heirless.iter().map(|r| r.slot).collect();
        candidates.sort_unstable();
        for slot in candidates {
            if slots.len() < wanted {
                slots.insert(slot);
            }
        }
    }
    for slot in 0.. {
        if slots.len() >= wanted {
            break;
        }
        slots.insert(slot);
    }
    slots
}
