//! The state, as a snapshot. What can be derived is not written; references must lead somewhere.

use super::trust::{audit, requests, stored_audit, stored_requests};
use super::{list, parsed, required};
use crate::state::{Cluster, DeploymentRecord, InvalidState, ServiceRecord, State};
use orlop_model::spec::Service;
use orlop_model::{
    DeploymentName, Event, Generation, Member, MemberId, Node, Replica, Revision, ServiceState, Timestamp,
};
use orlop_proto::store::v1 as pb;
use orlop_proto::{InvalidWire, Within};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl From<&State> for pb::Snapshot {
    fn from(state: &State) -> Self {
        Self {
            revision: state.revision.0,
            cluster: state.cluster.map(|c| c.id.to_string()).unwrap_or_default(),
            range: state.cluster.map(|c| c.range.to_string()).unwrap_or_default(),
            deployments: state
                .deployments
                .iter()
                .map(|(name, record)| pb::StoredDeployment {
                    name: name.to_string(),
                    generation: record.generation.0,
                    changed_at_ms: record.changed_at.0,
                })
                .collect(),
            services: state.services.values().map(Into::into).collect(),
            replicas: state.replicas.values().map(Into::into).collect(),
            nodes: state.nodes.values().map(Into::into).collect(),
            lease: state.lease.as_ref().map(Into::into),
            generation_floor: state.generation_floor.0,
            events_recorded: state.events_recorded,
            events: state.events.iter().map(|e| (&**e).into()).collect(),
            members: state.members.values().map(stored_member).collect(),
            trust: state.trust.as_ref().map(Into::into),
            audit: stored_audit(&state.audit),
            requests: stored_requests(&state.requests),
        }
    }
}

fn stored_member(member: &Member) -> pb::StoredMember {
    pb::StoredMember {
        id: member.id.0,
        name: member.name.to_string(),
        address: member.address.clone(),
        added_at_ms: member.added_at.0,
    }
}

fn member(stored: pb::StoredMember) -> Result<(MemberId, Member), InvalidWire> {
    let id = MemberId(stored.id);
    let name = parsed("members.name", &stored.name)?;
    Ok((id, Member { id, name, address: stored.address, added_at: Timestamp(stored.added_at_ms) }))
}

impl From<&ServiceRecord> for pb::StoredService {
    fn from(record: &ServiceRecord) -> Self {
        let earlier = record
            .earlier
            .iter()
            .map(|(generation, spec)| pb::EarlierSpec { generation: generation.0, spec: Some((&**spec).into()) });
        Self { state: Some((&record.state).into()), earlier: earlier.collect() }
    }
}

impl TryFrom<pb::Snapshot> for State {
    type Error = InvalidState;

    fn try_from(wire: pb::Snapshot) -> Result<Self, InvalidState> {
        read(wire).map_err(|problem| InvalidState(problem.to_string()))
    }
}

fn read(wire: pb::Snapshot) -> Result<State, InvalidWire> {
    let cluster = match wire.cluster.as_str() {
        "" => None,
        id => Some(Cluster { id: parsed("cluster", id)?, range: parsed("range", &wire.range)? }),
    };
    let mut deployments = BTreeMap::new();
    for stored in wire.deployments {
        let name: DeploymentName = parsed("deployments.name", &stored.name)?;
        let record =
            DeploymentRecord { generation: Generation(stored.generation), changed_at: Timestamp(stored.changed_at_ms) };
        deployments.insert(name, record);
    }
    let mut services = BTreeMap::new();
    for (i, stored) in wire.services.into_iter().enumerate() {
        let record = service(stored).within(&format!("services[{i}]"))?;
        if !deployments.contains_key(&record.state.name.deployment) {
            return Err(InvalidWire::new(format!("services[{i}]"), format!("{} has no deployment", record.state.name)));
        }
        services.insert(record.state.name.clone(), record);
    }
    let nodes: Vec<Node> = list("nodes", wire.nodes)?;
    let nodes: BTreeMap<_, _> = nodes.into_iter().map(|node| (node.id, node)).collect();
    let mut replicas = BTreeMap::new();
    for replica in list::<_, Replica>("replicas", wire.replicas)? {
        let record = services.get_mut(&replica.service).filter(|s| s.spec_of(replica.generation).is_some());
        let Some(record) = record else {
            let problem = format!("{} runs {}, which has no such generation", replica.id, replica.service);
            return Err(InvalidWire::new("replicas", problem));
        };
        record.replicas.insert((replica.slot, replica.id));
        replicas.insert(replica.id, replica);
    }
    let events: Vec<Event> = list("events", wire.events)?;
    let first = wire.events_recorded.checked_sub(events.len() as u64).map(|before| before + 1);
    if first.is_none_or(|first| events.iter().zip(first..).any(|(event, sequence)| event.sequence != sequence)) {
        return Err(InvalidWire::new("events", format!("are not the newest up to {}", wire.events_recorded)));
    }
    Ok(State {
        revision: Revision(wire.revision),
        cluster,
        deployments,
        services,
        replicas,
        nodes,
        lease: wire.lease.map(TryInto::try_into).transpose().within("lease")?,
        generation_floor: Generation(wire.generation_floor),
        events_recorded: wire.events_recorded,
        events: events.into_iter().map(Arc::new).collect(),
        members: wire.members.into_iter().map(member).collect::<Result<_, _>>()?,
        trust: wire.trust.map(TryInto::try_into).transpose().within("trust")?,
        audit: audit(wire.audit)?,
        requests: requests(wire.requests)?,
    })
}

fn service(stored: pb::StoredService) -> Result<ServiceRecord, InvalidWire> {
    let state: ServiceState = required("state", stored.state)?;
    let mut earlier = BTreeMap::new();
    for spec in stored.earlier {
        let generation = Generation(spec.generation);
        earlier.insert(generation, Arc::new(required::<_, Service>("earlier.spec", spec.spec)?));
    }
    Ok(ServiceRecord { state, earlier, replicas: BTreeSet::new() })
}
