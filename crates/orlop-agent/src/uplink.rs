//! What the agent says to the control plane: that it is here, what its replicas do, what people should know.

use crate::session::Sessions;
use orlop_client::Address;
use orlop_follower::{Backoff, Reporter, ReporterConfig, SendError};
use orlop_model::{
    Cpu, Generation, Level, Memory, NodeId, NodeName, Reason, ReplicaId, ReplicaStatus, Subject, Timestamp,
};
use orlop_proto::node::v1 as pb;
use orlop_proto::node::v1::node_service_client::NodeServiceClient;
use orlop_proto::report_of;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// A call that takes longer has failed.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// What the node tells of itself.
#[derive(Debug, Clone)]
pub(crate) struct Introduction {
    pub(crate) id: NodeId,
    pub(crate) name: NodeName,
    pub(crate) cpu: Cpu,
    pub(crate) memory: Memory,
    pub(crate) labels: BTreeMap<String, String>,
    /// As configured.
    pub(crate) address: Option<IpAddr>,
    pub(crate) control_plane: Address,
}

impl Introduction {
    /// Where other nodes reach this one. Asked with each registration: a machine may be given another address.
    fn address(&self) -> Option<IpAddr> {
        self.address.or_else(|| crate::node::address_towards(self.control_plane.ip()?))
    }
}

/// Reports and events; each is delivered once the control plane can be reached, in order.
#[derive(Debug)]
pub(crate) struct Uplink {
    reports: Reporter<ReplicaId, (Generation, ReplicaStatus)>,
    events: Reporter<u64, pb::EventRecord>,
    next_event: AtomicU64,
}

impl Uplink {
    pub(crate) fn start(node: NodeId, channel: Channel, stop: CancellationToken) -> Self {
        let client = NodeServiceClient::new(channel);
        let config = ReporterConfig { name: "agent reports", batch_max: 200, waiting_max: 100_000 };
        let to = client.clone();
        let send = move |batch: Vec<(ReplicaId, (Generation, ReplicaStatus))>| {
            let mut client = to.clone();
            async move {
                // What it does not know is not in the next view either, which is what the agent goes by.
                client.report(timed(report_of(node, &batch))).await.map(drop).map_err(judge)
            }
        };
        let reports = Reporter::start(config, send, stop.clone());
        let config = ReporterConfig { name: "agent events", batch_max: 200, waiting_max: 1000 };
        let send = move |batch: Vec<(u64, pb::EventRecord)>| {
            let mut client = client.clone();
            async move {
                let events = batch.into_iter().map(|(_, event)| event).collect();
                client.record_events(timed(pb::RecordEventsRequest { events })).await.map(drop).map_err(judge)
            }
        };
        let events = Reporter::start(config, send, stop);
        Self { reports, events, next_event: AtomicU64::new(0) }
    }

    pub(crate) fn report(&self, replica: ReplicaId, generation: Generation, status: ReplicaStatus) {
        self.reports.report(replica, (generation, status));
    }

    pub(crate) fn event(&self, at: Timestamp, level: Level, subject: &Subject, reason: &Reason) {
        let event = pb::EventRecord {
            at_ms: at.0,
            level: orlop_proto::cluster::v1::Level::from(level).into(),
            subject: Some(subject.into()),
            reason: Some(reason.into()),
        };
        self.events.report(self.next_event.fetch_add(1, Ordering::Relaxed), event);
    }

    /// Gives what was not delivered yet a last chance.
    pub(crate) async fn flush(&self, at_most: Duration) {
        let (reports, events) = tokio::join!(self.reports.flush(at_most), self.events.flush(at_most));
        for unsent in [reports.err(), events.err()].into_iter().flatten() {
            tracing::warn!(%unsent, "the control plane did not hear everything; it will when the agent runs again");
        }
    }
}

fn timed<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(ANSWER_WITHIN);
    request
}

fn judge(status: tonic::Status) -> SendError {
    match status.code() {
        tonic::Code::InvalidArgument | tonic::Code::OutOfRange | tonic::Code::Unimplemented => {
            SendError::Never(status.message().to_owned())
        }
        _ => SendError::Later(status.message().to_owned()),
    }
}

/// Registers the node and holds the stream open by which the control plane sees that the agent lives and asks for
/// sessions; for ever. Registers again with each new stream, since it may be another control plane.
pub(crate) async fn attend(introduction: Introduction, channel: Channel, sessions: Arc<Sessions>) {
    let client = NodeServiceClient::new(channel);
    let seed = introduction.id.as_u128() as u64;
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5), seed);
    let mut silent = false;
    loop {
        let end = attend_once(&introduction, client.clone(), &sessions, || {
            tracing::info!(node = %introduction.id, name = %introduction.name, "registered");
        });
        let (was_there, status) = end.await;
        if was_there {
            backoff.reset();
            silent = false;
        }
        if !silent {
            let reason = status.message();
            tracing::warn!(reason, "the control plane does not answer; replicas go on, and it is asked again");
            silent = true;
        }
        tokio::time::sleep(backoff.delay()).await;
    }
}

/// Until the stream ends; tells whether it was there, and how it ended.
async fn attend_once(
    introduction: &Introduction,
    mut client: NodeServiceClient<Channel>,
    sessions: &Arc<Sessions>,
    registered: impl FnOnce(),
) -> (bool, tonic::Status) {
    let register = pb::RegisterRequest {
        id: introduction.id.to_string(),
        name: introduction.name.to_string(),
        cpu_millis: introduction.cpu.0,
        memory_bytes: introduction.memory.0,
        labels: introduction.labels.clone().into_iter().collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        address: introduction.address().as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    if let Err(status) = client.register(timed(register)).await {
        return (false, status);
    }
    let request = pb::AttendRequest { node: introduction.id.to_string() };
    let mut invitations = match client.attend(request).await {
        Ok(response) => response.into_inner(),
        Err(status) => return (false, status),
    };
    registered();
    // Dropped with this future: sessions ride on the same connection, and an agent that ends, ends them.
    let mut open = JoinSet::new();
    loop {
        let invitation = tokio::select! {
            invitation = invitations.message() => invitation,
            Some(_) = open.join_next() => continue,
        };
        match invitation {
            Ok(Some(invitation)) => {
                let (sessions, client) = (sessions.clone(), client.clone());
                open.spawn(async move { sessions.attend(invitation, client).await });
            }
            Ok(None) => return (true, tonic::Status::unavailable("it ended the stream")),
            Err(status) => return (true, status),
        }
    }
}
