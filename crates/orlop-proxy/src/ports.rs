//! The listeners of public TCP endpoints: one for each port in the table.

use crate::http::accept;
use crate::report::Reports;
use crate::routes::{Routes, Target};
use crate::serve::Tasks;
use crate::tunnel::{self, Buffers};
use orlop_follower::Backoff;
use orlop_model::RouteKey;
use std::collections::BTreeMap;
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
    pub(crate) reports: Reports,
    pub(crate) tasks: Tasks,
}

/// The ports that are listened on.
#[derive(Debug)]
pub(crate) struct Ports {
    shared: Arc<Shared>,
    stop: CancellationToken,
    open: BTreeMap<u16, CancellationToken>,
}

impl Ports {
    pub(crate) fn new(shared: Shared, stop: CancellationToken) -> Self {
        Self { shared: Arc::new(shared), stop, open: BTreeMap::new() }
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
        for (port, target) in table.ports() {
            self.open.entry(*port).or_insert_with(|| {
                let stop = self.stop.child_token();
                let (shared, route, port, token) = (self.shared.clone(), target.route.clone(), *port, stop.clone());
                self.shared.tasks.spawn(async move {
                    tokio::select! {
                        () = token.cancelled() => {}
                        () = serve_port(&shared, port, route) => {}
                    }
                });
                stop
            });
        }
    }
}

async fn serve_port(shared: &Arc<Shared>, port: u16, route: RouteKey) {
    let address = SocketAddr::new(shared.address, port);
    let listener = bind(shared, address, &route).await;
    loop {
        let Some((client, _, permit)) = accept(&listener, &shared.connections).await else { continue };
        let shared = shared.clone();
        shared.tasks.clone().spawn(async move {
            serve_connection(&shared, port, client).await;
            drop(permit);
        });
    }
}

/// Binds the port, for as long as it takes.
async fn bind(shared: &Shared, address: SocketAddr, route: &RouteKey) -> TcpListener {
    let mut backoff = Backoff::new(TAKEN_LEAST, TAKEN_MOST, u64::from(address.port()));
    let mut reported = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                tracing::info!(%address, %route, "serving a TCP endpoint");
                if reported {
                    shared.reports.port_available(address, route);
                }
                return listener;
            }
            Err(error) => {
                if !reported {
                    tracing::warn!(%address, %route, %error, "could not listen; trying again");
                    shared.reports.port_taken(address, route, &error);
                    reported = true;
                }
                tokio::time::sleep(backoff.delay()).await;
            }
        }
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
