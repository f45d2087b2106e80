//! The proxy as a whole.

use crate::config::{Config, InvalidConfig};
use crate::forward::Forwarder;
use crate::http;
use crate::ports::{Ports, Shared};
use crate::report::Reports;
use crate::routes::{Builder, Routes};
use crate::tunnel::Buffers;
use crate::upstream::Clock;
use orlop_follower::{Follower, FollowerConfig};
use orlop_model::View;
use orlop_proxy_core::retry::Budget;
use parking_lot::Mutex;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often connections that waited too long are looked for.
const SWEEP: Duration = Duration::from_secs(10);

/// Why the proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// The HTTP listener.
    #[error("could not listen on {address}; stop the process that has it, or choose another address with listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The data directory.
    #[error("could not make the directory {}", path.display())]
    DataDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Following the routes could not begin.
    #[error("could not follow the routes")]
    Follow(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The tasks of connections: waited for at the end, and cut when that takes too long.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    cut: CancellationToken,
}

impl Tasks {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cut = self.cut.clone();
        self.tracker.spawn(async move {
            cut.run_until_cancelled(task).await;
        });
    }

    /// Waits until all have ended, at most so long; cuts the rest. Answers how many those were.
    async fn drain(&self, at_most: Duration) -> usize {
        self.tracker.close();
        if tokio::time::timeout(at_most, self.tracker.wait()).await.is_ok() {
            return 0;
        }
        let late = self.tracker.len();
        self.cut.cancel();
        self.tracker.wait().await;
        late
    }
}

/// A proxy that listens, not yet serving.
#[derive(Debug)]
pub struct Proxy {
    config: Config,
    listener: TcpListener,
    address: SocketAddr,
}

/// Takes the HTTP address.
pub async fn start(config: Config) -> Result<Proxy, ServeError> {
    config.check()?;
    std::fs::create_dir_all(&config.data_dir)
        .map_err(|source| ServeError::DataDirectory { path: config.data_dir.clone(), source })?;
    let failed = |source| ServeError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Proxy { config, listener, address })
}

/// [`start`] and [`Proxy::serve`].
pub async fn serve(config: Config, stop: CancellationToken) -> Result<(), ServeError> {
    start(config).await?.serve(stop).await
}

impl Proxy {
    /// Where HTTP is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then lets requests under way finish for a while.
    pub async fn serve(self, stop: CancellationToken) -> Result<(), ServeError> {
        let Proxy { config, listener, .. } = self;
        let follow_error = |error: Box<dyn std::error::Error + Send + Sync>| ServeError::Follow(error);
        let channel = orlop_client::connect(&config.control_plane).map_err(|error| follow_error(Box::new(error)))?;
        let follower = FollowerConfig {
            name: "proxy",
            channel: channel.clone(),
            view: View::Routes,
            cache_path: Some(config.data_dir.join("routes.view")),
        };
        let follower = Follower::start(follower, stop.child_token()).await;
        let mut follower = follower.map_err(|error| follow_error(Box::new(error)))?;

        let clock = Clock::start();
        let routes = Arc::new(Routes::new(clock));
        let mut builder = Builder::default();
        // What was on disk is in force before the first connection is accepted.
        builder.apply(&follower.view(), &routes);

        let tasks = Tasks::default();
        let connections = Arc::new(Semaphore::new(config.connections_max));
        let forwarder = Arc::new(Forwarder {
            routes: routes.clone(),
            budget: Mutex::new(Budget::new(clock.now())),
            connect_timeout: config.connect_timeout(),
            response_timeout: config.response_timeout(),
            tasks: tasks.clone(),
        });
        let shared = Shared {
            address: config.tcp_address,
            routes: routes.clone(),
            buffers: Buffers::default(),
            connect_timeout: config.connect_timeout(),
            connections: connections.clone(),
            reports: Reports::start(channel, stop.child_token()),
            tasks: tasks.clone(),
        };
        let mut ports = Ports::new(shared, stop.child_token());
        ports.match_table();
        let http =
            http::listen(listener, forwarder, config.client_timeout(), connections, tasks.clone(), stop.child_token());
        tasks.spawn(http);

        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                changed = follower.changed() => match changed {
                    Ok(view) => {
                        builder.apply(&view, &routes);
                        ports.match_table();
                    }
                    Err(_) => break,
                },
                _ = sweep.tick() => builder.sweep(),
            }
        }
        stop.cancelled().await;

        let late = tasks.drain(config.drain()).await;
        if late > 0 {
            tracing::warn!(connections = late, "connections were still open at the end and were cut");
        }
        follower.ended().await;
        Ok(())
    }
}
