//! What is under way for an operator ends when the operator's token lapses: it has expired, was revoked, or lets its bearer
//! do something else than when the call began. Calls are checked when they come in, but watches, logs and commands go on
//! for hours. Connections with a certificate end as a whole ([`super::serve`]).

use super::answer::{Body, refusal};
use super::caller;
use crate::trust::Trust;
use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use orlop_identity::Caller;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::Status;

/// How often it is looked whether a token is still good.
const LOOK: Duration = Duration::from_secs(1);

type Lapsed = Pin<Box<dyn Future<Output = Status> + Send>>;

/// What ends the calls of one caller.
pub(super) struct Lapse {
    /// Resolves when they end, with what the caller is told; `None` for callers that have no token.
    lapsed: Option<Lapsed>,
}

impl Lapse {
    pub(super) fn of(trust: &Arc<Trust>, caller: &Caller, headers: &HeaderMap) -> Self {
        let lapsed = match (caller, caller::token(headers)) {
            (Caller::Operator(_), Some(Ok(token))) => {
                Some(Box::pin(lapsed(trust.clone(), caller.clone(), token.to_owned())) as Lapsed)
            }
            _ => None,
        };
        Self { lapsed }
    }

    /// The answer, as long as the caller may have it.
    pub(super) async fn bound(mut self, grpc: bool, answer: impl Future<Output = Response<Body>>) -> Response<Body> {
        let lapsed = async {
            match &mut self.lapsed {
                Some(lapsed) => lapsed.await,
                None => std::future::pending().await,
            }
        };
        let response = tokio::select! {
            biased;
            response = answer => response,
            status = lapsed => return refusal(grpc, &status, None),
        };
        match self.lapsed {
            Some(lapsed) => response.map(|answer| Body::new(Bound { answer, lapsed: Some(lapsed), grpc })),
            None => response,
        }
    }
}

/// Waits until a token is good no more.
async fn lapsed(trust: Arc<Trust>, began_as: Caller, token: String) -> Status {
    loop {
        tokio::time::sleep(LOOK).await;
        match trust.operator(&token) {
            Ok(now) if now == began_as => {}
            Ok(_) => return Status::unavailable(format!("what {} may do has changed; call again", began_as.text())),
            Err(status) => return status,
        }
    }
}

/// An answer that ends early when the caller's token lapses.
struct Bound {
    answer: Body,
    /// `None` when the answer has ended.
    lapsed: Option<Lapsed>,
    grpc: bool,
}

impl http_body::Body for Bound {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let bound = self.get_mut();
        let Some(lapsed) = &mut bound.lapsed else { return Poll::Ready(None) };
        let Poll::Ready(status) = lapsed.as_mut().poll(cx) else {
            let frame = Pin::new(&mut bound.answer).poll_frame(cx);
            if matches!(frame, Poll::Ready(None)) {
                bound.lapsed = None;
            }
            return frame;
        };
        bound.lapsed = None;
        // Whoever makes the answer is to stop now.
        bound.answer = Body::empty();
        // HTTP has no other way to say that there would be more than to break the answer off.
        Poll::Ready(Some(if bound.grpc { trailers(&status) } else { Err(status) }))
    }

    fn is_end_stream(&self) -> bool {
        self.lapsed.is_none() || self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.answer.size_hint()
    }
}

fn trailers(status: &Status) -> Result<Frame<Bytes>, Status> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    Ok(Frame::trailers(trailers))
}
