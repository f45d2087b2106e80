//! From what the kernel holds to what it should hold.

use crate::{Instance, Subnet};
use ipnet::Ipv4Net;
use orlop_model::ReplicaId;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// What the kernel should hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// Names.
    pub instance: Instance,
    /// The node's subnet.
    pub subnet: Subnet,
    /// The address of each replica.
    pub replicas: BTreeMap<ReplicaId, Ipv4Addr>,
    /// The other nodes that are reached from here: by their subnet, where they are.
    pub peers: Peers,
}

/// Other nodes: by their subnet, the address of the node. Both lie in one network with this node.
pub type Peers = BTreeMap<Ipv4Net, Ipv4Addr>;

/// What the kernel holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// Does the kernel forward IPv4 packets?
    pub forwarding: bool,
    /// The bridge, when there is one.
    pub bridge: Option<Bridge>,
    /// Is the table as it was last written, and would the same be written now? Do all foreign chains that drop by
    /// policy let our packets pass?
    pub rules_right: bool,
    /// The node's ends of replicas' pairs, by name.
    pub ports: BTreeMap<String, Port>,
    /// The routes that this instance has made.
    pub routes: Peers,
    /// What is inside each replica's namespace; absent without namespace.
    pub namespaces: BTreeMap<ReplicaId, Inside>,
}

/// The node's bridge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bridge {
    /// Was it brought up?
    pub up: bool,
    /// Its IPv4 addresses.
    pub addresses: BTreeSet<Ipv4Net>,
}

/// The node's end of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// Was it brought up?
    pub up: bool,
    /// Is it a port of our bridge?
    pub on_bridge: bool,
}

/// What a replica's namespace holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inside {
    /// Is `lo` up?
    pub loopback_up: bool,
    /// `eth0`, when there is one.
    pub eth0: Option<Interface>,
    /// Where the default route leads.
    pub default_route: Option<Ipv4Addr>,
}

/// An interface in a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    /// Was it brought up?
    pub up: bool,
    /// Its IPv4 addresses.
    pub addresses: BTreeSet<Ipv4Net>,
}

/// One action on the kernel. Removing what went by itself meanwhile is no error; making what is there already is one,
/// and planning again is the way on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Let the kernel forward IPv4 packets.
    EnableForwarding,
    /// Make the bridge, with a hardware address that never changes.
    MakeBridge {
        /// The address.
        mac: [u8; 6],
    },
    /// Give the bridge an address.
    AddBridgeAddress(Ipv4Net),
    /// Take an address of another subnet from the bridge.
    RemoveBridgeAddress(Ipv4Net),
    /// Bring the bridge up.
    RaiseBridge,
    /// Write the nftables rules, in one transaction.
    WriteRules,
    /// Make a replica's namespace.
    MakeNamespace(ReplicaId),
    /// Remove a node's end that leads nowhere; its other end goes with it.
    RemovePort(String),
    /// Remove an `eth0` whose other end is not where it should be.
    RemoveEth0(ReplicaId),
    /// Make a pair: `port` up and on the bridge, `eth0` in the replica's namespace and still down.
    MakePair {
        /// Whose.
        replica: ReplicaId,
        /// The node's end.
        port: String,
        /// The hardware address of `eth0`; follows from the IP address, so that nobody's idea of it goes stale when the
        /// address moves on.
        mac: [u8; 6],
    },
    /// Put a node's end on the bridge and bring it up.
    PlugPort(String),
    /// Bring `lo` up in a replica's namespace.
    RaiseLoopback(ReplicaId),
    /// Take an address from `eth0`.
    RemoveAddress(ReplicaId, Ipv4Net),
    /// Give `eth0` its address.
    AddAddress(ReplicaId, Ipv4Net),
    /// Bring `eth0` up.
    RaiseEth0(ReplicaId),
    /// Set the default route.
    SetDefaultRoute(ReplicaId, Ipv4Addr),
    /// Lead packets for another node's subnet to that node. Depends on the network that the nodes are in, and nothing
    /// else depends on it.
    SetRoute(Ipv4Net, Ipv4Addr),
    /// Remove the route to another node's subnet.
    RemoveRoute(Ipv4Net),
}

/// The steps for what all replicas share.
pub fn plan_node(desired: &Desired, observed: &Observed) -> Vec<Step> {
    let mut steps = Vec::new();
    if !observed.forwarding {
        steps.push(Step::EnableForwarding);
    }
    let gateway = desired.subnet.with_prefix(desired.subnet.gateway());
    let bridge = observed.bridge.clone().unwrap_or_default();
    if observed.bridge.is_none() {
        steps.push(Step::MakeBridge { mac: desired.instance.bridge_mac() });
    }
    steps.extend(bridge.addresses.iter().filter(|a| **a != gateway).map(|a| Step::RemoveBridgeAddress(*a)));
    if !bridge.addresses.contains(&gateway) {
        steps.push(Step::AddBridgeAddress(gateway));
    }
    if !bridge.up {
        steps.push(Step::RaiseBridge);
    }
    // The rules come after what they name: packets only flow once the bridge is up.
    if !observed.rules_right {
        steps.push(Step::WriteRules);
    }
    let lasting = |subnet: &Ipv4Net| desired.peers.contains_key(subnet);
    steps.extend(observed.routes.keys().filter(|subnet| !lasting(subnet)).map(|subnet| Step::RemoveRoute(*subnet)));
    let missing = desired.peers.iter().filter(|(subnet, via)| observed.routes.get(subnet) != Some(via));
    steps.extend(missing.map(|(subnet, via)| Step::SetRoute(*subnet, *via)));
    steps
}

/// The steps for one replica; none when it is as it should be.
pub fn plan_replica(desired: &Desired, observed: &Observed, replica: ReplicaId) -> Vec<Step> {
    let Some(address) = desired.replicas.get(&replica).copied() else { return Vec::new() };
    let port = desired.instance.port(replica);
    let wanted = desired.subnet.with_prefix(address);
    let mut steps = Vec::new();

    let inside = observed.namespaces.get(&replica).cloned().unwrap_or_default();
    if !observed.namespaces.contains_key(&replica) {
        steps.push(Step::MakeNamespace(replica));
    }
    // The ends of a pair live and die together; one without the other means that its fellow went astray.
    let eth0 = match (observed.ports.get(&port), inside.eth0) {
        (Some(state), Some(eth0)) => {
            if !state.on_bridge || !state.up {
                steps.push(Step::PlugPort(port));
            }
            eth0
        }
        (found, eth0) => {
            steps.extend(found.map(|_| Step::RemovePort(port.clone())));
            steps.extend(eth0.map(|_| Step::RemoveEth0(replica)));
            let [a, b, c, d] = address.octets();
            steps.push(Step::MakePair { replica, port, mac: [0x0a, 0x6f, a, b, c, d] });
            Interface::default()
        }
    };
    if !inside.loopback_up {
        steps.push(Step::RaiseLoopback(replica));
    }
    steps.extend(eth0.addresses.iter().filter(|a| **a != wanted).map(|a| Step::RemoveAddress(replica, *a)));
    let readdressed = !eth0.addresses.contains(&wanted);
    if readdressed {
        steps.push(Step::AddAddress(replica, wanted));
    }
    if !eth0.up {
        steps.push(Step::RaiseEth0(replica));
    }
    // A route through eth0 goes when eth0 or its last address goes.
    let gateway = desired.subnet.gateway();
    if readdressed || !eth0.up || inside.default_route != Some(gateway) {
        steps.push(Step::SetDefaultRoute(replica, gateway));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does to an observation what a step does to the kernel.
    fn act(observed: &mut Observed, step: &Step) {
        match step {
            Step::EnableForwarding => observed.forwarding = true,
            Step::MakeBridge { .. } => {
                assert!(observed.bridge.replace(Bridge::default()).is_none());
            }
            Step::AddBridgeAddress(a) => assert!(observed.bridge.as_mut().unwrap().addresses.insert(*a)),
            Step::RemoveBridgeAddress(a) => assert!(observed.bridge.as_mut().unwrap().addresses.remove(a)),
            Step::RaiseBridge => observed.bridge.as_mut().unwrap().up = true,
            Step::WriteRules => observed.rules_right = true,
            Step::MakeNamespace(r) => assert!(observed.namespaces.insert(*r, Inside::default()).is_none()),
            Step::RemovePort(port) => {
                observed.ports.remove(port).unwrap();
            }
            Step::RemoveEth0(r) => {
                observed.namespaces.get_mut(r).unwrap().eth0.take().unwrap();
            }
            Step::MakePair { replica, port, .. } => {
                assert!(observed.bridge.is_some());
                assert!(observed.ports.insert(port.clone(), Port { up: true, on_bridge: true }).is_none());
                let inside = observed.namespaces.get_mut(replica).unwrap();
                assert!(inside.eth0.replace(Interface::default()).is_none());
            }
            Step::PlugPort(port) => {
                *observed.ports.get_mut(port).unwrap() = Port { up: true, on_bridge: true };
            }
            Step::RaiseLoopback(r) => observed.namespaces.get_mut(r).unwrap().loopback_up = true,
            Step::RemoveAddress(r, a) => {
                let inside = observed.namespaces.get_mut(r).unwrap();
                assert!(inside.eth0.as_mut().unwrap().addresses.remove(a));
                inside.default_route = None;
            }
            Step::AddAddress(r, a) => {
                assert!(observed.namespaces.get_mut(r).unwrap().eth0.as_mut().unwrap().addresses.insert(*a));
            }
            Step::RaiseEth0(r) => observed.namespaces.get_mut(r).unwrap().eth0.as_mut().unwrap().up = true,
            Step::SetDefaultRoute(r, via) => {
                let inside = observed.namespaces.get_mut(r).unwrap();
                assert!(inside.eth0.as_ref().unwrap().up);
                inside.default_route = Some(*via);
            }
            Step::SetRoute(subnet, via) => {
                observed.routes.insert(*subnet, *via);
            }
            Step::RemoveRoute(subnet) => {
                observed.routes.remove(subnet).unwrap();
            }
        }
    }

    fn all_steps(desired: &Desired, observed: &Observed) -> Vec<Step> {
        let mut steps = plan_node(desired, observed);
        steps.extend(desired.replicas.keys().flat_map(|replica| plan_replica(desired, observed, *replica)));
        steps
    }

    fn desired() -> Desired {
        let replicas = [
            (ReplicaId::from_u128(1), Ipv4Addr::new(10, 90, 1, 2)),
            (ReplicaId::from_u128(2), Ipv4Addr::new(10, 90, 1, 3)),
        ];
        Desired {
            instance: Instance::new("orlop0", "orlop").unwrap(),
            subnet: Subnet::new("10.90.1.0/24".parse().unwrap()).unwrap(),
            replicas: replicas.into(),
            peers: [("10.90.2.0/24".parse().unwrap(), Ipv4Addr::new(192, 0, 2, 2))].into(),
        }
    }

    fn settled(desired: &Desired, mut observed: Observed) -> Observed {
        for step in all_steps(desired, &observed.clone()) {
            act(&mut observed, &step);
        }
        assert_eq!(all_steps(desired, &observed), [], "a second pass has nothing to do");
        observed
    }

    #[test]
    fn a_daemon_that_dies_after_any_step_ends_at_the_same_place() {
        let desired = desired();
        let whole = settled(&desired, Observed::default());
        let steps = all_steps(&desired, &Observed::default());
        assert_eq!(steps.len(), 6 + 2 * 6, "{steps:#?}");
        for dies_after in 0..=steps.len() {
            let mut observed = Observed::default();
            steps.iter().take(dies_after).for_each(|step| act(&mut observed, step));
            assert_eq!(settled(&desired, observed), whole, "dead after {dies_after} steps");
        }
    }

    #[test]
    fn whatever_somebody_breaks_is_mended_and_nothing_else_is_touched() {
        let desired = desired();
        let whole = settled(&desired, Observed::default());
        let (one, two) = (ReplicaId::from_u128(1), ReplicaId::from_u128(2));
        let port = desired.instance.port(one);
        type Harm<'a> = (&'a str, Box<dyn Fn(&mut Observed) + 'a>, usize);
        let harms: Vec<Harm<'_>> = vec![
            ("the rules", Box::new(|o| o.rules_right = false), 1),
            ("a route", Box::new(|o| o.routes.clear()), 1),
            (
                "routes that lead astray",
                Box::new(|o| {
                    o.routes.insert("10.90.2.0/24".parse().unwrap(), Ipv4Addr::new(192, 0, 2, 9));
                    o.routes.insert("10.90.9.0/24".parse().unwrap(), Ipv4Addr::new(192, 0, 2, 9));
                }),
                2,
            ),
            ("forwarding", Box::new(|o| o.forwarding = false), 1),
            ("a port off the bridge", Box::new(|o| o.ports.get_mut(&port).unwrap().on_bridge = false), 1),
            (
                "the pair",
                Box::new(|o| {
                    o.ports.remove(&port);
                    o.namespaces.get_mut(&one).unwrap().eth0 = None;
                    o.namespaces.get_mut(&one).unwrap().default_route = None;
                }),
                4,
            ),
            (
                "the port renamed",
                Box::new(|o| {
                    o.ports.remove(&port);
                }),
                5,
            ),
            (
                "the namespace",
                Box::new(|o| {
                    o.namespaces.remove(&one);
                }),
                7,
            ),
            (
                "eth0 down",
                Box::new(|o| {
                    let i = o.namespaces.get_mut(&one).unwrap();
                    i.eth0.as_mut().unwrap().up = false;
                    i.default_route = None;
                }),
                2,
            ),
            (
                "another address",
                Box::new(|o| {
                    o.namespaces.get_mut(&one).unwrap().eth0.as_mut().unwrap().addresses =
                        ["10.9.9.9/8".parse().unwrap()].into();
                }),
                3,
            ),
        ];
        for (what, harm, steps) in harms {
            let mut observed = whole.clone();
            harm(&mut observed);
            let plan = all_steps(&desired, &observed);
            assert_eq!(plan.len(), steps, "{what}: {plan:#?}");
            assert_eq!(plan_replica(&desired, &observed, two), [], "{what}");
            assert_eq!(settled(&desired, observed), whole, "{what}");
        }
    }

    #[test]
    fn replicas_that_nobody_knows_are_left_alone() {
        let desired = desired();
        let mut observed = settled(&desired, Observed::default());
        observed.namespaces.insert(ReplicaId::from_u128(99), Inside::default());
        observed.ports.insert("oaaaaaaaaaaaaa".into(), Port { up: false, on_bridge: true });
        assert_eq!(all_steps(&desired, &observed), []);
    }
}
