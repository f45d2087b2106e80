//! Routes to other nodes' subnets, in the main table of the node's kernel.

use crate::network::{NetworkError, netlink_error};
use futures::TryStreamExt;
use ipnet::Ipv4Net;
use orlop_overlay_core::Peers;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol};
use rtnetlink::{Handle, RouteMessageBuilder};
use std::net::Ipv4Addr;

/// Who made a route, as the kernel keeps it; no number that another routing program is known to use.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(111);

/// One instance's routes: those of our protocol with its metric.
#[derive(Debug)]
pub(crate) struct Routes {
    netlink: Handle,
    metric: u32,
}

impl Routes {
    pub(crate) fn new(netlink: Handle, metric: u32) -> Self {
        Self { netlink, metric }
    }

    /// The routes there are.
    pub(crate) async fn list(&self) -> Result<Peers, NetworkError> {
        let mut messages = self.netlink.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
        let mut found = Peers::new();
        while let Some(message) = messages.try_next().await.map_err(netlink_error("list routes"))? {
            found.extend(self.own(&message));
        }
        Ok(found)
    }

    fn own(&self, message: &RouteMessage) -> Option<(Ipv4Net, Ipv4Addr)> {
        let metric = message.attributes.contains(&RouteAttribute::Priority(self.metric));
        if message.header.protocol != PROTOCOL || !metric {
            return None;
        }
        let (mut to, mut via) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(address)) => to = Some(*address),
                RouteAttribute::Gateway(RouteAddress::Inet(address)) => via = Some(*address),
                _ => {}
            }
        }
        Some((Ipv4Net::new(to?, message.header.destination_prefix_length).ok()?, via?))
    }

    /// Leads packets for a subnet to an address in a network of this node.
    pub(crate) async fn set(&self, subnet: Ipv4Net, via: Ipv4Addr) -> Result<(), NetworkError> {
        let route = self.route(subnet).gateway(via).build();
        let set = self.netlink.route().add(route).replace().execute().await;
        set.map_err(netlink_error(format_args!(
            "route {subnet} to the node at {via}: it must be in one network with this node, or else switch node_routes off \
             and let the network carry these packets"
        )))
    }

    /// Removes a route. Nothing there is no error.
    pub(crate) async fn remove(&self, subnet: Ipv4Net) -> Result<(), NetworkError> {
        match self.netlink.route().del(self.route(subnet).build()).execute().await {
            Err(rtnetlink::Error::NetlinkError(refused)) if refused.raw_code() == -nix::libc::ESRCH => Ok(()),
            removed => removed.map_err(netlink_error(format_args!("remove the route to {subnet}"))),
        }
    }

    fn route(&self, subnet: Ipv4Net) -> RouteMessageBuilder<Ipv4Addr> {
        RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(subnet.network(), subnet.prefix_len())
            .protocol(PROTOCOL)
            .priority(self.metric)
    }
}
