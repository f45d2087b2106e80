//! The engines that share a store, of which one has it.

use crate::worker::Error;
use orlop_proto::engine::v1::engine_service_client::EngineServiceClient;
use orlop_proto::metadata::STANDING_BY;
use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Response, Status};

/// A connection to one.
pub(super) type Engine = EngineServiceClient<Channel>;

/// Connections to all of them. Clones share them.
#[derive(Clone)]
pub(super) struct Engines {
    all: Arc<[Engine]>,
    /// The one that answered last.
    active: Arc<AtomicUsize>,
}

impl Engines {
    /// Connects to one at least, and to others when they are needed.
    pub(super) async fn connect(endpoints: Vec<Endpoint>) -> Result<Self, Error> {
        let (mut all, mut active, mut wrong) = (Vec::new(), None, None);
        for (place, endpoint) in endpoints.iter().enumerate() {
            let channel = match active {
                Some(_) => endpoint.connect_lazy(),
                None => match endpoint.connect().await {
                    Ok(channel) => {
                        active = Some(place);
                        channel
                    }
                    Err(error) => {
                        wrong = Some(error);
                        endpoint.connect_lazy()
                    }
                },
            };
            all.push(Engine::new(channel).max_decoding_message_size(64 << 20));
        }
        match (active, wrong) {
            (None, Some(error)) => Err(Error::Unreachable(error)),
            (active, _) => Ok(Self { all: all.into(), active: Arc::new(active.unwrap_or_default().into()) }),
        }
    }

    /// Asks the one that answered last, and in turn the others, as long as nobody has looked at the request.
    pub(super) async fn ask<R: Clone, T, F>(&self, request: R, ask: impl Fn(Engine, R) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let (count, first) = (self.all.len(), self.active.load(Ordering::Relaxed));
        let mut tries = 0;
        loop {
            let place = (first + tries) % count;
            tries += 1;
            match ask(self.all[place].clone(), request.clone()).await {
                Err(status) if tries < count && is_untouched(&status) => {}
                answer => {
                    self.active.store(place, Ordering::Relaxed);
                    return answer.map(Response::into_inner);
                }
            }
        }
    }
}

/// Whether surely nothing came of a request: no connection was made, or the engine only stands by. Where a connection
/// broke, or an engine began anew, that is not known.
fn is_untouched(status: &Status) -> bool {
    if status.code() != Code::Unavailable {
        return false;
    }
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    status.metadata().contains_key(STANDING_BY)
}
