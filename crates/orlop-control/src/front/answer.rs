//! One request: who makes it, and does it ask too much? What it asks for is the guard's affair.

use super::connection::Connection;
use super::lapse::Lapse;
use super::{Front, Leave, caller, limit};
use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::Status;
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
        let lapse = match self.admit(&connection, &mut request) {
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

    fn admit(&self, connection: &Connection, request: &mut Request<Incoming>) -> Result<Lapse, Turned> {
        let caller = caller::of(self, connection, request.headers())?;
        self.limits.take(&caller, &connection.peer)?;
        let lapse = Lapse::of(&self.trust, &caller, request.headers());
        request.extensions_mut().insert(caller);
        Ok(lapse)
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
