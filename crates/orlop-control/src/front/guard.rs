//! The guard before the services: lets through what the table of callers allows, and answers it here or at the leader.
//!
//! gRPC from outside passes it, and so does every call that the JSON routes make of the same services.

use super::Leave;
use super::answer::{Body, refusal};
use crate::control::now;
use crate::leading::Leading;
use crate::peers::Peers;
use crate::status;
use http::{Request, Response};
use orlop_consensus::Consensus;
use orlop_identity::Caller;
use orlop_identity::access::{self, Served};
use orlop_proto::metadata::STALE;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::{Service, ServiceExt};

/// The services behind their guard; cheap to clone.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(super) inner: Arc<Guarded>,
}

pub(super) struct Guarded {
    pub(super) services: Routes,
    pub(super) leading: Arc<Leading>,
    pub(super) consensus: Consensus,
    pub(super) peers: Arc<Peers>,
}

impl Guard {
    pub(crate) fn new(services: Routes, leading: Arc<Leading>, consensus: Consensus, peers: Arc<Peers>) -> Self {
        Self { inner: Arc::new(Guarded { services, leading, consensus, peers }) }
    }

    async fn answer(self, request: Request<Body>) -> Response<Body> {
        let caller = request.extensions().get::<Caller>().cloned().unwrap_or(Caller::Anonymous);
        let rule = match access::check(request.uri().path(), &caller, now()) {
            Ok(rule) => rule,
            Err(denied) => return refusal(true, &status::of_denial(denied), None),
        };
        let stale = rule.only_looks() && request.headers().get(STALE).is_some_and(|value| value == "true");
        let request = if rule.served == Served::Any || stale || self.inner.leading.leads() {
            request
        } else {
            let leave =
                request.extensions().get::<Leave>().map_or_else(CancellationToken::new, |leave| leave.0.clone());
            match self.inner.forward(&caller, request, &leave).await {
                Ok(response) => return response,
                Err(request) => *request,
            }
        };
        match self.inner.services.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

impl<B> Service<Request<B>> for Guard
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let guard = self.clone();
        Box::pin(async move { Ok(guard.answer(request.map(Body::new)).await) })
    }
}
