//! A backend as the proxy sees it: its load, and connections to it that wait to be used again.

use crate::forward::RequestBody;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use orlop_model::{Backend, ReplicaId};
use orlop_proxy_core::Moment;
use orlop_proxy_core::balance::{Ended, Gauge};
use parking_lot::Mutex;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// The most connections that wait for use at one backend.
const IDLE_MAX: usize = 64;
/// A connection that waited longer is closed. Shorter than servers usually keep them, so that it is rarely they who do.
const IDLE_TIME: Duration = Duration::from_secs(20);

/// The process's clock, as moments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(&self) -> Moment {
        Moment(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

/// What makes a backend the same one in the next table.
pub(crate) type UpstreamKey = (ReplicaId, SocketAddr);

#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) replica: ReplicaId,
    pub(crate) address: SocketAddr,
    clock: Clock,
    gauge: Mutex<Gauge>,
    idle: Mutex<Vec<(SendRequest<RequestBody>, Instant)>>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("connecting to {0} took longer than {1:?}")]
    TooSlow(SocketAddr, Duration),
    #[error("could not connect to {0}: {1}")]
    Refused(SocketAddr, io::Error),
    #[error("could not speak HTTP with {0}: {1}")]
    Handshake(SocketAddr, hyper::Error),
}

impl Upstream {
    pub(crate) fn key(backend: &Backend) -> UpstreamKey {
        (backend.replica, SocketAddr::new(IpAddr::V4(backend.address), backend.port))
    }

    pub(crate) fn new((replica, address): UpstreamKey, clock: Clock) -> Self {
        Self { replica, address, clock, gauge: Mutex::default(), idle: Mutex::default() }
    }

    pub(crate) fn gauge(&self) -> Gauge {
        *self.gauge.lock()
    }

    /// A request or a connection goes to it.
    pub(crate) fn begin(self: &Arc<Self>) -> UnderWay {
        self.gauge.lock().begin();
        UnderWay { upstream: self.clone(), since: self.clock.now() }
    }

    /// Opens a connection.
    pub(crate) async fn connect_tcp(&self, within: Duration) -> Result<TcpStream, ConnectError> {
        let stream = tokio::time::timeout(within, TcpStream::connect(self.address))
            .await
            .map_err(|_| ConnectError::TooSlow(self.address, within))?
            .map_err(|error| ConnectError::Refused(self.address, error))?;
        // Small writes must not wait for each other. A socket that cannot is slower and nothing worse.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    /// Opens a connection for requests.
    pub(crate) async fn connect(&self, within: Duration) -> Result<SendRequest<RequestBody>, ConnectError> {
        let stream = self.connect_tcp(within).await?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(64 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| ConnectError::Handshake(self.address, error))?;
        let address = self.address;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%address, %error, "connection to a backend ended");
            }
        });
        Ok(sender)
    }

    /// A connection that was used before and still lives.
    pub(crate) fn reuse(&self) -> Option<SendRequest<RequestBody>> {
        let mut idle = self.idle.lock();
        while let Some((sender, since)) = idle.pop() {
            if sender.is_ready() && since.elapsed() < IDLE_TIME {
                return Some(sender);
            }
        }
        None
    }

    /// Keeps a connection for the next request, once it is through with the last.
    fn keep(self: &Arc<Self>, mut sender: SendRequest<RequestBody>) {
        if sender.is_closed() {
            return;
        }
        if sender.is_ready() {
            self.put(sender);
            return;
        }
        let upstream = self.clone();
        tokio::spawn(async move {
            if sender.ready().await.is_ok() {
                upstream.put(sender);
            }
        });
    }

    fn put(&self, sender: SendRequest<RequestBody>) {
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push((sender, Instant::now()));
        }
    }

    /// Closes connections that waited too long.
    pub(crate) fn sweep(&self) {
        self.idle.lock().retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE_TIME);
    }
}

/// A request or a connection that a backend has; over when dropped.
#[derive(Debug)]
pub(crate) struct UnderWay {
    upstream: Arc<Upstream>,
    since: Moment,
}

impl UnderWay {
    /// The head of the response is here, or the connection is made.
    pub(crate) fn answered(&self) {
        let now = self.upstream.clock.now();
        self.upstream.gauge.lock().learn(Ended::Answered(now.since(self.since)), now);
    }

    pub(crate) fn failed(&self) {
        self.upstream.gauge.lock().learn(Ended::Failed, self.upstream.clock.now());
    }

    /// The response is through: its connection may be used again.
    pub(crate) fn keep(&self, sender: SendRequest<RequestBody>) {
        self.upstream.keep(sender);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.upstream.gauge.lock().end();
    }
}
