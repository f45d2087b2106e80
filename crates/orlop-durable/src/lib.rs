//! The engine's shell: a store, workers' streams, and what clients ask for, around [`orlop_durable_core`].
//!
//! [`serve`] opens the store, lives, and begins anew from what the store has whenever something could not be written or
//! read; clients and workers see that as a stream that ended, and come back.

mod drive;
mod service;
pub mod store;

use drive::{Life, live};
use orlop_durable_core::Options;
use orlop_model::Millis;
use service::Shared;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::{Store, StoreError};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// How long the engine waits before it begins anew.
const BEGIN_AGAIN: Duration = Duration::from_millis(500);

/// What an engine needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where workers and clients connect; loopback only, because nobody is asked who they are.
    pub listen: SocketAddr,
    /// Where the store is.
    pub data: PathBuf,
    /// How often workers are asked whether they are there.
    pub ping: Duration,
    /// When a silent worker is lost.
    pub lost_after: Duration,
    /// No payload is larger, in bytes.
    pub payload_bytes_max: u64,
}

impl Config {
    /// The defaults, with the store in a directory.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7420)),
            data: data.into(),
            ping: Duration::from_secs(1),
            lost_after: Duration::from_secs(3),
            payload_bytes_max: 4 << 20,
        }
    }

    /// What is wrong with it, if anything is.
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, found: u64, from: u64, to: u64| {
            let wrong = || Err(format!("{name} is {found}; it is between {from} and {to}"));
            if (from..=to).contains(&found) { Ok(()) } else { wrong() }
        };
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        within("ping_ms", millis(self.ping), 50, 60_000)?;
        within("lost_after_ms", millis(self.lost_after), 2 * millis(self.ping), 600_000)?;
        within("payload_bytes_max", self.payload_bytes_max, 1024, 64 << 20)
    }
}

/// Why an engine cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Others than this machine could connect.
    #[error("{0} is not a loopback address; without the cluster's certificates the engine serves this machine only")]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server ended by itself.
    #[error("the server ended")]
    Server(#[from] tonic::transport::Error),
}

/// An engine that has bound its address and opened its store.
pub struct Bound {
    config: Config,
    listener: TcpListener,
    store: Arc<dyn Store>,
}

impl Bound {
    /// Binds and opens.
    pub async fn new(config: Config) -> Result<Self, ServeError> {
        if !config.listen.ip().is_loopback() {
            return Err(ServeError::NotLoopback(config.listen));
        }
        let address = config.listen;
        let listen = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let store = Arc::new(store::sqlite::Sqlite::open(&config.data).await?);
        Ok(Self { config, listener, store })
    }

    /// Where it listens, with the port that it was given.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap_or(self.config.listen)
    }

    /// Serves until asked to stop.
    pub async fn serve(self, stop: CancellationToken) -> Result<(), ServeError> {
        let Self { config, listener, store } = self;
        let (announce, life) = watch::channel(None);
        let shared = Shared {
            life,
            store: store.clone(),
            payload_bytes_max: config.payload_bytes_max,
            ping: config.ping,
            lost_after: config.lost_after,
            stop: stop.clone(),
        };
        let server = Server::builder()
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20)
            .add_service(shared.clients())
            .add_service(shared.workers());
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        // Streams end with the life of the engine, which ends with the stop.
        let serving = server.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
        let options = Options {
            seed: rand::random(),
            ping: Millis::from(config.ping),
            lost_after: Millis::from(config.lost_after),
            payload_bytes_max: config.payload_bytes_max,
            ..Options::default()
        };
        let lives = lives(store.clone(), options, announce, stop.clone());
        let (served, lived) = tokio::join!(serving, async {
            let lived = lives.await;
            stop.cancel();
            lived
        });
        store.close().await;
        lived?;
        Ok(served?)
    }
}

/// One life after the other. Only the first must begin: a store that cannot be opened is a wrong configuration.
async fn lives(
    store: Arc<dyn Store>,
    options: Options,
    announce: watch::Sender<Option<Arc<Life>>>,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    let mut first = true;
    while !stop.is_cancelled() {
        match live(store.clone(), options.clone(), stop.clone()).await {
            Ok((life, living)) => {
                announce.send_replace(Some(life));
                let outcome = living.await;
                announce.send_replace(None);
                if let Err(error) = outcome {
                    tracing::error!(error = &error as &dyn std::error::Error, "the engine begins anew");
                }
            }
            Err(error) if first => return Err(error),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the store cannot be taken over");
            }
        }
        first = false;
        tokio::select! {
            () = tokio::time::sleep(BEGIN_AGAIN) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(())
}

/// Binds, opens, and serves until asked to stop.
pub async fn serve(config: Config, stop: CancellationToken) -> Result<(), ServeError> {
    let bound = Bound::new(config).await?;
    tracing::info!(address = %bound.address(), "the engine is ready");
    bound.serve(stop).await
}
