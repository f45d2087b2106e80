//! The proxy as a whole.

use crate::config::{Config, InvalidConfig};
use crate::forward::Forwarder;
use crate::handover::{self, Inherited, Kind, Listeners};
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
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often connections that waited too long are looked for.
const SWEEP: Duration = Duration::from_secs(10);
/// How often the control plane is told again what cannot be served.
const REPEAT: Duration = Duration::from_secs(30);

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
    /// Nothing is known that could be served, and another proxy serves.
    #[error(
        "the routes are not known yet, so the proxy that runs with the same data_dir goes on; start this one again when \
         the control plane can be reached"
    )]
    NoRoutes,
    /// Following the routes could not begin.
    #[error("could not follow the routes")]
    Follow(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A part of the proxy ended that nobody had asked to.
    #[error("{part} ended by itself; the log says why")]
    Ended {
        /// Which part.
        part: &'static str,
    },
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

/// After a handover, a connection without a request is kept open for so long: its client may be about to send one, and
/// the answer tells it to come back on another connection.
const LINGER: Duration = Duration::from_secs(2);

/// A proxy that takes over from another waits so long for the routes of now; then it takes those on disk.
const ROUTES_WITHIN: Duration = Duration::from_secs(5);

/// Who takes over must not know less than who serves.
async fn await_routes(follower: &mut Follower) -> Result<(), ServeError> {
    let live = async { while !follower.view().live && follower.changed().await.is_ok() {} };
    let _ = tokio::time::timeout(ROUTES_WITHIN, live).await;
    if follower.view().is_known() { Ok(()) } else { Err(ServeError::NoRoutes) }
}

/// How the proxy ends: by being told to, or by handing over to a successor.
#[derive(Debug, Clone)]
pub(crate) struct End {
    comes: CancellationToken,
    handed_over: Arc<AtomicBool>,
}

impl End {
    fn new(comes: CancellationToken) -> Self {
        Self { comes, handed_over: Arc::default() }
    }

    fn hand_over(&self) {
        self.handed_over.store(true, Ordering::Release);
        self.comes.cancel();
    }

    pub(crate) fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }

    /// Waits until no more is to be accepted.
    pub(crate) async fn comes(&self) {
        self.comes.cancelled().await;
    }

    /// Waits until connections without a request are to be closed.
    pub(crate) async fn of_idle(&self) {
        self.comes().await;
        if self.is_handed_over() {
            tokio::time::sleep(LINGER).await;
        }
    }
}

/// A proxy that listens, not yet serving.
#[derive(Debug)]
pub struct Proxy {
    config: Config,
    listener: TcpListener,
    address: SocketAddr,
    inherited: Inherited,
}

/// Takes the HTTP address: from the proxy that serves with the same data directory, if there is one, which ends once this
/// one serves; else from the system.
pub async fn start(config: Config) -> Result<Proxy, ServeError> {
    config.check()?;
    orlop_follower::private_directory(&config.data_dir)
        .map_err(|source| ServeError::DataDirectory { path: config.data_dir.clone(), source })?;
    let failed = |source| ServeError::Listen { address: config.listen, source };
    let mut inherited = Inherited::ask(&config.data_dir).await;
    let listener = match inherited.http(config.listen) {
        Some(listener) => listener,
        None => TcpListener::bind(config.listen).await.map_err(failed)?,
    };
    let address = listener.local_addr().map_err(failed)?;
    Ok(Proxy { config, listener, address, inherited })
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

    /// Serves until `stop`, or until a successor has taken over; then lets requests under way finish for a while.
    pub async fn serve(self, stop: CancellationToken) -> Result<(), ServeError> {
        let Proxy { config, listener, address, inherited } = self;
        let stop = stop.child_token();
        let end = End::new(stop.clone());
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
        if inherited.has_predecessor() {
            await_routes(&mut follower).await?;
        }
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
        let reports = Reports::start(config.node_name.clone(), channel, routes.clone(), address, stop.child_token());
        let reports = Arc::new(reports);
        let (listener, listeners) = (Arc::new(listener), Arc::new(Listeners::default()));
        listeners.add(Kind::Http, address, &listener);
        let shared = Shared {
            address: config.tcp_address,
            routes: routes.clone(),
            buffers: Buffers::default(),
            connect_timeout: config.connect_timeout(),
            connections: connections.clone(),
            reports: reports.clone(),
            listeners: listeners.clone(),
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        let mut ports = Ports::new(shared, inherited);
        ports.match_table();
        let (timeout, accepted) = (config.client_timeout(), tasks.clone());
        let http = http::listen(listener, forwarder, timeout, connections, accepted, end.clone());
        // Dropped with the listener, also when it panics.
        let (alive, listening) = tokio::sync::oneshot::channel::<std::convert::Infallible>();
        tasks.spawn(async move {
            http.await;
            drop(alive);
        });
        tokio::pin!(listening);
        ports.serving().await;

        let mut sweep = tokio::time::interval(SWEEP);
        let mut repeat = tokio::time::interval(REPEAT);
        let mut handover = std::pin::pin!(handover::to_successor(&config.data_dir, &listeners));
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = &mut handover => {
                    tracing::info!("a successor serves; this proxy ends with its last connection");
                    end.hand_over();
                    break;
                }
                _ = &mut listening => return Err(ServeError::Ended { part: "the HTTP listener" }),
                changed = follower.changed() => match changed {
                    Ok(view) => {
                        builder.apply(&view, &routes);
                        ports.match_table();
                        if view.live {
                            ports.is_live();
                        }
                        reports.changed();
                    }
                    Err(_) => return Err(ServeError::Ended { part: "what follows the routes" }),
                },
                _ = sweep.tick() => builder.sweep(),
                _ = repeat.tick() => reports.repeat(),
            }
        }

        let late = tasks.drain(config.drain()).await;
        if late > 0 {
            tracing::warn!(connections = late, "connections were still open at the end and were cut");
        }
        follower.ended().await;
        Ok(())
    }
}
