//! The engine's shell: a store, workers' streams, and what clients ask for, around [`orlop_durable_core`].
//!
//! [`serve`] opens the store, lives, and begins anew from what the store has whenever something could not be written or
//! read; clients and workers see that as a stream that ended, and come back. While another engine has the store it waits,
//! and says who has it.

mod config;
mod drive;
mod metrics;
mod service;
pub mod store;

pub use config::{Config, PostgresUrl, StoreConfig, without_secrets};

use drive::{Phase, live};
use metrics::Metrics;
use orlop_durable_core::Options;
use orlop_model::Millis;
use service::Shared;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use store::{Store, StoreError};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// How long the engine waits before it begins anew, or asks again for a store that another engine has.
const BEGIN_AGAIN: Duration = Duration::from_millis(500);
/// And when it could not begin several times.
const BEGIN_AGAIN_MAX: Duration = Duration::from_secs(5);

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
        let at = listener.local_addr().unwrap_or(address).to_string();
        let store = store::open(&config.store, &at).await?;
        Ok(Self { config, listener, store })
    }

    /// Where it listens, with the port that it was given.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap_or(self.config.listen)
    }

    /// Serves until asked to stop.
    pub async fn serve(self, stop: CancellationToken) -> Result<(), ServeError> {
        let Self { config, listener, store } = self;
        let (announce, phase) = watch::channel(Phase::Begins);
        let metrics = Arc::new(Metrics::new());
        let shared = Shared {
            phase,
            metrics: metrics.clone(),
            store: store.clone(),
            payload_bytes_max: config.payload_bytes_max,
            ping: config.ping,
            lost_after: config.lost_after,
            stop: stop.clone(),
        };
        let server = Server::builder()
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20)
            .accept_http1(true)
            .add_routes(shared.routes());
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
        let lives = lives(store.clone(), options, metrics, announce, stop.clone());
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

/// One life after the other. Only the first must begin: a store that cannot be opened is a wrong configuration. One that
/// another engine has is none, and is waited for.
async fn lives(
    store: Arc<dyn Store>,
    options: Options,
    metrics: Arc<Metrics>,
    announce: watch::Sender<Phase>,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    let mut first = true;
    let mut wait = BEGIN_AGAIN;
    while !stop.is_cancelled() {
        // What may take long is not waited for when there is nothing to begin any more.
        let begun = tokio::select! {
            begun = live(store.clone(), options.clone(), metrics.clone(), stop.clone()) => begun,
            () = stop.cancelled() => break,
        };
        match begun {
            Ok((life, living)) => {
                wait = BEGIN_AGAIN;
                tracing::info!("the engine has the store");
                announce.send_replace(Phase::Lives(life));
                let outcome = living.await;
                announce.send_replace(Phase::Begins);
                if let Err(error) = outcome {
                    tracing::error!(error = &error as &dyn std::error::Error, "the engine begins anew");
                }
            }
            Err(StoreError::Held { by, .. }) => {
                wait = BEGIN_AGAIN;
                announce.send_if_modified(|phase| {
                    let known = matches!(phase, Phase::Waits(holder) if *holder == by);
                    if !known {
                        tracing::info!(by, "another engine has the store; this one waits for it");
                        *phase = Phase::Waits(by);
                    }
                    !known
                });
            }
            Err(error) if first => return Err(error),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the store cannot be taken over");
                announce.send_replace(Phase::Begins);
                wait = (wait * 2).min(BEGIN_AGAIN_MAX);
            }
        }
        first = false;
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(())
}

/// Binds, opens, and serves until asked to stop.
pub async fn serve(config: Config, stop: CancellationToken) -> Result<(), ServeError> {
    let bound = Bound::new(config).await?;
    tracing::info!(address = %bound.address(), store = %bound.config.store, "the engine is ready");
    bound.serve(stop).await
}
