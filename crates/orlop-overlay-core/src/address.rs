//! Addresses of replicas within the node's subnet.

use ipnet::Ipv4Net;
use orlop_model::{Millis, ReplicaId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// How long a freed address is not given to another replica. Until then somebody may still hold a route to it, and
/// would reach the wrong replica instead of nothing.
pub const RESTING: Millis = Millis::from_secs(60);

/// A subnet that replicas cannot live in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is too small for a node: expected a prefix length of 8 to 29")]
pub struct InvalidSubnet(pub Ipv4Net);

/// There is no address for a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no free address in {subnet}: {held} of {capacity} are in use and {resting} were freed less than {RESTING} ago; \
     stop replicas on this node or give the cluster's nodes larger subnets"
)]
pub struct NoFreeAddress {
    /// The node's subnet.
    pub subnet: Ipv4Net,
    /// How many replicas the subnet can hold.
    pub capacity: usize,
    /// Addresses that replicas have.
    pub held: usize,
    /// Addresses that rest.
    pub resting: usize,
}

/// The part of the cluster's range that the replicas of one node live in. Its first address is the gateway: the node's
/// own, on the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet(Ipv4Net);

impl Subnet {
    /// Takes a subnet that has room for a gateway and replicas.
    pub fn new(net: Ipv4Net) -> Result<Self, InvalidSubnet> {
        if (8..=29).contains(&net.prefix_len()) { Ok(Self(net.trunc())) } else { Err(InvalidSubnet(net)) }
    }

    /// As a network.
    pub fn net(&self) -> Ipv4Net {
        self.0
    }

    /// Its first address.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.0.network()) + 1)
    }

    /// An address of it with the subnet's prefix length.
    pub fn with_prefix(&self, address: Ipv4Addr) -> Ipv4Net {
        Ipv4Net::new(address, self.0.prefix_len()).unwrap_or(self.0)
    }

    /// The addresses that replicas may have: first and last.
    fn range(&self) -> (u32, u32) {
        (u32::from(self.0.network()) + 2, u32::from(self.0.broadcast()) - 1)
    }

    /// How many replicas it can hold.
    pub fn capacity(&self) -> usize {
        let (first, last) = self.range();
        (last - first + 1) as usize
    }

    /// May a replica have this address?
    pub fn allows(&self, address: Ipv4Addr) -> bool {
        let (first, last) = self.range();
        (first..=last).contains(&u32::from(address))
    }
}

/// Who has which address, and which addresses rest.
///
/// Addresses are given out in a circle, so that one comes back as late as possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    subnet: Subnet,
    held: BTreeMap<ReplicaId, Ipv4Addr>,
    resting: BTreeMap<Ipv4Addr, Timestamp>,
    /// The address given out last; the search begins after it.
    last: Ipv4Addr,
}

/// What an earlier daemon left of its addresses, wherever it can be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remains {
    /// The addresses of the bridge; empty without a bridge.
    pub bridge: BTreeSet<Ipv4Net>,
    /// The addresses of each replica's `eth0`; empty for a namespace without.
    pub replicas: BTreeMap<ReplicaId, BTreeSet<Ipv4Net>>,
    /// The subnet that the daemon noted.
    pub subnet: Option<Ipv4Net>,
    /// Which replica has which address, as the daemon noted. Counts only where the kernel says nothing.
    pub held: BTreeMap<ReplicaId, Ipv4Addr>,
}

impl Remains {
    /// The subnet that most replicas live in; without replicas, the one that was noted, else the bridge's.
    fn subnet(&self) -> Option<Subnet> {
        let lived_in = self.replicas.values().flatten().filter_map(|net| Subnet::new(*net).ok());
        let on_bridge = self.bridge.iter().filter_map(|net| {
            let subnet = Subnet::new(*net).ok()?;
            (subnet.gateway() == net.addr()).then_some(subnet)
        });
        let noted = self.subnet.and_then(|net| Subnet::new(net).ok());
        let votes = |subnet: &Subnet| {
            let live_there = |nets: &&BTreeSet<Ipv4Net>| {
                nets.iter().any(|net| subnet.with_prefix(net.addr()) == *net && subnet.allows(net.addr()))
            };
            self.replicas.values().filter(live_there).count()
        };
        // Of equal ones, `max_by_key` takes the last.
        lived_in.chain(on_bridge).chain(noted).max_by_key(votes)
    }
}

impl Addresses {
    /// Takes up what an earlier daemon left. `None` when it left nothing that tells a subnet. Also answers the replicas
    /// whose address is not known: they get one as if they were new.
    pub fn found(remains: &Remains) -> Option<(Self, BTreeSet<ReplicaId>)> {
        let mut addresses = Self::new(remains.subnet()?);
        let mut unknown = BTreeSet::new();
        // What the kernel says comes first, so that no note takes an address from who has it.
        for (replica, nets) in &remains.replicas {
            if !nets.iter().any(|net| addresses.adopt(*replica, net.addr())) {
                unknown.insert(*replica);
            }
        }
        unknown.retain(|replica| !remains.held.get(replica).is_some_and(|noted| addresses.adopt(*replica, *noted)));
        Some((addresses, unknown))
    }

    /// Nothing given out.
    pub fn new(subnet: Subnet) -> Self {
        Self { subnet, held: BTreeMap::new(), resting: BTreeMap::new(), last: subnet.gateway() }
    }

    /// Where the addresses come from.
    pub fn subnet(&self) -> Subnet {
        self.subnet
    }

    /// The address of each replica.
    pub fn held(&self) -> &BTreeMap<ReplicaId, Ipv4Addr> {
        &self.held
    }

    /// When each resting address was freed, and the address given out last: what a restarted daemon must be told again.
    pub fn memory(&self) -> (&BTreeMap<Ipv4Addr, Timestamp>, Ipv4Addr) {
        (&self.resting, self.last)
    }

    /// Takes up what an earlier daemon remembered. What does not belong to the subnet is left out.
    pub fn remember(&mut self, resting: impl IntoIterator<Item = (Ipv4Addr, Timestamp)>, last: Ipv4Addr) {
        self.resting.extend(resting.into_iter().filter(|(address, _)| self.subnet.allows(*address)));
        if self.subnet.allows(last) {
            self.last = last;
        }
    }

    /// Takes up an address that a replica was found to have. False when it cannot be its: outside of the subnet, or
    /// another replica's.
    pub fn adopt(&mut self, replica: ReplicaId, address: Ipv4Addr) -> bool {
        let free = self.held.iter().all(|(holder, held)| *held != address || *holder == replica);
        let adopted = self.subnet.allows(address) && free;
        if adopted {
            self.held.insert(replica, address);
            self.resting.remove(&address);
        }
        adopted
    }

    /// The address of a replica: the one it has, or a free one, which it has from now on.
    pub fn attach(&mut self, replica: ReplicaId, now: Timestamp) -> Result<Ipv4Addr, NoFreeAddress> {
        if let Some(address) = self.held.get(&replica) {
            return Ok(*address);
        }
        // A freed time in the future is from before the clock was set back: such an address has rested long enough.
        self.resting.retain(|_, freed| *freed <= now && now - *freed < RESTING);
        let taken: BTreeSet<Ipv4Addr> = self.held.values().copied().collect();
        let (first, final_) = self.subnet.range();
        let last = u32::from(self.last);
        let free = (last.saturating_add(1).max(first)..=final_)
            .chain(first..=final_.min(last))
            .map(Ipv4Addr::from)
            .find(|address| !taken.contains(address) && !self.resting.contains_key(address));
        let Some(address) = free else {
            return Err(NoFreeAddress {
                subnet: self.subnet.net(),
                capacity: self.subnet.capacity(),
                held: self.held.len(),
                resting: self.resting.len(),
            });
        };
        self.last = address;
        self.held.insert(replica, address);
        Ok(address)
    }

    /// Frees the address of a replica; it rests from now on. Answers what it was.
    pub fn detach(&mut self, replica: ReplicaId, now: Timestamp) -> Option<Ipv4Addr> {
        let address = self.held.remove(&replica)?;
        self.resting.insert(address, now);
        Some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn subnet(text: &str) -> Subnet {
        Subnet::new(text.parse().unwrap()).unwrap()
    }

    fn replica(n: u128) -> ReplicaId {
        ReplicaId::from_u128(n)
    }

    #[test]
    fn a_replica_keeps_its_address_and_a_freed_one_rests() {
        let mut addresses = Addresses::new(subnet("10.90.1.0/24"));
        let first = addresses.attach(replica(1), Timestamp(0)).unwrap();
        assert_eq!(first, Ipv4Addr::new(10, 90, 1, 2));
        assert_eq!(addresses.attach(replica(1), Timestamp(1)).unwrap(), first);
        assert_eq!(addresses.detach(replica(1), Timestamp(2)), Some(first));
        assert_eq!(addresses.detach(replica(1), Timestamp(2)), None);
        assert_ne!(addresses.attach(replica(2), Timestamp(3)).unwrap(), first);
    }

    #[test]
    fn a_full_subnet_says_how_full_it_is_and_resting_ends() {
        let mut addresses = Addresses::new(subnet("10.90.1.0/29"));
        for n in 0..5 {
            addresses.attach(replica(n), Timestamp(0)).unwrap();
        }
        addresses.detach(replica(3), Timestamp(10)).unwrap();
        let full = addresses.attach(replica(9), Timestamp(20)).unwrap_err();
        assert_eq!((full.capacity, full.held, full.resting), (5, 4, 1));
        assert!(full.to_string().contains("4 of 5 are in use and 1 were freed less than 1m ago"), "{full}");
        assert_eq!(
            addresses.attach(replica(9), Timestamp(10) + RESTING).unwrap(),
            Ipv4Addr::new(10, 90, 1, 5),
            "the freed one, once it has rested"
        );
    }

    #[test]
    fn what_was_found_is_adopted_unless_it_cannot_be() {
        let mut addresses = Addresses::new(subnet("10.90.1.0/24"));
        assert!(addresses.adopt(replica(1), Ipv4Addr::new(10, 90, 1, 7)));
        assert!(addresses.adopt(replica(1), Ipv4Addr::new(10, 90, 1, 7)), "twice is once");
        assert!(!addresses.adopt(replica(2), Ipv4Addr::new(10, 90, 1, 7)), "another's");
        assert!(!addresses.adopt(replica(2), Ipv4Addr::new(10, 90, 1, 1)), "the gateway");
        assert!(!addresses.adopt(replica(2), Ipv4Addr::new(10, 90, 1, 255)), "broadcast");
        assert!(!addresses.adopt(replica(2), Ipv4Addr::new(10, 90, 2, 2)), "elsewhere");
    }

    #[test]
    fn what_a_daemon_left_is_found_again_with_and_without_its_bridge() {
        let nets = |texts: &[&str]| -> BTreeSet<Ipv4Net> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let held = |remains: &Remains| Addresses::found(remains).unwrap().0.held().clone();
        let ours =
            BTreeMap::from([(replica(1), Ipv4Addr::new(10, 90, 1, 7)), (replica(2), Ipv4Addr::new(10, 90, 1, 8))]);
        let mut remains = Remains {
            bridge: nets(&["10.90.1.1/24"]),
            replicas: [(replica(1), nets(&["10.90.1.7/24"])), (replica(2), nets(&["10.90.1.8/24"]))].into(),
            ..Remains::default()
        };
        assert_eq!(held(&remains), ours);
        for bridge in [nets(&[]), nets(&["10.1.0.1/24"]), nets(&["10.1.0.1/24", "10.90.1.1/24"])] {
            remains.bridge = bridge;
            assert_eq!(Addresses::found(&remains).unwrap().0.subnet(), subnet("10.90.1.0/24"));
            assert_eq!(held(&remains), ours, "{:?}", remains.bridge);
        }
        // A link that was taken away: only the note knows its address, and the kernel's word comes before it.
        remains.replicas.insert(replica(1), nets(&[]));
        remains.held = ours.clone();
        assert_eq!(held(&remains), ours);
        remains.held.insert(replica(1), Ipv4Addr::new(10, 90, 1, 8));
        let (found, unknown) = Addresses::found(&remains).unwrap();
        assert_eq!(unknown, [replica(1)].into());
        assert_eq!(found.held().len(), 1);
        // Who is noted and has no namespace is gone.
        remains.held.insert(replica(3), Ipv4Addr::new(10, 90, 1, 9));
        assert!(!held(&remains).contains_key(&replica(3)));
        remains.replicas.values_mut().for_each(BTreeSet::clear);
        remains.bridge.clear();
        assert_eq!(Addresses::found(&remains), None);
        remains.subnet = Some("10.90.1.0/24".parse().unwrap());
        remains.held = ours.clone();
        assert_eq!(held(&remains), ours, "also when no link is left");
    }

    #[test]
    fn a_restarted_daemon_lets_resting_addresses_rest_on() {
        let net = subnet("10.90.1.0/24");
        let mut before = Addresses::new(net);
        let freed = before.attach(replica(1), Timestamp(0)).unwrap();
        before.detach(replica(1), Timestamp(5));
        let mut after = Addresses::new(net);
        let (resting, last) = before.memory();
        after.remember(resting.clone(), last);
        assert_ne!(after.attach(replica(2), Timestamp(6)).unwrap(), freed);
    }

    #[test]
    fn subnets_without_room_are_refused() {
        for bad in ["10.0.0.0/30", "10.0.0.0/31", "10.0.0.0/32", "0.0.0.0/0"] {
            assert!(Subnet::new(bad.parse().unwrap()).is_err(), "{bad}");
        }
        assert_eq!(subnet("10.90.1.77/24").gateway(), Ipv4Addr::new(10, 90, 1, 1));
    }

    proptest! {
        #[test]
        fn no_two_replicas_share_an_address_and_none_is_reused_early(
            steps in proptest::collection::vec((0_u128..12, any::<bool>(), 0_u64..30_000), 1..200)
        ) {
            let mut addresses = Addresses::new(subnet("10.1.0.0/28"));
            let mut freed: BTreeMap<Ipv4Addr, Timestamp> = BTreeMap::new();
            let mut now = Timestamp(1_000_000);
            for (n, attach, passed) in steps {
                now = now + Millis(passed);
                if attach {
                    let had = addresses.held().get(&replica(n)).copied();
                    match addresses.attach(replica(n), now) {
                        Ok(address) => {
                            prop_assert!(addresses.subnet().allows(address));
                            prop_assert!(had.is_none_or(|had| had == address));
                            if had.is_none() && let Some(at) = freed.get(&address) {
                                prop_assert!(now - *at >= RESTING);
                            }
                        }
                        Err(full) => prop_assert_eq!(full.held + full.resting, full.capacity),
                    }
                } else if let Some(address) = addresses.detach(replica(n), now) {
                    freed.insert(address, now);
                }
                let distinct: BTreeSet<_> = addresses.held().values().collect();
                prop_assert_eq!(distinct.len(), addresses.held().len());
            }
        }
    }
}
