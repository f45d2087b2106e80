//! The control plane: holds the replicated state, takes or refuses what is asked of it, and pushes what changes to those
//! who watch.
//!
//! It decides nothing about placement and knows nothing of containers. It dials nobody: what it needs from a node comes
//! on streams that the node's agent opened.
//!
//! - [`start`] opens the log, brings the state up to date, binds, and serves until the token is cancelled;
//! - `machine` applies commands, `hub` remembers what changed lately, `service` answers the calls;
//! - `attendance` judges which nodes are there, `sessions` joins operators and nodes, `lease` keeps renewals out of the
//!   log.
//!
//! Nothing on the wire tells yet who is calling, so it listens on unix sockets and loopback addresses only.

mod attendance;
mod config;
mod connection;
mod control;
mod exec;
mod hub;
mod images;
mod lease;
mod listen;
mod logs;
mod machine;
mod rest;
mod service;
mod sessions;
mod status;

pub use config::{Config, InvalidListen, Listen};

use crate::control::Control;
use crate::listen::Listener;
use orlop_state::command::InitCluster;
use orlop_state::{Answer, Kind};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Why a control plane did not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration contradicts itself.
    #[error("{0}")]
    Config(String),
    /// An address cannot be listened on.
    #[error("could not listen on {listen}: {remedy}")]
    Bind {
        /// The address.
        listen: Listen,
        /// What to do.
        remedy: String,
        /// What the system said.
        source: io::Error,
    },
    /// The data directory cannot be made.
    #[error("could not make the data directory {}", path.display())]
    DataDirectory {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] orlop_consensus::StartError),
    /// The cluster could not be made in an empty log.
    #[error("could not make the cluster: {0}")]
    Init(String),
    /// A listener ended by itself.
    #[error("the server at {listen} ended")]
    Server {
        /// Where it listened.
        listen: Listen,
        /// Why.
        source: tonic::transport::Error,
    },
    /// Not all tasks ended in time after the stop was asked for.
    #[error("{late} were still at work when the time to stop was over")]
    Late {
        /// Which.
        late: String,
    },
}

/// A control plane that serves.
#[derive(Debug)]
pub struct Running {
    listening: Vec<Listen>,
    served: tokio::task::JoinHandle<Result<(), Error>>,
}

impl Running {
    /// Where it listens; a port that was given as 0 is the real one here.
    pub fn listening(&self) -> &[Listen] {
        &self.listening
    }

    /// Waits until it has ended.
    pub async fn wait(self) -> Result<(), Error> {
        match self.served.await {
            Ok(served) => served,
            Err(panic) => Err(Error::Config(format!("the control plane panicked: {panic}"))),
        }
    }
}

/// Starts a control plane: it serves when this returns, until `stop` is cancelled.
pub async fn start(config: Config, stop: CancellationToken) -> Result<Running, Error> {
    if config.listen.is_empty() {
        return Err(Error::Config("no address to listen on; give a unix socket or a loopback address".into()));
    }
    let mut listeners = Vec::new();
    for listen in &config.listen {
        listeners.push(Listener::bind(listen).await?);
    }
    let directory = config.data_dir.join("raft");
    // Specs may hold what is nobody else's business.
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
    made.map_err(|source| Error::DataDirectory { path: directory.clone(), source })?;
    let machine = Arc::new(machine::Machine::new(config.ring_entities));
    let options =
        orlop_consensus::Options { command_bytes_max: COMMAND_BYTES_MAX, ..orlop_consensus::Options::new(directory) };
    let consensus = orlop_consensus::Consensus::start(options, machine.clone(), Arc::new(Nowhere)).await?;
    if !consensus.is_initialized()
        && let Err(error) = consensus.init("127.0.0.1:0").await
    {
        consensus.shutdown().await;
        return Err(error.into());
    }
    let tasks = TaskTracker::new();
    let control = Control::new(consensus.clone(), machine, config.clone(), tasks.clone(), stop.clone());
    if let Err(error) = make_cluster(&control, &config).await {
        consensus.shutdown().await;
        return Err(error);
    }
    control.watch_for_absentees();
    let listening: Vec<Listen> = listeners.iter().map(|l| l.listen().clone()).collect();
    for listen in &listening {
        tracing::info!(%listen, revision = control.machine.revision(), "listening");
    }
    let served = tokio::spawn(serve_until(control, consensus, listeners, config, tasks, stop));
    Ok(Running { listening, served })
}

/// The only member dials nobody.
struct Nowhere;

impl orlop_consensus::Dial for Nowhere {
    fn channel(&self, _member: u64, _address: &str) -> tonic::transport::Channel {
        tonic::transport::Endpoint::from_static("http://127.0.0.1:0").connect_lazy()
    }
}

/// Runs a control plane until `stop` is cancelled.
pub async fn serve(config: Config, stop: CancellationToken) -> Result<(), Error> {
    start(config, stop).await?.wait().await
}

/// The largest command in the log. A spec that is larger is refused.
const COMMAND_BYTES_MAX: usize = 4 << 20;

/// Makes the cluster in an empty log. What is configured later does not change a cluster that is made.
async fn make_cluster(control: &Control, config: &Config) -> Result<(), Error> {
    let (cluster, range) = control.machine.read(|state| (state.cluster(), state.range()));
    if let (Some(cluster), Some(range)) = (cluster, range) {
        if range != config.cluster_range {
            tracing::warn!(%cluster, %range, configured = %config.cluster_range,
                "the cluster keeps the address range it was made with");
        }
        return Ok(());
    }
    let init = InitCluster { cluster: control.new_cluster_id(), range: config.cluster_range };
    match control.submit(Kind::InitCluster(init)).await {
        Ok((_, Answer::Done)) => Ok(()),
        Ok((_, answer)) => Err(Error::Init(format!("{answer:?}"))),
        Err(status) => Err(Error::Init(status.message().to_owned())),
    }
}

async fn serve_until(
    control: Control,
    consensus: orlop_consensus::Consensus,
    listeners: Vec<Listener>,
    config: Config,
    tasks: TaskTracker,
    stop: CancellationToken,
) -> Result<(), Error> {
    let services = service::routes(&control);
    let rest = rest::for_this_machine(rest::router(&control, services.clone()));
    let routes = tonic::service::Routes::from(services.into_axum_router().merge(rest));
    // A listener that fails takes the others with it: half a control plane is worse than none.
    let servers = listeners.into_iter().map(|listener| {
        let (routes, stop) = (routes.clone(), stop.clone());
        async move {
            let served = listener.serve(routes, stop.clone()).await;
            stop.cancel();
            served
        }
    });
    let servers = futures::future::join_all(servers);
    tokio::pin!(servers);
    let deadline = async {
        stop.cancelled().await;
        tokio::time::sleep(config.stop_deadline).await;
    };
    let mut result = tokio::select! {
        served = &mut servers => served.into_iter().collect(),
        () = deadline => Err(Error::Late { late: "connections".into() }),
    };
    tasks.close();
    if tokio::time::timeout(config.stop_deadline, tasks.wait()).await.is_err() && result.is_ok() {
        result = Err(Error::Late { late: format!("{} tasks", tasks.len()) });
    }
    consensus.shutdown().await;
    for listen in &config.listen {
        if let Listen::Unix(path) = listen {
            let _ = std::fs::remove_file(path);
        }
    }
    result
}
