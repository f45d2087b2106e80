//! The daemon as a service on a unix socket.

use crate::config::{Config, InvalidConfig};
use crate::daemon::{self, AttachError, Daemon, Request};
use crate::network::{Network, NetworkError};
use crate::teardown::{LockError, lock};
use nix::fcntl::Flock;
use orlop_follower::Follower;
use orlop_model::ReplicaId;
use orlop_proto::overlay::v1::overlay_service_server::{OverlayService, OverlayServiceServer};
use orlop_proto::overlay::v1::{
    AttachRequest, AttachResponse, Attachment, DetachRequest, DetachResponse, ListAttachmentsRequest,
    ListAttachmentsResponse,
};
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request as Call, Response, Status};

/// How long calls under way may take to finish when the daemon ends.
const GRACE: Duration = Duration::from_secs(3);

/// Why the daemon did not start, or ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// Another daemon lives.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The socket.
    #[error("could not listen on {}", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
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
    /// The kernel.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Following the mesh view could not begin.
    #[error("could not follow the mesh view")]
    Follow(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server.
    #[error("the overlay's server failed")]
    Server(#[source] tonic::transport::Error),
    /// What follows the mesh view ended, and nobody had asked it to.
    #[error("what follows the mesh view ended by itself; the log says why")]
    Blind,
}

/// A daemon that listens, not yet serving.
#[derive(Debug)]
pub struct Overlay {
    config: Config,
    listener: UnixListener,
    network: Network,
    /// Held for as long as the daemon lives.
    lock: Flock<File>,
}

/// Takes the run directory and the socket; changes nothing in the kernel yet. Needs root.
pub async fn start(config: Config) -> Result<Overlay, ServeError> {
    let instance = config.instance()?;
    config.node()?;
    orlop_follower::private_directory(&config.data_dir)
        .map_err(|source| ServeError::DataDirectory { path: config.data_dir.clone(), source })?;
    let lock = lock(&config.run_dir)?;
    let listener =
        listen(&config.socket).await.map_err(|source| ServeError::Listen { path: config.socket.clone(), source })?;
    let network = Network::open(instance, &config.run_dir)?;
    Ok(Overlay { config, listener, network, lock })
}

/// [`start`] and [`Overlay::serve`].
pub async fn serve(config: Config, stop: CancellationToken) -> Result<(), ServeError> {
    start(config).await?.serve(stop).await
}

/// Listens on a socket that only root can open, from its first moment on.
async fn listen(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves it"));
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let aside = path.with_extension("new");
    let _ = std::fs::remove_file(&aside);
    let listener = UnixListener::bind(&aside)?;
    std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&aside, path)?;
    Ok(listener)
}

impl Overlay {
    /// The socket it listens on.
    pub fn socket(&self) -> &Path {
        &self.config.socket
    }

    /// Serves until `stop`. Leaves everything in the kernel as it is.
    pub async fn serve(self, stop: CancellationToken) -> Result<(), ServeError> {
        let Overlay { config, listener, network, lock } = self;
        let ended = stop.child_token();
        // However this ends, nothing of it goes on by itself.
        let _ended = ended.clone().drop_guard();
        let (mesh, follower) = crate::mesh::follow(&config, ended.clone()).await?;
        let daemon = Daemon {
            instance: config.instance()?,
            node: config.node_name.clone(),
            network,
            memory: config.run_dir.join("addresses.json"),
            mesh,
            addresses: None,
            found: false,
        };
        let (requests, queue) = mpsc::channel(64);
        let server = tonic::transport::Server::builder()
            .add_service(OverlayServiceServer::new(Service { requests }))
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.cancelled());
        let served = async {
            tokio::pin!(server);
            let served = tokio::select! {
                served = server.as_mut() => served.map_err(ServeError::Server),
                () = blind(&follower, &stop) => Err(ServeError::Blind),
                // Calls under way may finish; a client that keeps its connection open is not waited for.
                () = late(&stop) => Ok(()),
            };
            ended.cancel();
            served
        };
        let (served, ()) = tokio::join!(served, daemon.run(queue, ended.clone()));
        follower.ended().await;
        let _ = std::fs::remove_file(&config.socket);
        drop(lock);
        served
    }
}

/// The end of the follower before `stop`.
async fn blind(follower: &Follower, stop: &CancellationToken) {
    follower.ended().await;
    if stop.is_cancelled() {
        std::future::pending::<()>().await;
    }
}

/// Some time after `stop`.
async fn late(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

struct Service {
    requests: mpsc::Sender<Request>,
}

impl Service {
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Status> {
        let (answer, answered) = oneshot::channel();
        let stopping = || status(&AttachError::Stopping);
        self.requests.send(request(answer)).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())
    }
}

fn status(error: &AttachError) -> Status {
    let message = orlop_client::chain(error);
    match error {
        AttachError::NoSubnet { .. } | AttachError::Unread(_) | AttachError::Stopping => Status::unavailable(message),
        AttachError::InvalidSubnet(_) | AttachError::SubnetChanged { .. } => Status::failed_precondition(message),
        AttachError::Full(_) => Status::resource_exhausted(message),
        AttachError::Network(_) => Status::internal(message),
    }
}

fn replica(text: &str) -> Result<ReplicaId, Status> {
    text.parse().map_err(|error| Status::invalid_argument(format!("replica: {error}")))
}

fn wire(attachment: daemon::Attachment) -> Attachment {
    Attachment {
        replica: attachment.replica.to_string(),
        namespace: attachment.namespace.display().to_string(),
        address: attachment.address.to_string(),
        gateway: attachment.gateway.to_string(),
        prefix_length: attachment.prefix_length.into(),
    }
}

#[tonic::async_trait]
impl OverlayService for Service {
    async fn attach(&self, call: Call<AttachRequest>) -> Result<Response<AttachResponse>, Status> {
        let replica = replica(&call.get_ref().replica)?;
        let attached = self.ask(|answer| Request::Attach(replica, answer)).await?;
        let attachment = attached.map_err(|error| status(&error))?;
        Ok(Response::new(AttachResponse { attachment: Some(wire(attachment)) }))
    }

    async fn detach(&self, call: Call<DetachRequest>) -> Result<Response<DetachResponse>, Status> {
        let replica = replica(&call.get_ref().replica)?;
        self.ask(|answer| Request::Detach(replica, answer)).await?.map_err(|error| status(&error))?;
        Ok(Response::new(DetachResponse {}))
    }

    async fn list_attachments(
        &self,
        _: Call<ListAttachmentsRequest>,
    ) -> Result<Response<ListAttachmentsResponse>, Status> {
        let attachments = self.ask(Request::List).await?;
        Ok(Response::new(ListAttachmentsResponse { attachments: attachments.into_iter().map(wire).collect() }))
    }
}
