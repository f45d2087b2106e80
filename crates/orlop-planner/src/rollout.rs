//! How a service that is to stay gets the replicas that are wanted, and how those of an older generation give way.
//!
//! The two bounds of `update`, with N replicas wanted:
//!
//! - There are never more than N + `max_surge` replicas, counting those that are still stopping: with `max_surge: 0` a new
//!   replica starts only when an old one is gone, as a single writer needs it.
//! - A rollout stops a replica only while N − `max_unavailable` others are available: ready, and if new, for
//!   `min_healthy` already.
//!
//! A new replica takes the slot of the one it replaces. When a new replica fails for good the rollout halts: what was
//! replaced stays replaced, the rest of the old replicas stay, until a deploy changes the service. New replicas that fail
//! again and again halt it as well, by never becoming available.

use crate::Draft;
use crate::dependencies::{Gates, recorded_fault};
use crate::placement::{Room, is_alive, is_drained, listing};
use crate::roster::{Roster, has_failed, is_gone};
use crate::scale;
use orlop_model::plan::Step;
use orlop_model::{Reason, Replica, ReplicaId, ServiceState, ServiceStatus, StopOrder, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Plans the next steps of one service; gives what is to be recorded of it.
pub(crate) fn advance<'a>(
    service: &'a ServiceState,
    own: &[&'a Replica],
    gates: &Gates<'a>,
    room: &mut Room<'a>,
    ids: &mut dyn FnMut() -> ReplicaId,
    draft: &mut Draft,
) -> ServiceStatus {
    let nodes = &gates.cluster.nodes;
    let mut roster = Roster::of(service, own, |id| nodes.get(&id).is_some_and(is_drained));
    clear(service, &mut roster, room, draft);
    let slots = scale::slots(&roster, service.replicas as usize);
    let mut taken: BTreeSet<u32> = roster.current.iter().map(|r| r.slot).collect();
    roster.lost.retain(|lost| {
        let kept = slots.contains(&lost.slot) && !taken.contains(&lost.slot);
        if !kept {
            draft.forget(lost);
        }
        kept
    });
    // Nothing takes the place of a replica that is about to be heard of again.
    let returning = roster.returning(service, |id| nodes.get(&id).is_some_and(is_alive));
    let missing = (service.replicas as usize).saturating_sub(roster.current.len() + returning.len());
    taken.extend(returning);
    let mut status = ServiceStatus { blocked: Vec::new(), dependency_fault: recorded_fault(service) };
    let mut may_start = missing > 0;
    if may_start {
        let gate = gates.gate(service, own);
        may_start = gate.blocked.is_empty();
        status = ServiceStatus { blocked: gate.blocked, dependency_fault: gate.fault };
        gate.changes_at.into_iter().for_each(|at| draft.wake(at));
    }
    let older = |r: &&Replica| r.generation != service.workload_generation;
    let halted = roster.outdated.iter().any(older) && roster.current.iter().any(|r| has_failed(r));
    if halted {
        status.blocked.push(why_halted(&roster));
    }
    let mut rollout = Rollout { service, roster, slots, taken, may_start, halted };
    let (stopping, no_room) = rollout.retire(gates.now, room, draft);

    if may_start {
        let limit = rollout.most().saturating_sub(rollout.there() + stopping).min(missing);
        if let Some(reason) = rollout.start(own, limit, room, ids, draft) {
            status.blocked.push(reason);
        } else if limit == 0 {
            status.blocked.extend(no_room.or_else(|| rollout.why_full(gates)));
        }
    }
    status
}

/// Stops and forgets what is not wanted whatever else holds.
fn clear<'a>(service: &ServiceState, roster: &mut Roster<'a>, room: &mut Room<'a>, draft: &mut Draft) {
    for replica in std::mem::take(&mut roster.remains) {
        draft.forget(replica);
    }
    for replica in std::mem::take(&mut roster.isolated) {
        draft.stop(replica, StopOrder::Graceful, replaced_by(service));
        roster.leaving.push(replica);
    }
    for replica in scale::take_surplus(roster, service.replicas as usize) {
        if is_gone(replica.status.phase) {
            draft.forget(replica);
        } else {
            draft.stop(replica, StopOrder::Graceful, scaled_down(service));
            room.stop(replica);
            roster.leaving.push(replica);
        }
    }
}

/// The replacement of a service's replicas, as far as it has come.
struct Rollout<'a> {
    service: &'a ServiceState,
    roster: Roster<'a>,
    /// The slots that the service is to have.
    slots: BTreeSet<u32>,
    /// Those of current replicas.
    taken: BTreeSet<u32>,
    /// Replicas are missing, and the gate is open.
    may_start: bool,
    /// A new replica has failed for good while there are old ones left.
    halted: bool,
}

impl<'a> Rollout<'a> {
    /// How many replicas there may be at once.
    fn most(&self) -> usize {
        self.service.replicas as usize + self.service.spec.update.max_surge as usize
    }

    /// How many there are, those included that are stopping.
    fn there(&self) -> usize {
        let leaving = self.roster.leaving.iter().filter(|r| !r.status.phase.is_finished()).count();
        self.roster.current.len() + self.roster.outdated.len() + leaving
    }

    /// Stops replicas of an older generation, as far as the bounds allow and it is of use. Returns how many, and why
    /// nothing would be gained by stopping more.
    fn retire(&mut self, now: Timestamp, room: &mut Room<'a>, draft: &mut Draft) -> (usize, Option<Reason>) {
        if self.roster.outdated.is_empty() {
            return (0, None);
        }
        let update = &self.service.spec.update;
        let required = (self.service.replicas as usize).saturating_sub(update.max_unavailable as usize);
        let mut heirs = BTreeSet::new();
        for replica in self.roster.current.iter().filter(|r| r.is_ready()) {
            let counts_at = replica.status.since + update.min_healthy;
            if counts_at <= now {
                heirs.insert(replica.slot);
            } else {
                draft.wake(counts_at);
            }
        }
        let available = heirs.len();
        let ready = self.roster.outdated.iter().filter(|r| r.is_ready()).count();
        // What may go in all, if the new replicas that are not available yet never will be; and of that, what is ready.
        let mut may_go = (self.roster.outdated.len() + available).saturating_sub(required);
        let mut ready_may_go = (ready + available).saturating_sub(required);

        let mut sharing: BTreeMap<u32, usize> = BTreeMap::new();
        for replica in &self.roster.outdated {
            *sharing.entry(replica.slot).or_default() += 1;
        }
        let mut by_use = std::mem::take(&mut self.roster.outdated);
        by_use.sort_by_key(|r| {
            let within = self.slots.contains(&r.slot);
            let slot = if within { i64::from(r.slot) } else { -i64::from(r.slot) };
            (r.is_ready(), within, !heirs.contains(&r.slot), !self.taken.contains(&r.slot), slot)
        });
        let (mut stopping, mut no_room) = (0, None);
        for replica in by_use {
            let beyond = !self.slots.contains(&replica.slot);
            let shares = sharing.entry(replica.slot).or_default();
            let mut goes = may_go > 0 && (ready_may_go > 0 || !replica.is_ready());
            if goes {
                let replaced = self.taken.contains(&replica.slot) && !self.halted;
                let of_use = beyond || *shares > 1 || heirs.contains(&replica.slot) || replaced;
                let makes_room = !of_use && self.may_start && !self.halted;
                goes = of_use
                    || makes_room && {
                        let fits = room.would_fit_without(self.service, replica);
                        fits.map_err(|reason| no_room = Some(reason)).is_ok()
                    };
            }
            if !goes {
                self.roster.outdated.push(replica);
                continue;
            }
            stopping += 1;
            *shares -= 1;
            may_go -= 1;
            ready_may_go -= usize::from(replica.is_ready());
            let why = if beyond {
                scaled_down(self.service)
            } else if replica.generation == self.service.workload_generation {
                Reason::new("move", "its node is drained")
            } else {
                replaced_by(self.service)
            };
            draft.stop(replica, StopOrder::Graceful, why);
            room.stop(replica);
        }
        (stopping, no_room)
    }

    /// The slots in which a new replica may start, in the order of need: empty ones, then those whose replica of an older
    /// generation is not ready.
    fn open_slots(&self) -> Vec<u32> {
        let mut old: BTreeMap<u32, Vec<bool>> = BTreeMap::new();
        for replica in &self.roster.outdated {
            old.entry(replica.slot).or_default().push(replica.is_ready());
        }
        let open = self.slots.difference(&self.taken).filter_map(|slot| match old.get(slot).map(Vec::as_slice) {
            None => Some((0, *slot)),
            Some([ready]) if !self.halted => Some((1 + u8::from(*ready), *slot)),
            // At most two share a slot: the old and the new.
            Some(_) => None,
        });
        let mut open: Vec<_> = open.collect();
        open.sort_unstable();
        open.into_iter().map(|(_, slot)| slot).collect()
    }

    /// Starts at most so many replicas, until one finds no node; says why it does not.
    fn start(
        &self,
        own: &[&Replica],
        limit: usize,
        room: &mut Room<'a>,
        ids: &mut dyn FnMut() -> ReplicaId,
        draft: &mut Draft,
    ) -> Option<Reason> {
        let service = self.service;
        let lost: BTreeMap<u32, &Replica> = self.roster.lost.iter().map(|r| (r.slot, *r)).collect();
        let mut replaced: BTreeMap<u32, &Replica> = BTreeMap::new();
        for old in own.iter().filter(|r| r.generation != service.workload_generation) {
            let newest = replaced.entry(old.slot).or_insert(old);
            if old.generation > newest.generation {
                *newest = old;
            }
        }
        let of_now = |r: &&&Replica| r.generation == service.workload_generation;
        let moved: BTreeMap<u32, &Replica> = self.roster.outdated.iter().filter(of_now).map(|r| (r.slot, *r)).collect();
        for slot in self.open_slots().into_iter().take(limit) {
            let node = match room.place(service, slot) {
                Ok(node) => node,
                Err(mut reason) => {
                    let would_fit = |old: &&Replica| room.would_fit_without(service, old).is_ok();
                    if service.spec.update.max_unavailable == 0 && self.roster.outdated.iter().any(would_fit) {
                        reason.message.push_str("; update.max_unavailable: 1 would let an older replica make room");
                    }
                    return Some(reason);
                }
            };
            let why = match (lost.get(&slot), replaced.get(&slot)) {
                (Some(lost), _) => {
                    draft.forget(lost);
                    let phase = lost.status.phase.word();
                    Reason::new("lost", format!("takes the place of {}, which is {phase}", lost.id))
                }
                _ if moved.contains_key(&slot) => {
                    Reason::new("move", format!("takes over from {}, whose node is drained", moved[&slot].id))
                }
                (_, Some(old)) => {
                    Reason::new("replace", format!("replaces {} of generation {}", old.id, old.generation))
                }
                _ if service.generation == service.workload_generation => Reason::new("new", wanted(service)),
                _ => Reason::new("scale_up", wanted(service)),
            };
            draft.steps.push(Step::Start {
                replica: ids(),
                service: service.name.clone(),
                slot,
                generation: service.workload_generation,
                node,
                why,
            });
        }
        None
    }

    /// Why nothing may be started at the moment, if that is more than the usual step of a rollout.
    fn why_full(&self, gates: &Gates) -> Option<Reason> {
        let nodes = &gates.cluster.nodes;
        let silent = self.roster.leaving.iter().filter(|r| !nodes.get(&r.node).is_some_and(is_alive));
        let stuck: BTreeSet<String> = silent
            .map(|r| nodes.get(&r.node).map_or_else(|| r.node.to_string(), |node| node.name.to_string()))
            .collect();
        if !stuck.is_empty() {
            let names = listing(stuck.into_iter());
            Some(Reason::new("waiting_stop", format!("waits for replicas to stop on nodes that are silent: {names}")))
        } else if self.roster.outdated.is_empty() && !self.roster.leaving.is_empty() {
            let most = self.most();
            let text =
                format!("waits for replicas to stop: there may be {most} at once (replicas and update.max_surge)");
            Some(Reason::new("waiting_stop", text))
        } else {
            None
        }
    }
}

fn wanted(service: &ServiceState) -> String {
    match service.replicas {
        1 => "1 replica is wanted".to_owned(),
        n => format!("{n} replicas are wanted"),
    }
}

fn scaled_down(service: &ServiceState) -> Reason {
    Reason::new("scale_down", wanted(service))
}

fn replaced_by(service: &ServiceState) -> Reason {
    Reason::new("replace", format!("generation {} replaces it", service.workload_generation))
}

fn why_halted(roster: &Roster) -> Reason {
    let failed = roster.current.iter().filter(|r| has_failed(r)).map(|r| {
        let short = |reason: &Reason| reason.message.chars().take(200).collect::<String>();
        let cause = r.status.reason.as_ref().map(|reason| format!(" ({})", short(reason))).unwrap_or_default();
        format!("slot {} failed{cause}", r.slot)
    });
    Reason::new(
        "rollout_halted",
        format!("the update stands still until the next deploy, its older replicas stay: {}", listing(failed)),
    )
}
