//! The listeners of public TCP endpoints: one for each port in the table.

use crate::handover::{Inherited, Kind, Listeners};
use crate::http::accept;
use crate::report::Reports;
use crate::routes::{Routes, Target};
use crate::serve::Tasks;
use crate::tunnel::{self, Buffers};
use orlop_follower::Backoff;
use orlop_model::EndpointName;
use orlop_model::lifecycle::Reason;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// A port that is taken is tried again after this.
const TAKEN_LEAST: Duration = Duration::from_millis(500);
/// And at the latest after this.
const TAKEN_MOST: Duration = Duration::from_secs(15);
/// The most backends that one connection is tried on.
const ATTEMPTS_MAX: usize = 5;

/// What all ports share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) address: IpAddr,
    pub(crate) routes: Arc<Routes>,
    pub(crate) buffers: Buffers,
    pub(crate) connect_timeout: Duration,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) reports: Arc<Reports>,
    pub(crate) listeners: Arc<Listeners>,
    pub(crate) tasks: Tasks,
    pub(crate) stop: CancellationToken,
}

/// The ports that are listened on.
#[derive(Debug)]
pub(crate) struct Ports {
    shared: Arc<Shared>,
    open: BTreeMap<u16, CancellationToken>,
    inherited: Inherited,
}

impl Ports {
    pub(crate) fn new(shared: Shared, inherited: Inherited) -> Self {
        Self { shared: Arc::new(shared), open: BTreeMap::new(), inherited }
    }

    /// All that is to be served is served: a predecessor may end.
    pub(crate) async fn serving(&mut self) {
        self.inherited.serving().await;
    }

    /// The table is that of now: ports that were inherited and are not in it are closed.
    pub(crate) fn is_live(&mut self) {
        self.inherited.close();
    }

    /// Opens and closes ports to match the table. Connections of a closed port go on until they end.
    pub(crate) fn match_table(&mut self) {
        let table = self.shared.routes.table();
        self.open.retain(|port, listening| {
            let wanted = table.ports().contains_key(port);
            if !wanted {
                listening.cancel();
            }
            wanted
        });
        for port in table.ports().keys() {
            self.open.entry(*port).or_insert_with(|| {
                let stop = self.shared.stop.child_token();
                let address = SocketAddr::new(self.shared.address, *port);
                let inherited = self.inherited.tcp(address).map(Arc::new);
                // At once: a successor may ask before the task runs.
                inherited.iter().for_each(|listener| self.shared.listeners.add(Kind::Tcp, address, listener));
                let (shared, token) = (self.shared.clone(), stop.clone());
                self.shared.tasks.spawn(async move {
                    tokio::select! {
                        () = token.cancelled() => {}
                        () = serve_port(&shared, address, inherited) => {}
                    }
                });
                stop
            });
        }
    }
}

async fn serve_port(shared: &Arc<Shared>, address: SocketAddr, inherited: Option<Arc<TcpListener>>) {
    let listener = match inherited {
        Some(listener) => listener,
        None => {
            let listener = Arc::new(bind(shared, address).await);
            shared.listeners.add(Kind::Tcp, address, &listener);
            listener
        }
    };
    loop {
        let Some((client, _, permit)) = accept(&listener, &shared.connections).await else { continue };
        let shared = shared.clone();
        shared.tasks.clone().spawn(async move {
            serve_connection(&shared, address.port(), client).await;
            drop(permit);
        });
    }
}

/// Binds the port, for as long as it takes.
async fn bind(shared: &Shared, address: SocketAddr) -> TcpListener {
    let mut backoff = Backoff::new(TAKEN_LEAST, TAKEN_MOST, u64::from(address.port()));
    // Also when nobody wants the port any more.
    let settled = Settled { shared, address };
    let mut last = None;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                tracing::info!(%address, "serving a TCP endpoint");
                drop(settled);
                return listener;
            }
            Err(error) => {
                if last.replace(error.kind()) != Some(error.kind()) {
                    tracing::warn!(%address, %error, "could not listen; trying again");
                    shared.reports.port_unbound(address, error.kind());
                }
                tokio::time::sleep(backoff.delay()).await;
            }
        }
    }
}

/// Takes back what was said of a port.
struct Settled<'a> {
    shared: &'a Shared,
    address: SocketAddr,
}

impl Drop for Settled<'_> {
    fn drop(&mut self) {
        // At the end nothing is settled; a successor may have said something else already.
        if !self.shared.stop.is_cancelled() {
            self.shared.reports.port_settled(self.address);
        }
    }
}

/// Why a TCP endpoint is not served.
pub(crate) struct Unbound<'a> {
    pub(crate) endpoint: &'a EndpointName,
    pub(crate) address: SocketAddr,
    pub(crate) error: io::ErrorKind,
    /// Where the proxy itself serves HTTP.
    pub(crate) http: SocketAddr,
}

impl Unbound<'_> {
    pub(crate) fn reason(&self) -> Reason {
        let Self { endpoint, address, error, http } = self;
        let (code, why) = match error {
            io::ErrorKind::AddrInUse if address == http => (
                "port_taken",
                "the proxy itself serves HTTP endpoints there; give the endpoint another port, or the proxy another \
                 address (listen; `orlopctl dev --http`)"
                    .to_owned(),
            ),
            io::ErrorKind::AddrInUse => (
                "port_taken",
                "another process has the port; stop that process, or give the endpoint another port; the proxy tries \
                 again by itself"
                    .to_owned(),
            ),
            io::ErrorKind::PermissionDenied => (
                "port_refused",
                "the proxy may not take the port; give the proxy the right (CAP_NET_BIND_SERVICE), or the endpoint a \
                 port above 1023; the proxy tries again by itself"
                    .to_owned(),
            ),
            other => ("port_refused", format!("{other}; the proxy tries again by itself")),
        };
        Reason::new(code, format!("endpoint {endpoint} is not served on {address}: {why}"))
    }
}

async fn serve_connection(shared: &Shared, port: u16, client: TcpStream) {
    // The table of now: backends change under a listener that stays.
    let Some(target) = shared.routes.port(port) else { return };
    let Some((backend, under_way)) = connect(shared, &target).await else {
        tracing::debug!(route = %target.route, "no backend for a connection");
        return;
    };
    if let Err(error) = tunnel::join(client, backend, &shared.buffers).await {
        tracing::debug!(route = %target.route, %error, "a connection broke off");
    }
    drop(under_way);
}

/// A connection to a backend; nothing was sent yet, so each may be tried.
async fn connect(shared: &Shared, target: &Target) -> Option<(TcpStream, crate::upstream::UnderWay)> {
    let mut tried = Vec::new();
    while tried.len() < ATTEMPTS_MAX {
        let (place, upstream) = target.pick(&tried, shared.routes.clock())?;
        tried.push(place);
        let under_way = upstream.begin();
        match upstream.connect_tcp(shared.connect_timeout).await {
            Ok(backend) => {
                under_way.answered();
                return Some((backend, under_way));
            }
            Err(error) => {
                under_way.failed();
                tracing::debug!(route = %target.route, replica = %upstream.replica, %error, "try failed");
            }
        }
    }
    None
}
