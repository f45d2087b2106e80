//! What the engine answers over gRPC.

mod client;
mod view;
mod worker;

use crate::drive::{Gone, Life, Phase};
use crate::metrics::{Metrics, Now};
use crate::store::{Store, StoreError};
use axum::http::StatusCode;
use axum::routing::get;
use orlop_durable_core::Refusal;
use orlop_proto::engine::v1::engine_service_server::EngineServiceServer;
use orlop_proto::engine::v1::worker_service_server::WorkerServiceServer;
use orlop_proto::metadata::STANDING_BY;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::{Code, Status};

/// How long a request waits for an engine that begins anew.
const PATIENCE: Duration = Duration::from_secs(10);

/// What every service has at hand.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) payload_bytes_max: u64,
    pub(crate) ping: Duration,
    pub(crate) lost_after: Duration,
    pub(crate) stop: CancellationToken,
}

impl Shared {
    /// The engine, which is waited for if it begins anew just now.
    async fn life(&self) -> Result<Arc<Life>, Status> {
        let mut phase = self.phase.clone();
        let known = tokio::time::timeout(PATIENCE, phase.wait_for(|phase| !matches!(phase, Phase::Begins)));
        match known.await.ok().and_then(Result::ok).as_deref() {
            Some(Phase::Lives(life)) => Ok(life.clone()),
            Some(Phase::Waits(by)) => Err(standing_by(by)),
            Some(Phase::Begins) | None => Err(gone()),
        }
    }

    /// Room for a payload and what is around it, in bytes.
    fn message_bytes_max(&self) -> usize {
        usize::try_from(self.payload_bytes_max).unwrap_or(usize::MAX).saturating_mul(2).saturating_add(1 << 20)
    }

    /// Everything that is answered: gRPC, and what Prometheus reads.
    pub(crate) fn routes(&self) -> Routes {
        let grpc = Routes::new(self.clients()).add_service(self.workers()).into_axum_router();
        let shared = self.clone();
        Routes::from(grpc.route("/metrics", get(move || metrics(shared.clone()))))
    }

    fn clients(&self) -> EngineServiceServer<client::Clients> {
        let bytes = self.message_bytes_max();
        EngineServiceServer::new(client::Clients(self.clone()))
            .max_decoding_message_size(bytes)
            .max_encoding_message_size(usize::MAX)
    }

    fn workers(&self) -> WorkerServiceServer<worker::Workers> {
        // Frames are sent many in a message, and journals whole.
        let bytes = self.message_bytes_max().saturating_mul(8);
        WorkerServiceServer::new(worker::Workers(self.clone()))
            .max_decoding_message_size(bytes)
            .max_encoding_message_size(usize::MAX)
    }
}

/// What is counted; what only a living engine knows is left out while there is none.
async fn metrics(shared: Shared) -> Result<([(&'static str, &'static str); 1], String), StatusCode> {
    let phase = shared.phase.borrow().clone();
    let now = match phase {
        Phase::Lives(life) => life.look(Now::of).await.unwrap_or_default(),
        Phase::Begins | Phase::Waits(_) => Now::default(),
    };
    let text = shared.metrics.encode(&now).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], text))
}

fn gone() -> Status {
    Status::unavailable("the engine begins anew, or stops; try again")
}

/// Says in its metadata that nothing was done, so that clients may ask the other engine the same.
fn standing_by(by: &str) -> Status {
    let mut metadata = MetadataMap::new();
    if let Ok(address) = by.parse() {
        metadata.insert(STANDING_BY, address);
    }
    Status::with_metadata(Code::Unavailable, format!("another engine ({by}) has the store"), metadata)
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "the store could not be read");
        match error {
            StoreError::Database { .. } => Status::unavailable(error.to_string()),
            _ => Status::internal(error.to_string()),
        }
    }
}

impl From<Gone> for Status {
    fn from(_: Gone) -> Self {
        gone()
    }
}

fn refused(refusal: Refusal) -> Status {
    let message = refusal.to_string();
    match refusal {
        Refusal::Unknown(_) => Status::not_found(message),
        Refusal::Over(_) | Refusal::NotBlocked(_) => Status::failed_precondition(message),
        Refusal::Invalid(_) => Status::invalid_argument(message),
    }
}
