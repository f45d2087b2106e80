//! The control plane: holds the replicated state, takes or refuses what is asked of it, and pushes what changes to those
//! who watch.
//!
//! It decides nothing about placement and knows nothing of containers. It dials nobody: what it needs from a node comes
//! on streams that the node's agent opened.
//!
//! - [`start`] opens the log, brings the state up to date, binds, and serves until the token is cancelled; `begin` is what a
//!   member does first, `home` what lies in its data directory, `trust` what it shows and whom it believes;
//! - `front` lets in what reaches the member from outside, `leading` is what only the leader does;
//! - `machine` applies commands, `hub` remembers what changed lately, `service` answers the calls;
//! - `attendance` judges which nodes are there, `sessions` joins operators and nodes, `lease` keeps renewals out of the
//!   log.

mod attendance;
mod backup;
mod begin;
mod config;
mod control;
mod disaster;
mod enroll;
mod examine;
mod exec;
mod front;
mod handover;
mod home;
mod hub;
mod images;
mod init;
mod leading;
mod lease;
mod leases;
mod logs;
mod machine;
mod memory;
mod peers;
mod reports;
mod rest;
mod room;
mod seal;
mod service;
mod sessions;
mod status;
mod trust;

pub use backup::Schedule;
pub use config::{Config, InvalidListen, Listen};
pub use disaster::{DisasterError, inspect, recover, restore};
pub use home::{Home, HomeError};
pub use init::{Init, InitError, Initialized, init};
pub use orlop_consensus::{Backup, Recovery};
pub use trust::TrustError;

/// What members apply commands to and tell watchers from, for a simulation that puts its own network around it.
pub mod seam {
    pub use crate::hub::{Cursor, Update};
    pub use crate::machine::Machine;
}

use crate::control::{Control, Parts};
use crate::front::{Front, Guard, Limits, Listener};
use crate::peers::Peers;
use crate::trust::Trust;
use orlop_client::HostPort;
use orlop_model::MemberId;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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
    /// There is no cluster here, and none is to be made.
    #[error(
        "there is no cluster in {}; make one with `orlop-control-plane init`, or join one with `orlopctl join`",
        directory.display()
    )]
    NoCluster {
        /// The data directory.
        directory: PathBuf,
    },
    /// TLS is to be served, and there is nothing to prove who serves.
    #[error("there is no identity in {}, so https cannot be served; join again with `orlopctl join`", directory.display())]
    NoIdentity {
        /// Where it would lie.
        directory: PathBuf,
    },
    /// What lies in the data directory cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The member cannot prove who it is.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The member's place in the cluster could not be changed.
    #[error(transparent)]
    Members(#[from] orlop_consensus::MembersError),
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
    let home = Home::new(&config.data_dir);
    if !config.make_cluster && !home.is_used()? {
        return Err(Error::NoCluster { directory: config.data_dir });
    }
    // A cluster that runs is made, also when nobody saw its first tokens.
    home.end_making()?;
    launch(config, home, stop).await
}

async fn launch(mut config: Config, home: Home, stop: CancellationToken) -> Result<Running, Error> {
    if config.advertise.is_none() {
        config.advertise = home.advertise()?;
    }
    if config.listen_tls
        && let Some(advertise) = &config.advertise
    {
        config.listen.push(Listen::Tls(SocketAddr::from((any_address(advertise), advertise.port()))));
    }
    if config.listen.is_empty() {
        return Err(Error::Config("no address to listen on; give a unix socket or https://ADDRESS:PORT".into()));
    }
    let mut listeners = Vec::new();
    for listen in &config.listen {
        listeners.push(Listener::bind(listen).await?);
    }
    let directory = home.log().to_owned();
    // Specs may hold what is nobody else's business.
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
    made.map_err(|source| Error::DataDirectory { path: directory.clone(), source })?;
    let machine = Arc::new(machine::Machine::new(config.ring_entities));
    let member = home.member()?.unwrap_or(MemberId::FIRST);
    let options = orlop_consensus::Options {
        command_bytes_max: COMMAND_BYTES_MAX,
        member: member.0,
        ..orlop_consensus::Options::new(directory)
    };
    let trust = Arc::new(Trust::new(machine.clone(), &home));
    let peers = Arc::new(Peers::new(trust.clone()));
    let consensus = orlop_consensus::Consensus::start(options, machine.clone(), peers.clone()).await?;
    let tasks = TaskTracker::new();
    let (reports, waiting) = reports::queue();
    let parts = Parts { consensus, machine, trust, peers, home, reports };
    let control = Control::new(parts, config.clone(), tasks.clone(), stop.clone());
    if let Err(error) = control.begin(member, &listeners).await {
        control.consensus.shutdown().await;
        return Err(error);
    }
    tasks.spawn({
        let control = control.clone();
        async move { control.carry_reports(waiting).await }
    });
    tasks.spawn(memory::give_back(stop.clone()));
    if let Some(schedule) = config.backups.clone() {
        tasks.spawn(backup::keep(control.clone(), schedule));
    }
    tasks.spawn(control.clone().hand_over_at_stop());
    let listening: Vec<Listen> = listeners.iter().map(|l| l.listen().clone()).collect();
    for listen in &listening {
        tracing::info!(%listen, revision = control.machine.revision(), "listening");
    }
    let served = tokio::spawn(serve_until(control, listeners, config, tasks, stop));
    Ok(Running { listening, served })
}

/// All of the machine's addresses, those of IPv6 included unless others dial one of IPv4 or the machine has no IPv6.
fn any_address(advertise: &HostPort) -> IpAddr {
    let is_v4 = advertise.host().parse::<Ipv4Addr>().is_ok();
    let has_v6 = || std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
    if is_v4 || !has_v6() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// Runs a control plane until `stop` is cancelled.
pub async fn serve(config: Config, stop: CancellationToken) -> Result<(), Error> {
    start(config, stop).await?.wait().await
}

/// The largest command in the log. A spec that is larger is refused.
const COMMAND_BYTES_MAX: usize = 4 << 20;

async fn serve_until(
    control: Control,
    listeners: Vec<Listener>,
    config: Config,
    tasks: TaskTracker,
    stop: CancellationToken,
) -> Result<(), Error> {
    let front = Arc::new(front_of(&control, &config));
    // A listener that fails takes the others with it: half a control plane is worse than none.
    let servers = listeners.into_iter().map(|listener| {
        let (front, stop) = (front.clone(), stop.clone());
        async move {
            let served = front::serve(listener, front, stop.clone()).await;
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
    control.consensus.shutdown().await;
    for listen in &config.listen {
        if let Listen::Unix(path) = listen {
            let _ = std::fs::remove_file(path);
        }
    }
    result
}

fn front_of(control: &Control, config: &Config) -> Front {
    let Control { leading, consensus, peers, trust, .. } = control.clone();
    let guard = Guard::new(service::routes(control), leading, consensus, peers);
    Front {
        trust,
        connections: front::Connections::new(config.connections_max),
        limits: Limits::new(config.calls_per_second),
        json: rest::router(control, guard.clone()),
        grpc: guard,
        refused: front::Refused::default(),
    }
}
