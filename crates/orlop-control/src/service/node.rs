//! What nodes say.

use crate::control::{Call, Control};
use crate::service::{Answers, parsed, required};
use crate::status;
use futures::StreamExt;
use orlop_model::{
    Cpu, Generation, Liveness, Memory, NodeId, NodeName, ReplicaId, Revision, RouteKey, Subject, Timestamp, limit,
};
use orlop_proto::cluster::v1 as cluster;
use orlop_proto::node::v1 as pb;
use orlop_proto::{InvalidWire, Within, address_of, labels_of};
use orlop_state::command::{
    EventRecord, RecordEvents, RegisterNode, ReplicaReport, ReportEndpoints, ReportReplicas, UnservedEndpoint,
};
use orlop_state::limit::{RECORDS_MAX, REPORTS_MAX, UNSERVED_MAX};
use orlop_state::{Answer, Kind, State};
use std::time::Duration;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// How long an agent that opens a session may take to say which.
const FIRST_FRAME: Duration = Duration::from_secs(10);

pub(crate) struct Service(pub(crate) Control);

#[tonic::async_trait]
impl pb::node_service_server::NodeService for Service {
    type AttendStream = Answers<pb::SessionInvitation>;
    type OpenSessionStream = Answers<pb::SessionFrame>;

    async fn register(&self, request: Request<pb::RegisterRequest>) -> Result<Response<pb::RegisterResponse>, Status> {
        let call = Call::of(&request)?;
        let node = register_node(request.into_inner())?;
        call.for_node(node.node)?;
        let id = node.node;
        let known = self.0.machine.read(|state| known_as(state, &node));
        let registered = match known {
            // All agents come when another member takes over; what is known of them already is not written again.
            Some(Known { answer, alive: true }) => answer,
            known => match (self.0.submit(Kind::RegisterNode(node)).await, known) {
                // One that comes back as it was need not wait for room on the control plane's disk.
                (Err(full), Some(Known { answer, .. })) if status::is_for_later(&full) => answer,
                (registered, _) => registered?,
            },
        };
        match registered {
            (revision, Answer::Registered { subnet }) => {
                self.0.attendance.expect(id);
                let cluster = self.0.machine.read(|state| state.cluster());
                Ok(Response::new(pb::RegisterResponse {
                    cluster: cluster.map(|id| id.to_string()).unwrap_or_default(),
                    subnet: subnet.to_string(),
                    revision: revision.0,
                }))
            }
            (_, answer) => Err(status::unexpected(&answer)),
        }
    }

    async fn report(&self, request: Request<pb::ReportRequest>) -> Result<Response<pb::ReportResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        at_most("replicas", request.replicas.len(), REPORTS_MAX)?;
        let reports = request.replicas.into_iter().enumerate();
        let reports = reports.map(|(i, report)| replica_report(report).within(&format!("replicas[{i}]")));
        let report = ReportReplicas {
            node: parsed("node", &request.node)?,
            reports: reports.collect::<Result<_, InvalidWire>>()?,
        };
        call.for_node(report.node)?;
        if self.0.machine.read(|state| state.node(report.node).is_none()) {
            return Err(Status::not_found(format!("there is no node {}; it must register first", report.node)));
        }
        let revision = self.0.report(report).await?;
        Ok(Response::new(pb::ReportResponse { revision: revision.0 }))
    }

    async fn record_events(
        &self,
        request: Request<pb::RecordEventsRequest>,
    ) -> Result<Response<pb::RecordEventsResponse>, Status> {
        let call = Call::of(&request)?;
        let events = request.into_inner().events;
        at_most("events", events.len(), RECORDS_MAX)?;
        let events = events.into_iter().enumerate();
        let events = events.map(|(i, event)| event_record(event).within(&format!("events[{i}]")));
        let mut events: Vec<EventRecord> = events.collect::<Result<_, InvalidWire>>()?;
        for (i, event) in events.iter_mut().enumerate() {
            let node = event.subject.node;
            let node = node.ok_or_else(|| InvalidWire::missing(format!("events[{i}].subject.node")))?;
            call.for_node(node)?;
            event.subject = self.0.machine.read(|state| vouched(state, node, event.subject.replica))?;
        }
        if !events.is_empty() {
            self.0.submit(Kind::RecordEvents(RecordEvents { events })).await?;
        }
        Ok(Response::new(pb::RecordEventsResponse {}))
    }

    async fn report_endpoints(
        &self,
        request: Request<pb::ReportEndpointsRequest>,
    ) -> Result<Response<pb::ReportEndpointsResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        at_most("unserved", request.unserved.len(), UNSERVED_MAX)?;
        let unserved = request.unserved.into_iter().enumerate();
        let unserved = unserved.map(|(i, endpoint)| unserved_endpoint(endpoint).within(&format!("unserved[{i}]")));
        let unserved = unserved.collect::<Result<Vec<_>, InvalidWire>>()?;
        let name: NodeName = parsed("node_name", &request.node_name)?;
        let node = self.0.machine.read(|state| state.nodes().find(|node| node.name == name).map(|node| node.id));
        let Some(node) = node else {
            return Err(Status::not_found(format!("there is no node {name}; its agent must register it first")));
        };
        call.for_node(node)?;
        let report = ReportEndpoints { node, unserved };
        // Proxies repeat themselves, for whatever got lost; only what is new is written to the log.
        if self.0.machine.read(|state| report.brings_news(state)) {
            self.0.submit(Kind::ReportEndpoints(report)).await?;
        }
        Ok(Response::new(pb::ReportEndpointsResponse {}))
    }

    async fn attend(&self, request: Request<pb::AttendRequest>) -> Result<Response<Self::AttendStream>, Status> {
        let call = Call::of(&request)?;
        let node: NodeId = parsed("node", &request.into_inner().node)?;
        call.for_node(node)?;
        let (presence, invitations) = self.0.attend(node).await?;
        let invitations = ReceiverStream::new(invitations).map(move |invitation| {
            // The presence lives as long as the stream.
            let _ = &presence;
            invitation
        });
        Ok(Response::new(Box::pin(invitations.take_until(self.0.leading.spell().cancelled_owned()))))
    }

    async fn open_session(
        &self,
        request: Request<Streaming<pb::SessionFrame>>,
    ) -> Result<Response<Self::OpenSessionStream>, Status> {
        let call = Call::of_stream(&request);
        let accepting = tokio::time::timeout(FIRST_FRAME, self.0.sessions.accept(&call, request.into_inner())).await;
        let frames = accepting.map_err(|_| Status::deadline_exceeded("the first frame did not come in time"))??;
        Ok(Response::new(Box::pin(frames.take_until(self.0.leading.spell().cancelled_owned()))))
    }
}

/// What a node may speak of: itself, and a replica of its own. Whose the replica is, the state says.
fn vouched(state: &State, node: NodeId, replica: Option<ReplicaId>) -> Result<Subject, Status> {
    match replica.map(|id| (id, state.replica(id))) {
        Some((id, Some(known))) if known.node != node => {
            Err(Status::permission_denied(format!("{id} is not on {node}, which may not speak for it")))
        }
        // One that is not known may have just been forgotten.
        Some((id, _)) => Ok(Subject { node: Some(node), replica: Some(id), ..Subject::default() }),
        None => Ok(Subject { node: Some(node), ..Subject::default() }),
    }
}

fn at_most(field: &str, found: usize, max: usize) -> Result<(), InvalidWire> {
    if found <= max {
        Ok(())
    } else {
        Err(InvalidWire::new(field, format!("found {found} items; expected at most {max}")))
    }
}

/// A node that has not changed since it registered.
struct Known {
    /// What it was told.
    answer: (Revision, Answer),
    alive: bool,
}

fn known_as(state: &State, node: &RegisterNode) -> Option<Known> {
    let RegisterNode { node: id, name, cpu, memory, labels, version, address } = node;
    let known = state.node(*id)?;
    let same = (&known.name, &known.cpu, &known.memory, &known.labels, &known.version, &known.address)
        == (name, cpu, memory, labels, version, address);
    let answer = (state.revision(), Answer::Registered { subnet: known.subnet });
    same.then(|| Known { answer, alive: known.liveness == Liveness::Alive })
}

fn register_node(wire: pb::RegisterRequest) -> Result<RegisterNode, InvalidWire> {
    if wire.version.len() > limit::WORD_BYTES_MAX {
        return Err(InvalidWire::new("version", "is too long"));
    }
    Ok(RegisterNode {
        node: parsed("id", &wire.id)?,
        name: parsed("name", &wire.name)?,
        cpu: Cpu(wire.cpu_millis),
        memory: Memory(wire.memory_bytes),
        labels: labels_of(wire.labels).within("labels")?,
        version: wire.version,
        address: address_of("address", &wire.address)?,
    })
}

fn replica_report(wire: pb::ReplicaReport) -> Result<ReplicaReport, InvalidWire> {
    Ok(ReplicaReport {
        replica: parsed("replica", &wire.replica)?,
        generation: Generation(wire.generation),
        status: required("status", wire.status)?,
    })
}

fn unserved_endpoint(wire: pb::UnservedEndpoint) -> Result<UnservedEndpoint, InvalidWire> {
    Ok(UnservedEndpoint {
        route: RouteKey { service: required("service", wire.service)?, endpoint: parsed("endpoint", &wire.endpoint)? },
        reason: required("reason", wire.reason)?,
    })
}

fn event_record(wire: pb::EventRecord) -> Result<EventRecord, InvalidWire> {
    let level = cluster::Level::try_from(wire.level).unwrap_or(cluster::Level::Unspecified);
    Ok(EventRecord {
        at: Timestamp(wire.at_ms),
        level: level.try_into().within("level")?,
        subject: required("subject", wire.subject)?,
        reason: required("reason", wire.reason)?,
    })
}
