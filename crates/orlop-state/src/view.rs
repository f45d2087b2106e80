//! Views: which objects each kind of follower sees, and what a change means to it.
//!
//! Applying the projections of everything that changed since a revision to a view of that revision gives the view's
//! snapshot now. Changes are projected from the present state, so that a follower that was slow gets the outcome of
//! several changes at once.

use crate::entity::Entity;
use crate::route;
use crate::state::State;
use orlop_model::{Assignment, DeploymentName, Event, Object, Replica, View};
use std::collections::BTreeMap;

/// One object of a view as it is now, by its key; `None` when it is gone.
pub type Projection = (String, Option<Object>);

/// What a change means to a view; `None` when it does not concern it.
pub fn project(state: &State, view: &View, entity: &Entity) -> Option<Projection> {
    match (view, entity) {
        (View::Scheduler | View::Operator(_), Entity::Service(name)) => shows(view, &name.deployment).then(|| {
            let object = state.service(name).cloned().map(Object::Service);
            (format!("service/{name}"), object)
        }),
        (View::Scheduler | View::Operator(_), Entity::Replica { id, service, .. }) => shows(view, &service.deployment)
            .then(|| {
                let object = state.replica(*id).cloned().map(Object::Replica);
                (format!("replica/{id}"), object)
            }),
        (View::Scheduler | View::Operator(_) | View::Mesh, Entity::Node(id)) => {
            Some((format!("node/{id}"), state.node(*id).cloned().map(Object::Node)))
        }
        (View::Node(own), Entity::Replica { id, node, .. }) => (own == node).then(|| {
            let object = state.replica(*id).and_then(|r| assignment(state, r)).map(Object::Assignment);
            (format!("assignment/{id}"), object)
        }),
        (View::Routes, Entity::Route(key)) => {
            Some((format!("route/{key}"), route::route(state, key).map(Object::Route)))
        }
        (View::Events(_), Entity::Event(sequence)) => {
            let event = state.event(*sequence).filter(|e| tells(view, e))?;
            Some((format!("event/{sequence}"), Some(Object::Event(event.clone()))))
        }
        _ => None,
    }
}

/// All objects of a view.
pub fn snapshot(state: &State, view: &View) -> Vec<Object> {
    match view {
        View::Scheduler | View::Operator(_) => {
            let services = state.services().filter(|s| shows(view, &s.name.deployment)).cloned().map(Object::Service);
            let replicas =
                state.replicas().filter(|r| shows(view, &r.service.deployment)).cloned().map(Object::Replica);
            services.chain(replicas).chain(nodes(state)).collect()
        }
        View::Node(own) => {
            let here = state.replicas().filter(|r| r.node == *own);
            here.filter_map(|r| assignment(state, r)).map(Object::Assignment).collect()
        }
        View::Routes => route::routes(state).map(Object::Route).collect(),
        View::Mesh => nodes(state).collect(),
        View::Events(_) => state.events().filter(|e| tells(view, e)).cloned().map(Object::Event).collect(),
    }
}

fn nodes(state: &State) -> impl Iterator<Item = Object> + '_ {
    state.nodes().cloned().map(Object::Node)
}

fn shows(view: &View, deployment: &DeploymentName) -> bool {
    !matches!(view, View::Operator(Some(only)) if only != deployment)
}

fn tells(view: &View, event: &Event) -> bool {
    !matches!(view, View::Events(Some(only)) if event.subject.deployment.as_ref() != Some(only))
}

fn assignment(state: &State, replica: &Replica) -> Option<Assignment> {
    let spec = state.services.get(&replica.service)?.spec_of(replica.generation)?;
    // Their values are sealed here; the control plane opens them for the node.
    let secrets = BTreeMap::new();
    Some(Assignment { replica: replica.clone(), workload: spec.workload.clone(), secrets })
}
