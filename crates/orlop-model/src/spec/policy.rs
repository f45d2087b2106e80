//! How the cluster treats a service; changing any of this touches no running container.

use crate::name::{EndpointName, ServiceName};
use crate::spec::OnFailure;
use crate::time::Millis;

/// A service's named port, offered by the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Unique in the service.
    pub name: EndpointName,
    /// What is spoken.
    pub protocol: Protocol,
    /// The port that replicas listen on. For `tcp` it is also the node's port.
    pub port: u16,
    /// Requests whose path begins with this, whole segments only; `/` is all. Always `/` for tcp.
    pub path: String,
    /// Requests for this host, lower case; any host without one. Never set for tcp.
    pub host: Option<String>,
}

/// What an endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/1.1, upgrades (WebSocket) included.
    Http,
    /// A byte stream.
    Tcp,
}

/// How many replicas a service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// As many as the file says; a deploy sets it again.
    Fixed {
        /// How many.
        replicas: u32,
    },
    /// As many as `orlopctl scale` last said; a deploy keeps it. 1 at first.
    Manual,
}

/// Something that must be up before a service's replicas are started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// A service of the same deployment.
    pub service: ServiceName,
    /// How far up.
    pub condition: Condition,
    /// How long to wait, from the deploy; for ever without.
    pub timeout: Option<Millis>,
    /// What then.
    pub on_timeout: OnFailure,
}

/// How far up a dependency must be. Each includes the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// One replica's process runs.
    Started,
    /// One replica is ready: running, and healthy if it has a check.
    Healthy,
    /// All wanted replicas are ready, at the current generation.
    Ready,
}

/// How replicas of an older generation are replaced: some new ones are started, and as they become ready, old ones are
/// stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update {
    /// How many replicas there may be above the wanted number. Not both this and `max_unavailable` may be 0.
    pub max_surge: u32,
    /// How many of the wanted number may be missing.
    pub max_unavailable: u32,
    /// How long a new replica must have been ready before it counts.
    pub min_healthy: Millis,
}

/// Where replicas may go, and how they are spread.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// All must hold.
    pub constraints: Vec<Constraint>,
}

/// A condition on a node, written `node.labels.disk == ssd` or `node.name != alpha`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// Of what.
    pub attribute: NodeAttribute,
    /// `==` (true) or `!=` (false). A missing label equals nothing.
    pub equal: bool,
    /// Compared as text.
    pub value: String,
}

/// What a constraint looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeAttribute {
    /// `node.name`.
    Name,
    /// `node.labels.KEY`.
    Label(String),
}

impl std::fmt::Display for Constraint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.attribute {
            NodeAttribute::Name => f.write_str("node.name")?,
            NodeAttribute::Label(key) => write!(f, "node.labels.{key}")?,
        }
        write!(f, " {} {}", if self.equal { "==" } else { "!=" }, self.value)
    }
}
