//! Views: what one kind of follower needs of the state, and the objects that views carry.

use crate::event::Event;
use crate::id::NodeId;
use crate::name::DeploymentName;
use crate::node::Node;
use crate::route::Route;
use crate::service::{Assignment, Replica, ServiceState};

/// What a follower wants to see.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum View {
    /// Services, replicas and nodes, whole: what a scheduler plans from.
    Scheduler,
    /// The assignments of one node.
    Node(NodeId),
    /// Routes to public endpoints.
    Routes,
    /// Nodes, for the overlay.
    Mesh,
    /// Services, replicas and nodes, for people; of one deployment, if it is named.
    Operator(Option<DeploymentName>),
    /// Events, each once and in order; of one deployment, if it is named.
    Events(Option<DeploymentName>),
}

/// One thing that a view carries. Its [key](Object::key) is unique in the view and stays the same as the thing changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A service.
    Service(ServiceState),
    /// A replica.
    Replica(Replica),
    /// A node.
    Node(Node),
    /// A replica with what its node must run.
    Assignment(Assignment),
    /// A route.
    Route(Route),
    /// An event.
    Event(Event),
}

impl Object {
    /// The object's key in a view: `service/shop/api`, `replica/rep_…`, `node/node_…`, `assignment/rep_…`,
    /// `route/shop/api/http`, `event/17`.
    pub fn key(&self) -> String {
        match self {
            Object::Service(service) => format!("service/{}", service.name),
            Object::Replica(replica) => format!("replica/{}", replica.id),
            Object::Node(node) => format!("node/{}", node.id),
            Object::Assignment(assignment) => format!("assignment/{}", assignment.replica.id),
            Object::Route(route) => format!("route/{}", route.key()),
            Object::Event(event) => format!("event/{}", event.sequence),
        }
    }
}
