//! Routes, as they follow from services and replicas.

use crate::state::{ServiceRecord, State};
use orlop_model::spec::{Endpoint, Service};
use orlop_model::{Backend, Route, RouteKey};

/// The route of an endpoint, if it is offered. A service that is being removed offers nothing.
pub(crate) fn route(state: &State, key: &RouteKey) -> Option<Route> {
    let record = state.services.get(&key.service)?;
    let endpoint = offered(record).find(|e| e.name == key.endpoint)?;
    Some(with_backends(state, record, endpoint))
}

/// All routes of all services.
pub(crate) fn routes(state: &State) -> impl Iterator<Item = Route> + '_ {
    state.services.values().flat_map(move |record| offered(record).map(move |e| with_backends(state, record, e)))
}

/// The endpoints that a service offers now.
pub(crate) fn offered(record: &ServiceRecord) -> impl Iterator<Item = &Endpoint> {
    record.state.spec.endpoints.iter().filter(|_| record.state.stopping.is_none())
}

fn with_backends(state: &State, record: &ServiceRecord, endpoint: &Endpoint) -> Route {
    let backends = record.replicas.iter().filter_map(|(slot, id)| {
        let replica = state.replicas.get(id).filter(|r| r.is_ready())?;
        let spec = record.spec_of(replica.generation)?;
        Some(Backend {
            replica: *id,
            slot: *slot,
            address: replica.status.address?,
            port: listens_on(spec, endpoint)?,
            node: replica.node,
        })
    });
    Route { service: record.state.name.clone(), endpoint: endpoint.clone(), backends: backends.collect() }
}

/// The port at which replicas of a spec, which may be of an earlier generation, answer for an endpoint of the present
/// one: that of the endpoint with the same name, else the same port if they have it. None do when neither is there.
fn listens_on(spec: &Service, endpoint: &Endpoint) -> Option<u16> {
    let alike = || spec.endpoints.iter().filter(|e| e.protocol == endpoint.protocol);
    let same = alike().find(|e| e.name == endpoint.name).or_else(|| alike().find(|e| e.port == endpoint.port));
    same.map(|e| e.port)
}
