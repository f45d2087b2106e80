//! One request: who makes it, and does it ask too much? What it asks for is the guard's affair.

use super::connection::Connection;
use super::lapse::Lapse;
use super::{Front, Leave, caller, limit};
use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use orlop_identity::Caller;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tower::ServiceExt;

pub(super) type Body = tonic::body::Body;

/// A request that is turned away at the door.
struct Turned {
    status: Status,
    retry_after: Option<Duration>,
}

impl From<Status> for Turned {
    fn from(status: Status) -> Self {
        Self { status, retry_after: None }
    }
}

impl From<limit::TooMany> for Turned {
    fn from(limit::TooMany { retry_after }: limit::TooMany) -> Self {
        let message = format!("too many calls; try again in {} ms", retry_after.as_millis().max(1));
        Self { status: Status::resource_exhausted(message), retry_after: Some(retry_after) }
    }
}

impl Front {
    /// Answers a request. `leave` ends the connection after its calls: the other side had better try another member.
    pub(super) async fn answer(
        self: Arc<Self>,
        connection: Connection,
        leave: CancellationToken,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let grpc = request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|content| content.as_bytes().starts_with(b"application/grpc"));
        let lapse = match self.admit(&connection, &mut request).await {
            Ok(lapse) => lapse,
            Err(Turned { status, retry_after }) => return Ok(refusal(grpc, &status, retry_after)),
        };
        request.extensions_mut().insert(connection);
        request.extensions_mut().insert(Leave(leave));
        let answer = async {
            if grpc {
                let Ok(response) = self.grpc.clone().oneshot(request).await;
                response
            } else {
                let Ok(response) = self.json.clone().oneshot(request).await;
                response.map(Body::new)
            }
        };
        Ok(lapse.bound(grpc, answer).await)
    }

    async fn admit(&self, connection: &Connection, request: &mut Request<Incoming>) -> Result<Lapse, Turned> {
        let caller = match caller::of(self, connection, request.headers()) {
            Err(status) if status.code() == Code::Unauthenticated => {
                self.catch_up(connection, status).await?;
                caller::of(self, connection, request.headers())?
            }
            caller => caller?,
        };
        self.limits.take(&caller, &connection.peer)?;
        let lapse = Lapse::of(&self.trust, &caller, request.headers());
        request.extensions_mut().insert(caller);
        Ok(lapse)
    }

    /// What this member knows may be too old to know the caller: it has just started, or fell behind. Before somebody is
    /// turned away it learns what there is to know, but not for a stranger who asks all the time.
    async fn catch_up(&self, connection: &Connection, turned: Status) -> Result<(), Status> {
        if self.limits.take(&Caller::Anonymous, &connection.peer).is_err() {
            return Err(turned);
        }
        let known = self.grpc.inner.consensus.read_index().await;
        known.map(drop).map_err(|error| {
            Status::unavailable(format!("who is calling cannot be found out now: {error}; another member may know"))
        })
    }
}

/// A refusal in the language of who asked.
pub(super) fn refusal(grpc: bool, status: &Status, retry_after: Option<Duration>) -> Response<Body> {
    let mut response = if grpc { status.clone().into_http() } else { crate::rest::of_status(status).map(Body::new) };
    if let Some(after) = retry_after {
        // Whole seconds, rounded up (RFC 9110, 10.2.3).
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs() + 1));
    }
    response
}
