//! What the proxy itself answers.

use crate::forward::ResponseBody;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use orlop_model::RouteKey;
use orlop_proxy_core::framing::Violation;
use std::time::Duration;

/// Why a request got no response of a backend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("refused: {0}")]
    Malformed(Violation),
    #[error("no route for host {host:?} and path {path:?}")]
    NoRoute { host: String, path: String },
    #[error("no replica of {0} is ready")]
    NoBackend(RouteKey),
    #[error("{route}: {message}, after {attempts} tries")]
    Unreachable { route: RouteKey, message: String, attempts: usize },
    #[error("the body of the request broke off or was malformed")]
    BrokenBody,
    #[error("the body of the request made no progress for {} s", .0.as_secs_f32())]
    StalledBody(Duration),
    #[error("{route} did not answer within {} s", .within.as_secs_f32())]
    TooSlow { route: RouteKey, within: Duration },
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Refusal::Malformed(violation) => {
                StatusCode::from_u16(violation.status()).unwrap_or(StatusCode::BAD_REQUEST)
            }
            Refusal::NoRoute { .. } => StatusCode::NOT_FOUND,
            Refusal::NoBackend(_) => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Unreachable { .. } => StatusCode::BAD_GATEWAY,
            Refusal::TooSlow { .. } => StatusCode::GATEWAY_TIMEOUT,
            Refusal::BrokenBody => StatusCode::BAD_REQUEST,
            Refusal::StalledBody(_) => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// A stable word, for programs.
    fn code(&self) -> &'static str {
        match self {
            Refusal::Malformed(_) => "malformed_request",
            Refusal::NoRoute { .. } => "no_route",
            Refusal::NoBackend(_) => "no_ready_replica",
            Refusal::Unreachable { .. } => "replica_unreachable",
            Refusal::TooSlow { .. } => "replica_too_slow",
            Refusal::BrokenBody => "broken_body",
            Refusal::StalledBody(_) => "stalled_body",
        }
    }

    /// As a response: a line of JSON with the word and the sentence.
    pub(crate) fn response(&self) -> Response<ResponseBody> {
        let text = format!("{{\"code\":\"{}\",\"message\":{}}}\n", self.code(), json_string(&self.to_string()));
        let mut response = Response::new(ResponseBody::text(Bytes::from(text)));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::SERVER, HeaderValue::from_static("orlop"));
        match self {
            Refusal::NoBackend(_) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            // Where the next request would begin is not known.
            Refusal::Malformed(_) | Refusal::BrokenBody | Refusal::StalledBody(_) => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

fn json_string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c < ' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_wrote_cannot_break_out_of_the_json() {
        assert_eq!(json_string("a\"b\\c\n"), r#""a\"b\\c\u000a""#);
    }
}
