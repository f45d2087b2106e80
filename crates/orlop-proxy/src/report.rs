//! What the proxy cannot serve, told to the control plane until it knows.
//!
//! The proxy always tells all of it, and again now and then: what got lost on the way, or was told by a proxy before
//! this one, is put right by the next report.

use crate::ports::Unbound;
use crate::routes::Routes;
use orlop_follower::{Reporter, ReporterConfig, SendError};
use orlop_model::RouteKey;
use orlop_model::lifecycle::Reason;
use orlop_proto::node::v1::node_service_client::NodeServiceClient;
use orlop_proto::node::v1::{ReportEndpointsRequest, UnservedEndpoint};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Request};

/// At most so many endpoints are named in a report.
const UNSERVED_MAX: usize = 1_000;
/// A call that takes longer has failed.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Keeps what cannot be served, and the way for reports of it.
#[derive(Debug)]
pub(crate) struct Reports {
    reporter: Reporter<(), Vec<UnservedEndpoint>>,
    routes: Arc<Routes>,
    http: SocketAddr,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    unbound: BTreeMap<SocketAddr, io::ErrorKind>,
    told: Option<BTreeMap<RouteKey, Reason>>,
}

impl Reports {
    /// `http` is the proxy's own HTTP address.
    pub(crate) fn start(
        node_name: String,
        channel: Channel,
        routes: Arc<Routes>,
        http: SocketAddr,
        stop: CancellationToken,
    ) -> Self {
        let config = ReporterConfig { name: "proxy", batch_max: 1, waiting_max: 1 };
        let client = NodeServiceClient::new(channel);
        let send = move |batch: Vec<((), Vec<UnservedEndpoint>)>| {
            let (mut client, node_name) = (client.clone(), node_name.clone());
            let unserved = batch.into_iter().next_back().map(|((), unserved)| unserved).unwrap_or_default();
            async move {
                let mut request = Request::new(ReportEndpointsRequest { node_name, unserved });
                request.set_timeout(ANSWER_WITHIN);
                client.report_endpoints(request).await.map(drop).map_err(|status| match status.code() {
                    // The agent of the node registers it, perhaps later than the proxy comes.
                    Code::NotFound => SendError::Later(status.to_string()),
                    _ => status.into(),
                })
            }
        };
        let reporter = Reporter::start(config, send, stop);
        Self { reporter, routes, http, held: Mutex::default() }
    }

    /// A port could not be opened.
    pub(crate) fn port_unbound(&self, address: SocketAddr, error: io::ErrorKind) {
        self.held.lock().unbound.insert(address, error);
        self.changed();
    }

    /// A port is open, or wanted no more.
    pub(crate) fn port_settled(&self, address: SocketAddr) {
        if self.held.lock().unbound.remove(&address).is_some() {
            self.changed();
        }
    }

    /// Tells what cannot be served, if that is another thing than what was told last.
    pub(crate) fn changed(&self) {
        self.tell(false);
    }

    /// Tells what cannot be served, also if it was told before.
    pub(crate) fn repeat(&self) {
        self.tell(true);
    }

    fn tell(&self, again: bool) {
        let mut held = self.held.lock();
        let faults = faults(&self.routes, &held.unbound, self.http);
        if !again && held.told.as_ref() == Some(&faults) {
            return;
        }
        let unserved = faults.iter().take(UNSERVED_MAX).map(|(route, reason)| UnservedEndpoint {
            service: Some((&route.service).into()),
            endpoint: route.endpoint.to_string(),
            reason: Some(reason.into()),
        });
        self.reporter.report((), unserved.collect());
        held.told = Some(faults);
    }
}

/// What of the table in force cannot be served, and why.
fn faults(
    routes: &Routes,
    unbound: &BTreeMap<SocketAddr, io::ErrorKind>,
    http: SocketAddr,
) -> BTreeMap<RouteKey, Reason> {
    let table = routes.table();
    let mut faults = BTreeMap::new();
    for conflict in table.conflicts() {
        let message = format!(
            "endpoint {} is not served: {} has {} already; give one of them another host, path or port",
            conflict.loser.endpoint, conflict.winner, conflict.claim
        );
        faults.insert(conflict.loser.clone(), Reason::new("route_taken", message));
    }
    for (address, error) in unbound {
        if let Some(target) = table.ports().get(&address.port()) {
            let reason = Unbound { endpoint: &target.route.endpoint, address: *address, error: *error, http }.reason();
            faults.insert(target.route.clone(), reason);
        }
    }
    faults
}
