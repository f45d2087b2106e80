//! Which node takes a replica.
//!
//! A node fits when it is alive and not cordoned, every constraint holds, and its cpu and memory cover the reservations of all its
//! replicas that are not over (also of those that are stopping: they hold theirs until they are gone) and the new one.
//! Of the nodes that fit, the one with the fewest replicas of the same service wins, then the least loaded one by the
//! larger of its cpu and memory shares, then the one with the fewest replicas, then the first by name.

use crate::cluster::Cluster;
use orlop_model::spec::{Constraint, NodeAttribute, Placement};
use orlop_model::{
    Cpu, Desired, Liveness, Memory, Node, NodeId, Reason, Replica, Resources, Scheduling, ServiceRef, ServiceState,
};
use std::collections::BTreeMap;

/// The room on each node, as the plan that is being written uses it up.
pub(crate) struct Room<'a> {
    nodes: BTreeMap<NodeId, Place<'a>>,
}

struct Place<'a> {
    node: &'a Node,
    /// Reserved by everything on the node that is not over.
    reserved: Held,
    /// The part of it that is told to stop.
    releasing: Held,
    /// Replicas that are not over.
    replicas: usize,
    /// Of each service, the replicas that are wanted here and not over.
    wanted: BTreeMap<&'a ServiceRef, Wanted>,
}

/// How many replicas of a service are wanted on a node, by slot.
#[derive(Default)]
struct Wanted {
    all: usize,
    by_slot: BTreeMap<u32, usize>,
}

impl Wanted {
    fn add(&mut self, slot: u32) {
        self.all += 1;
        *self.by_slot.entry(slot).or_default() += 1;
    }

    fn remove(&mut self, slot: u32) {
        if let Some(count) = self.by_slot.get_mut(&slot).filter(|count| **count > 0) {
            self.all -= 1;
            *count -= 1;
        }
    }

    fn in_other_slots(&self, slot: u32) -> usize {
        self.all - self.by_slot.get(&slot).copied().unwrap_or_default()
    }
}

#[derive(Clone, Copy, Default)]
struct Held {
    cpu: u64,
    memory: u64,
}

impl Held {
    fn add(&mut self, resources: Resources) {
        self.cpu = self.cpu.saturating_add(resources.cpu.unwrap_or_default().0);
        self.memory = self.memory.saturating_add(resources.memory.unwrap_or_default().0);
    }

    fn without(self, other: Held) -> Held {
        Held { cpu: self.cpu.saturating_sub(other.cpu), memory: self.memory.saturating_sub(other.memory) }
    }
}

impl Place<'_> {
    /// What is left of the node when `reserved` is in use.
    fn free(&self, reserved: Held) -> (Cpu, Memory) {
        (Cpu(self.node.cpu.0.saturating_sub(reserved.cpu)), Memory(self.node.memory.0.saturating_sub(reserved.memory)))
    }

    fn fits(&self, ask: Resources, reserved: Held) -> bool {
        let (cpu, memory) = self.free(reserved);
        ask.cpu.is_none_or(|ask| ask <= cpu) && ask.memory.is_none_or(|ask| ask <= memory)
    }

    /// The larger of its cpu and memory shares, in millionths.
    fn load(&self) -> u128 {
        let share = |held: u64, all: u64| u128::from(held) * 1_000_000 / u128::from(all.max(1));
        share(self.reserved.cpu, self.node.cpu.0).max(share(self.reserved.memory, self.node.memory.0))
    }
}

impl<'a> Room<'a> {
    pub(crate) fn of(cluster: &'a Cluster) -> Self {
        let mut nodes: BTreeMap<NodeId, Place<'a>> = cluster
            .nodes
            .iter()
            .map(|(id, node)| {
                let (reserved, releasing) = Default::default();
                (*id, Place { node, reserved, releasing, replicas: 0, wanted: BTreeMap::new() })
            })
            .collect();
        for replica in cluster.replicas.values().filter(|r| !r.status.phase.is_finished()) {
            let Some(place) = nodes.get_mut(&replica.node) else { continue };
            place.replicas += 1;
            place.reserved.add(replica.reserved);
            match replica.desired {
                Desired::Run => place.wanted.entry(&replica.service).or_default().add(replica.slot),
                Desired::Stop(_) => place.releasing.add(replica.reserved),
            }
        }
        Self { nodes }
    }

    /// Notes that the plan tells a replica to stop. Its room stays taken.
    pub(crate) fn stop(&mut self, replica: &Replica) {
        if let Some(place) = self.nodes.get_mut(&replica.node)
            && !replica.status.phase.is_finished()
        {
            place.releasing.add(replica.reserved);
            if let Some(wanted) = place.wanted.get_mut(&replica.service) {
                wanted.remove(replica.slot);
            }
        }
    }

    /// Chooses a node for a new replica of the service in a slot and takes the room; or says why no node will do. What the
    /// new replica is about to replace does not count when replicas are spread.
    pub(crate) fn place(&mut self, service: &'a ServiceState, slot: u32) -> Result<NodeId, Reason> {
        let ask = service.spec.workload.resources;
        let best = self
            .nodes
            .values_mut()
            .filter(|place| place.node.takes_replicas() && first_unmet(&service.spec.placement, place.node).is_none())
            .filter(|place| place.fits(ask, place.reserved))
            .min_by_key(|place| {
                let same = place.wanted.get(&service.name).map_or(0, |wanted| wanted.in_other_slots(slot));
                (same, place.load(), place.replicas, &place.node.name)
            });
        let Some(place) = best else { return Err(self.why_not(service)) };
        place.reserved.add(ask);
        place.replicas += 1;
        place.wanted.entry(&service.name).or_default().add(slot);
        Ok(place.node.id)
    }

    /// Would a new replica of the service find a node once `leaving` and everything that is told to stop is gone? Says
    /// why not.
    pub(crate) fn would_fit_without(&self, service: &ServiceState, leaving: &Replica) -> Result<(), Reason> {
        let fits = self.nodes.values().any(|place| {
            let mut gone = place.releasing;
            if place.node.id == leaving.node {
                gone.add(leaving.reserved);
            }
            place.node.takes_replicas()
                && first_unmet(&service.spec.placement, place.node).is_none()
                && place.fits(service.spec.workload.resources, place.reserved.without(gone))
        });
        if fits { Ok(()) } else { Err(self.why_not(service)) }
    }

    fn why_not(&self, service: &ServiceState) -> Reason {
        if self.nodes.is_empty() {
            return Reason::new("no_nodes", "no node has joined the cluster: start an agent");
        }
        let open = || self.nodes.values().filter(|place| place.node.takes_replicas());
        if open().next().is_none() {
            let closed = self.nodes.values().map(|Place { node, .. }| {
                let why = if is_alive(node) { node.scheduling.word() } else { node.liveness.word() };
                format!("{} is {why}", node.name)
            });
            return Reason::new("no_nodes", format!("no node takes replicas: {}", listing(closed)));
        }
        let placement = &service.spec.placement;
        let suitable = || open().filter(|place| first_unmet(placement, place.node).is_none());
        if suitable().next().is_none() {
            let unmet = open().filter_map(|place| {
                first_unmet(placement, place.node).map(|constraint| {
                    let has = match &constraint.attribute {
                        NodeAttribute::Name => String::new(),
                        NodeAttribute::Label(key) => match place.node.labels.get(key) {
                            Some(value) => format!(" ({key}={value})"),
                            None => format!(" (no label {key})"),
                        },
                    };
                    format!("{} fails {constraint}{has}", place.node.name)
                })
            });
            return Reason::new("constraint", format!("no node satisfies placement.constraints: {}", listing(unmet)));
        }
        let ask = service.spec.workload.resources;
        let free = suitable().map(|place| {
            let (cpu, memory) = place.free(place.reserved);
            let memory = Memory(memory.0 >> 20 << 20);
            format!("{} has {} free", place.node.name, amounts(ask, cpu, memory))
        });
        let needs = amounts(ask, ask.cpu.unwrap_or_default(), ask.memory.unwrap_or_default());
        let never =
            if suitable().any(|place| place.fits(ask, Held::default())) { "" } else { "; no node is that large" };
        Reason::new("no_node_fits", format!("needs {needs}; {}{never}", listing(free)))
    }
}

/// Those of the amounts that are asked for: `cpu 4 and memory 1Gi`.
fn amounts(ask: Resources, cpu: Cpu, memory: Memory) -> String {
    match (ask.cpu, ask.memory) {
        (Some(_), Some(_)) => format!("cpu {cpu} and memory {memory}"),
        (Some(_), None) => format!("cpu {cpu}"),
        (None, _) => format!("memory {memory}"),
    }
}

/// The first three, and how many more there are.
pub(crate) fn listing(items: impl Iterator<Item = String>) -> String {
    let mut items: Vec<String> = items.collect();
    if items.len() > 3 {
        let more = items.len() - 3;
        items.truncate(3);
        items.push(format!("and {more} more"));
    }
    items.join(", ")
}

pub(crate) fn is_alive(node: &Node) -> bool {
    node.liveness == Liveness::Alive
}

/// Are its replicas to move away?
pub(crate) fn is_drained(node: &Node) -> bool {
    node.scheduling == Scheduling::Draining
}

/// The first constraint that does not hold on the node. A missing label equals nothing.
pub(crate) fn first_unmet<'p>(placement: &'p Placement, node: &Node) -> Option<&'p Constraint> {
    placement.constraints.iter().find(|constraint| {
        let value = match &constraint.attribute {
            NodeAttribute::Name => Some(node.name.as_str()),
            NodeAttribute::Label(key) => node.labels.get(key).map(String::as_str),
        };
        (value == Some(constraint.value.as_str())) != constraint.equal
    })
}
