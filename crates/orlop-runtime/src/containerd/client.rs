//! The connection to containerd: one channel that dials again by itself, requests that carry namespace and lease and
//! have a deadline, and the one place where a gRPC status becomes a [`RuntimeError`].

use crate::RuntimeError;
use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::diff_client::DiffClient;
use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::introspection_client::IntrospectionClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::version_client::VersionClient;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

/// For calls that only look something up or note it down.
pub(crate) const QUICK: Duration = Duration::from_secs(30);
/// For calls that start or end processes.
pub(crate) const PROCESS: Duration = Duration::from_secs(120);
/// For calls that write a whole layer.
pub(crate) const LAYER: Duration = Duration::from_secs(1800);

/// The largest message that we take from containerd; its own limit for sending is the same.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A handle of the connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    channel: Channel,
    namespace: MetadataValue<Ascii>,
    lease: Option<MetadataValue<Ascii>>,
    socket: Arc<Path>,
}

macro_rules! services {
    ($($name:ident: $client:ident;)*) => {$(
        pub(crate) fn $name(&self) -> $client<Channel> {
            $client::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
        }
    )*};
}

impl Client {
    /// Dials at the first call, and again whenever the connection was lost.
    pub(crate) fn new(socket: &Path, namespace: &str) -> Result<Self, RuntimeError> {
        let invalid =
            |detail: String| RuntimeError::other(format!("using containerd's namespace {namespace:?}"), detail);
        let well_formed = !namespace.is_empty()
            && namespace.len() <= 76
            && namespace.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'));
        if !well_formed {
            return Err(invalid("a namespace is 1–76 letters, digits, -, _ and .".into()));
        }
        let path: PathBuf = socket.into();
        // The address is never dialled; the connector goes to the socket.
        let channel = Endpoint::from_static("http://containerd.invalid")
            .connect_timeout(Duration::from_secs(5))
            .connect_with_connector_lazy(tower::service_fn(move |_| {
                let path = path.clone();
                async move {
                    Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(tokio::net::UnixStream::connect(path).await?))
                }
            }));
        Ok(Self {
            channel,
            namespace: namespace.parse().map_err(|_| invalid("it is no header value".into()))?,
            lease: None,
            socket: socket.into(),
        })
    }

    services! {
        containers: ContainersClient;
        content: ContentClient;
        diff: DiffClient;
        events: EventsClient;
        images: ImagesClient;
        introspection: IntrospectionClient;
        leases: LeasesClient;
        snapshots: SnapshotsClient;
        tasks: TasksClient;
        version: VersionClient;
    }

    /// The same connection; what is made through it belongs to the lease too.
    pub(crate) fn under_lease(&self, lease: MetadataValue<Ascii>) -> Self {
        Self { lease: Some(lease), ..self.clone() }
    }

    /// A request with namespace and lease.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("containerd-namespace", self.namespace.clone());
        if let Some(lease) = &self.lease {
            request.metadata_mut().insert("containerd-lease", lease.clone());
        }
        request
    }

    /// Waits for an answer, at most so long.
    pub(crate) async fn answer<T>(
        &self,
        within: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(within, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failure(status)),
            Err(_) => Err(Failure::Gone(format!("no answer within {} seconds", within.as_secs()))),
        }
    }

    /// What a status means.
    pub(crate) fn failure(&self, status: Status) -> Failure {
        // Only failures of the transport have a source; what containerd answers has none.
        if let Some(source) = std::error::Error::source(&status) {
            let mut deepest = source;
            while let Some(next) = deepest.source() {
                deepest = next;
            }
            return Failure::Gone(deepest.to_string());
        }
        match status.code() {
            Code::NotFound => Failure::NotFound(status.message().to_owned()),
            Code::AlreadyExists => Failure::AlreadyExists,
            Code::FailedPrecondition => Failure::Precondition(status.message().to_owned()),
            Code::Unavailable if status.message().contains("locked") => Failure::Locked,
            _ if is_disk_full(status.message()) => Failure::DiskFull(status.message().to_owned()),
            Code::Unavailable | Code::Cancelled if status.message().is_empty() => Failure::Gone("it hung up".into()),
            _ => Failure::Other(status.message().to_owned()),
        }
    }

    /// The error for a failure that has no meaning of its own at this step.
    pub(crate) fn error(&self, doing: &str, failure: Failure) -> RuntimeError {
        match failure {
            Failure::Gone(detail) => RuntimeError::Unavailable {
                socket: self.socket.display().to_string(),
                detail: format!("{doing}: {detail}"),
            },
            Failure::DiskFull(detail) => RuntimeError::DiskFull { detail: format!("{doing}: {detail}") },
            Failure::NotFound(detail) => RuntimeError::NotFound { what: detail.trim_end_matches(": not found").into() },
            Failure::AlreadyExists => RuntimeError::other(doing, "it exists already"),
            Failure::Locked => RuntimeError::other(doing, "somebody else is writing it"),
            Failure::Precondition(detail) | Failure::Other(detail) => RuntimeError::other(doing, detail),
        }
    }
}

pub(crate) fn is_disk_full(message: &str) -> bool {
    message.contains("no space left on device") || message.contains("disk quota exceeded")
}

/// Why a call failed, by what the caller may do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// containerd does not answer; whether the call was carried out is unknown.
    Gone(String),
    NotFound(String),
    AlreadyExists,
    Precondition(String),
    /// Somebody else writes this blob.
    Locked,
    DiskFull(String),
    Other(String),
}
