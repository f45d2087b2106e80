//! A network that loses, delays and cuts, by a seed.
//!
//! Everything that one place says to another is a packet: it arrives some ticks later, never in the tick in which it was
//! sent, so hosts can be stepped one after the other and see nothing of each other within a tick (the lookahead of
//! Chandy and Misra, "Distributed Simulation", 1979). What the members' connections promise holds: a request arrives at
//! most once, and what belongs to one stream arrives in order or not at all.

mod remote;

use crate::chance::Chance;
use crate::host::Running;
use crate::mutation::Mutation;
use crate::trace::Trace;
use orlop_consensus::seam::{Lane, Peer, Peers};
use parking_lot::Mutex;
use remote::Remote;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Does what a packet is for, at the host it was for; `None` when nobody listens there.
pub(crate) type Arrival = Box<dyn FnOnce(Option<&Running>) + Send>;

/// The state of one direction between two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) cut: bool,
    /// Packets lost, of a thousand.
    pub(crate) loss: u64,
    /// The delay in ticks.
    pub(crate) delay: (u64, u64),
}

impl Default for Link {
    fn default() -> Self {
        Self { cut: false, loss: 0, delay: (0, 2) }
    }
}

/// Packets that arrive in order, or not at all.
#[derive(Default)]
pub(crate) struct Stream {
    broken: AtomicBool,
    last: Mutex<u64>,
}

pub(crate) struct Packet {
    pub(crate) from: u64,
    pub(crate) to: u64,
    stream: Option<Arc<Stream>>,
    arrival: Arrival,
}

impl Packet {
    pub(crate) fn arrive(self, at: Option<&Running>) {
        if self.stream.is_none_or(|stream| !stream.broken.load(Ordering::Relaxed)) {
            (self.arrival)(at);
        }
    }
}

struct Inner {
    tick: u64,
    sequence: u64,
    chance: Chance,
    links: BTreeMap<(u64, u64), Link>,
    flying: BTreeMap<(u64, u64), Packet>,
    /// Hosts whose power failed within this tick: what they say afterwards is not said.
    silenced: BTreeMap<u64, Arc<AtomicBool>>,
    mutation: Option<Mutation>,
}

/// Clones are the same network.
#[derive(Clone)]
pub(crate) struct Network {
    inner: Arc<Mutex<Inner>>,
    trace: Trace,
}

impl Network {
    pub(crate) fn new(chance: Chance, trace: Trace, mutation: Option<Mutation>) -> Self {
        let inner = Inner {
            tick: 0,
            sequence: 0,
            chance,
            links: BTreeMap::new(),
            flying: BTreeMap::new(),
            silenced: BTreeMap::new(),
            mutation,
        };
        Self { inner: Arc::new(Mutex::new(inner)), trace }
    }

    pub(crate) fn has(&self, mutation: Mutation) -> bool {
        self.inner.lock().mutation == Some(mutation)
    }

    /// Changes the way from one place to another.
    pub(crate) fn link(&self, from: u64, to: u64, change: impl FnOnce(&mut Link)) {
        change(self.inner.lock().links.entry((from, to)).or_default());
    }

    /// Mends all ways.
    pub(crate) fn mend(&self) {
        self.inner.lock().links.clear();
    }

    pub(crate) fn silence_with(&self, host: u64, dead: Arc<AtomicBool>) {
        self.inner.lock().silenced.insert(host, dead);
    }

    /// Sends a packet. `content` is a hash of what is in it.
    pub(crate) fn send(
        &self,
        (from, to): (u64, u64),
        what: &'static str,
        content: u64,
        stream: Option<Arc<Stream>>,
        arrival: Arrival,
    ) {
        let mut inner = self.inner.lock();
        if inner.silenced.get(&from).is_some_and(|dead| dead.load(Ordering::Relaxed)) {
            return;
        }
        let link = inner.links.get(&(from, to)).copied().unwrap_or_default();
        let lost = link.cut || (link.loss > 0 && inner.chance.per_mille(link.loss));
        if lost {
            if let Some(stream) = stream {
                stream.broken.store(true, Ordering::Relaxed);
            }
            self.trace.message(from, to, what, content, 0);
            return;
        }
        let mut at = inner.tick + 1 + inner.chance.between(link.delay.0, link.delay.1);
        if let Some(stream) = &stream {
            let mut last = stream.last.lock();
            at = at.max(*last);
            *last = at;
        }
        inner.sequence += 1;
        let key = (at, inner.sequence);
        inner.flying.insert(key, Packet { from, to, stream, arrival });
        self.trace.message(from, to, what, content, at);
    }

    /// Begins a tick: what arrives in it, in order.
    pub(crate) fn begin(&self, tick: u64) -> Vec<Packet> {
        let mut inner = self.inner.lock();
        inner.tick = tick;
        let later = inner.flying.split_off(&(tick + 1, 0));
        let due = std::mem::replace(&mut inner.flying, later);
        let mut arriving = Vec::new();
        for packet in due.into_values() {
            match inner.links.get(&(packet.from, packet.to)).is_some_and(|link| link.cut) {
                true => {
                    if let Some(stream) = &packet.stream {
                        stream.broken.store(true, Ordering::Relaxed);
                    }
                }
                false => arriving.push(packet),
            }
        }
        arriving
    }

    /// What a member has for a network.
    pub(crate) fn of(&self, member: u64) -> Arc<dyn Peers> {
        Arc::new(Ways { network: self.clone(), from: member })
    }
}

struct Ways {
    network: Network,
    from: u64,
}

impl Peers for Ways {
    fn peer(&self, member: u64, address: &str, _lane: Lane) -> Arc<dyn Peer> {
        // Hosts are found by address, as in life: a member that moved is not where it was.
        let to = address.strip_prefix("host-").and_then(|number| number.parse().ok()).unwrap_or(u64::MAX);
        Arc::new(Remote { network: self.network.clone(), from: self.from, to, member })
    }
}
