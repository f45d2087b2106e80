//! What people should know of the proxy, sent to the control plane for as long as it takes.

use orlop_follower::{Reporter, ReporterConfig, SendError};
use orlop_model::lifecycle::Reason;
use orlop_model::{Level, RouteKey, Subject, Timestamp};
use orlop_proto::cluster::v1 as pb;
use orlop_proto::node::v1::node_service_client::NodeServiceClient;
use orlop_proto::node::v1::{EventRecord, RecordEventsRequest};
use std::io;
use std::net::SocketAddr;
use std::time::SystemTime;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Channel;

/// At most so many reports wait for the control plane.
const WAITING_MAX: usize = 256;

/// The way for reports.
#[derive(Debug, Clone)]
pub(crate) struct Reports(Reporter<u16, EventRecord>);

impl Reports {
    pub(crate) fn start(channel: Channel, stop: CancellationToken) -> Self {
        let config = ReporterConfig { name: "proxy", batch_max: 32, waiting_max: WAITING_MAX };
        let client = NodeServiceClient::new(channel);
        let send = move |batch: Vec<(u16, EventRecord)>| {
            let mut client = client.clone();
            let events = batch.into_iter().map(|(_, event)| event).collect();
            async move {
                let sent = client.record_events(RecordEventsRequest { events }).await;
                sent.map(drop).map_err(|status| match status.code() {
                    Code::InvalidArgument | Code::Unimplemented | Code::PermissionDenied => {
                        SendError::Never(status.to_string())
                    }
                    _ => SendError::Later(status.to_string()),
                })
            }
        };
        Self(Reporter::start(config, send, stop))
    }

    pub(crate) fn port_taken(&self, address: SocketAddr, route: &RouteKey, error: &io::Error) {
        let message = format!(
            "{route}: the proxy could not listen on {address}: {error}; stop the process that has the port, or give \
             the endpoint another one; the proxy tries again by itself"
        );
        self.report(address.port(), Level::Warning, route, Reason::new("port_taken", message));
    }

    pub(crate) fn port_available(&self, address: SocketAddr, route: &RouteKey) {
        let message = format!("{route}: the proxy listens on {address} now");
        self.report(address.port(), Level::Info, route, Reason::new("port_available", message));
    }

    fn report(&self, port: u16, level: Level, route: &RouteKey, reason: Reason) {
        let subject = Subject {
            deployment: Some(route.service.deployment.clone()),
            service: Some(route.service.service.clone()),
            ..Subject::default()
        };
        let event = EventRecord {
            at_ms: Timestamp::from(SystemTime::now()).0,
            level: pb::Level::from(level).into(),
            subject: Some((&subject).into()),
            reason: Some((&reason).into()),
        };
        self.0.report(port, event);
    }
}
