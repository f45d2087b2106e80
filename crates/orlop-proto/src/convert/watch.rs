//! `orlop.watch.v1`: views and what they carry.

use crate::InvalidWire;
use crate::invalid::{parsed, required};
use crate::watch::v1 as pb;
use orlop_model::view::{Object, View};

impl From<&View> for pb::View {
    fn from(view: &View) -> Self {
        use pb::view::Kind;
        let name = |deployment: &Option<_>| deployment.as_ref().map(ToString::to_string).unwrap_or_default();
        Self {
            kind: Some(match view {
                View::Scheduler => Kind::Scheduler(pb::SchedulerView {}),
                View::Node(node) => Kind::Node(pb::NodeView { node: node.to_string() }),
                View::Routes => Kind::Routes(pb::RouteView {}),
                View::Mesh => Kind::Mesh(pb::MeshView {}),
                View::Operator(deployment) => Kind::Operator(pb::OperatorView { deployment: name(deployment) }),
                View::Events(deployment) => Kind::Events(pb::EventView { deployment: name(deployment) }),
            }),
        }
    }
}

impl TryFrom<pb::View> for View {
    type Error = InvalidWire;

    fn try_from(wire: pb::View) -> Result<Self, InvalidWire> {
        use pb::view::Kind;
        let name = |field, deployment: String| match deployment.as_str() {
            "" => Ok(None),
            deployment => parsed(field, deployment).map(Some),
        };
        Ok(match wire.kind.ok_or_else(|| InvalidWire::missing("kind"))? {
            Kind::Scheduler(pb::SchedulerView {}) => View::Scheduler,
            Kind::Node(view) => View::Node(parsed("node.node", &view.node)?),
            Kind::Routes(pb::RouteView {}) => View::Routes,
            Kind::Mesh(pb::MeshView {}) => View::Mesh,
            Kind::Operator(view) => View::Operator(name("operator.deployment", view.deployment)?),
            Kind::Events(view) => View::Events(name("events.deployment", view.deployment)?),
        })
    }
}

impl From<&Object> for pb::change::Object {
    fn from(object: &Object) -> Self {
        match object {
            Object::Service(service) => Self::Service(service.into()),
            Object::Replica(replica) => Self::Replica(replica.into()),
            Object::Node(node) => Self::Node(node.into()),
            Object::Assignment(assignment) => Self::Assignment(assignment.into()),
            Object::Route(route) => Self::Route(route.into()),
            Object::Event(event) => Self::Event(event.into()),
        }
    }
}

impl TryFrom<pb::change::Object> for Object {
    type Error = InvalidWire;

    fn try_from(wire: pb::change::Object) -> Result<Self, InvalidWire> {
        use pb::change::Object as Wire;
        match wire {
            Wire::Service(service) => required("service", Some(service)).map(Object::Service),
            Wire::Replica(replica) => required("replica", Some(replica)).map(Object::Replica),
            Wire::Node(node) => required("node", Some(node)).map(Object::Node),
            Wire::Assignment(assignment) => required("assignment", Some(assignment)).map(Object::Assignment),
            Wire::Route(route) => required("route", Some(route)).map(Object::Route),
            Wire::Event(event) => required("event", Some(event)).map(Object::Event),
        }
    }
}
