//! Answers.

use super::operation::{EVENTS, JSON};
use super::problem::Problem;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long a stream of events is silent at most, so that what lies between does not take it for dead.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// A value as JSON.
pub(super) fn json(value: &impl Serialize) -> Result<Response, Problem> {
    let text = serde_json::to_vec(value).map_err(Problem::unreadable)?;
    Ok(bytes(JSON, text.into()))
}

/// The same, for a change that has begun and goes on.
pub(super) fn accepted(value: &impl Serialize) -> Result<Response, Problem> {
    let mut response = json(value)?;
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// The same, for what was made.
pub(super) fn created(value: &impl Serialize) -> Result<Response, Problem> {
    let mut response = json(value)?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// Nothing but that it was done.
pub(super) fn done() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// A value as JSON, with a deployment's generation as its entity tag.
pub(super) fn tagged(generation: u64, value: &impl Serialize) -> Result<Response, Problem> {
    let mut response = json(value)?;
    let tag = HeaderValue::try_from(format!("\"{generation}\"")).map_err(Problem::unreadable)?;
    response.headers_mut().insert(ETAG, tag);
    Ok(response)
}

/// Bytes of a media type.
pub(super) fn bytes(media: &'static str, bytes: Bytes) -> Response {
    let length = bytes.len();
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    // Said here, so that HEAD says it too.
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    response
}

/// One piece of a stream: a line of JSON lines, or a server-sent event.
pub(super) fn piece(media: &str, event: &str, id: Option<&str>, value: &impl Serialize) -> String {
    // What is streamed are types of ours, which JSON can say.
    let data = serde_json::to_string(value).unwrap_or_default();
    if media != EVENTS {
        return format!("{data}\n");
    }
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("event: {event}\n{id}data: {data}\n\n")
}

/// Pieces as they come, for as long as they come or `lifetime` says.
pub(super) fn stream(
    media: &'static str,
    pieces: impl Stream<Item = String> + Send + 'static,
    lifetime: Option<Duration>,
) -> Response {
    let flow = Flow {
        pieces: pieces.boxed(),
        silence: (media == EVENTS).then_some(SILENCE_MAX),
        end: lifetime.map(|lifetime| Instant::now() + lifetime),
    };
    let body = futures::stream::unfold(flow, |mut flow| async move {
        let piece = flow.next().await?;
        Some((Ok::<Bytes, Infallible>(Bytes::from(piece)), flow))
    });
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

struct Flow {
    pieces: BoxStream<'static, String>,
    silence: Option<Duration>,
    end: Option<Instant>,
}

impl Flow {
    /// The next piece, or a sign of life; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        let quiet = self.silence.map(|silence| Instant::now() + silence);
        let until = match (quiet, self.end) {
            (Some(quiet), Some(end)) => Some(quiet.min(end)),
            (one, other) => one.or(other),
        };
        let Some(until) = until else { return self.pieces.next().await };
        match timeout_at(until, self.pieces.next()).await {
            Ok(piece) => piece,
            Err(_) if self.end.is_some_and(|end| end <= until) => None,
            // A comment, which readers pass over.
            Err(_) => Some(":\n\n".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::operation::JSON_LINES;
    use http_body_util::BodyExt;

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_of_events_shows_that_it_lives_until_its_end() {
        let begun = Instant::now();
        let silent = || futures::stream::pending::<String>();
        let response = stream(EVENTS, silent(), Some(Duration::from_secs(40)));
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body, ":\n\n:\n\n", "after 15 and after 30 seconds");
        assert_eq!(begun.elapsed(), Duration::from_secs(40));

        let response = stream(JSON_LINES, silent(), Some(Duration::from_secs(40)));
        assert_eq!(response.into_body().collect().await.expect("a body").to_bytes(), "", "a comment is no JSON");
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_pieces() {
        let pieces = ["one", "two"].map(|text| piece(EVENTS, "event", Some("clu/7"), &text));
        let response = stream(EVENTS, futures::stream::iter(pieces), None);
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body, "event: event\nid: clu/7\ndata: \"one\"\n\nevent: event\nid: clu/7\ndata: \"two\"\n\n");
        assert_eq!(piece(JSON_LINES, "event", None, &"one"), "\"one\"\n");
    }
}
