//! The node's subnet, and the ways to other nodes, from the mesh view.

use crate::config::Config;
use crate::service::ServeError;
use ipnet::Ipv4Net;
use orlop_follower::{Follower, FollowerConfig};
use orlop_model::{Node, NodeName, View};
use orlop_overlay_core::Peers;
use std::net::IpAddr;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What the mesh view says to one node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Mesh {
    /// Its subnet, once it has one.
    pub(crate) subnet: Option<Ipv4Net>,
    /// The nodes that are reached from here.
    pub(crate) peers: Peers,
}

/// Follows the mesh view until `stop` and tells what it says to the node by the configured name. A node that is missing
/// from the view keeps what it had: its replicas run on.
pub(crate) async fn follow(
    config: &Config,
    stop: CancellationToken,
) -> Result<(watch::Receiver<Mesh>, Follower), ServeError> {
    let (name, routes) = (config.node()?, config.node_routes);
    let channel = orlop_client::connect(&config.control_plane).map_err(|error| ServeError::Follow(Box::new(error)))?;
    let cache_path = Some(config.data_dir.join("mesh.view"));
    let follower = FollowerConfig { name: "overlay", channel, view: View::Mesh, cache_path };
    let mut follower = Follower::start(follower, stop).await.map_err(|error| ServeError::Follow(Box::new(error)))?;
    let (tell, mesh) = watch::channel(Mesh::default());
    let handle = follower.clone();
    tokio::spawn(async move {
        while let Ok(view) = follower.changed().await {
            let Some(said) = said_to(&name, view.nodes(), routes) else { continue };
            tell.send_if_modified(|told| {
                let differs = *told != said;
                *told = said;
                differs
            });
        }
    });
    Ok((mesh, handle))
}

/// What the nodes of a view mean to the one with this name, if it is among them.
fn said_to<'a>(name: &NodeName, nodes: impl Iterator<Item = &'a Node>, routes: bool) -> Option<Mesh> {
    let (own, others): (Vec<&Node>, Vec<&Node>) = nodes.partition(|node| node.name == *name);
    let own = own.first()?;
    let way = |node: &&Node| match node.address {
        Some(IpAddr::V4(address)) if node.address != own.address && node.subnet != own.subnet => {
            Some((node.subnet, address))
        }
        _ => None,
    };
    let peers = if routes { others.iter().filter_map(way).collect() } else { Peers::new() };
    Some(Mesh { subnet: Some(own.subnet), peers })
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_model::{Cpu, Liveness, Memory, NodeId, Scheduling, Timestamp};

    fn node(number: u8, address: Option<&str>) -> Node {
        Node {
            id: NodeId::from_u128(number.into()),
            name: format!("n{number}").parse().unwrap(),
            cpu: Cpu(1000),
            memory: Memory(1 << 30),
            labels: Default::default(),
            subnet: format!("10.90.{number}.0/24").parse().unwrap(),
            version: "1".into(),
            registered_at: Timestamp(0),
            address: address.map(|address| address.parse().unwrap()),
            liveness: Liveness::Alive,
            scheduling: Scheduling::Open,
        }
    }

    #[test]
    fn ways_lead_to_other_nodes_that_have_an_address_of_version_4_also_when_they_are_lost() {
        let lost = Node { liveness: Liveness::Lost(Timestamp(1)), ..node(5, Some("192.0.2.5")) };
        let nodes = [
            node(1, Some("192.0.2.1")),
            node(2, Some("192.0.2.2")),
            node(3, None),
            node(4, Some("fd00::4")),
            lost,
            // A second instance on this machine is no hop away.
            node(6, Some("192.0.2.1")),
        ];
        let said = |name: &str, routes| said_to(&name.parse().unwrap(), nodes.iter(), routes);
        let peers = [("10.90.2.0/24", "192.0.2.2"), ("10.90.5.0/24", "192.0.2.5")];
        let peers = peers.map(|(net, at)| (net.parse().unwrap(), at.parse().unwrap())).into();
        let subnet = Some("10.90.1.0/24".parse().unwrap());
        assert_eq!(said("n1", true), Some(Mesh { subnet, peers }));
        assert_eq!(said("n1", false), Some(Mesh { subnet, peers: Peers::new() }));
        assert_eq!(said("n9", true), None);
    }
}
