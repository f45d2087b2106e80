//! What the engine answers over gRPC.

mod client;
mod view;
mod worker;

use crate::drive::{Gone, Life};
use crate::store::Store;
use orlop_durable_core::Refusal;
use orlop_proto::engine::v1::engine_service_server::EngineServiceServer;
use orlop_proto::engine::v1::worker_service_server::WorkerServiceServer;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// How long a request waits for an engine that begins anew.
const PATIENCE: Duration = Duration::from_secs(10);

/// What every service has at hand.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) life: watch::Receiver<Option<Arc<Life>>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) payload_bytes_max: u64,
    pub(crate) ping: Duration,
    pub(crate) lost_after: Duration,
    pub(crate) stop: CancellationToken,
}

impl Shared {
    /// The engine, which is waited for if it begins anew just now.
    async fn life(&self) -> Result<Arc<Life>, Status> {
        let mut life = self.life.clone();
        let there = tokio::time::timeout(PATIENCE, life.wait_for(Option::is_some));
        match there.await {
            Ok(Ok(life)) => life.clone().ok_or_else(gone),
            _ => Err(gone()),
        }
    }

    /// Room for a payload and what is around it, in bytes.
    fn message_bytes_max(&self) -> usize {
        usize::try_from(self.payload_bytes_max).unwrap_or(usize::MAX).saturating_mul(2).saturating_add(1 << 20)
    }

    pub(crate) fn clients(&self) -> EngineServiceServer<client::Clients> {
        let bytes = self.message_bytes_max();
        EngineServiceServer::new(client::Clients(self.clone()))
            .max_decoding_message_size(bytes)
            .max_encoding_message_size(usize::MAX)
    }

    pub(crate) fn workers(&self) -> WorkerServiceServer<worker::Workers> {
        // Frames are sent many in a message, and journals whole.
        let bytes = self.message_bytes_max().saturating_mul(8);
        WorkerServiceServer::new(worker::Workers(self.clone()))
            .max_decoding_message_size(bytes)
            .max_encoding_message_size(usize::MAX)
    }
}

fn gone() -> Status {
    Status::unavailable("the engine begins anew, or stops; try again")
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
