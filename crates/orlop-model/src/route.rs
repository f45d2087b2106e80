//! Routes: which replicas answer for which public endpoint.

use crate::id::{NodeId, ReplicaId};
use crate::name::{EndpointName, ServiceRef};
use crate::spec::Endpoint;
use std::fmt;
use std::net::Ipv4Addr;

/// Names a route in a view: a service's endpoint, printed `deployment/service/endpoint`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// The service.
    pub service: ServiceRef,
    /// The endpoint of it.
    pub endpoint: EndpointName,
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.endpoint)
    }
}

/// A rule from a host and path, or a port, to the replicas that answer for an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Whose endpoint.
    pub service: ServiceRef,
    /// What is offered, and under which host, path or port.
    pub endpoint: Endpoint,
    /// The replicas that are ready, in order of slot and id; none is allowed.
    pub backends: Vec<Backend>,
}

impl Route {
    /// The route's name.
    pub fn key(&self) -> RouteKey {
        RouteKey { service: self.service.clone(), endpoint: self.endpoint.name.clone() }
    }
}

/// A replica that answers for an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// Which replica.
    pub replica: ReplicaId,
    /// Its slot.
    pub slot: u32,
    /// Its address on the overlay.
    pub address: Ipv4Addr,
    /// The port it listens on.
    pub port: u16,
    /// Where it runs.
    pub node: NodeId,
}
