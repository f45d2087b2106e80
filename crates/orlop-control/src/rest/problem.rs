//! What goes wrong, as HTTP statuses and problem details ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)): the one
//! place where they are chosen.

use axum::body::Body;
use axum::response::Response;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use orlop_spec::Problems;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use std::borrow::Cow;
use tonic::Code;

/// The media type of problem details.
pub(super) const MEDIA: &str = "application/problem+json";

/// How long a caller shall wait, in seconds, where nobody says otherwise.
const RETRY_SECONDS: u32 = 1;

/// What went wrong.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub(super) struct Problem(Box<Details>);

/// The box does not show; derived, it would be a schema of its own.
impl JsonSchema for Problem {
    fn schema_name() -> Cow<'static, str> {
        Details::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        Details::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Details::json_schema(generator)
    }
}

/// What went wrong (RFC 9457).
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
struct Details {
    /// The kind of problem, as a URI reference: always `about:blank`; `code` tells more.
    #[serde(rename = "type")]
    kind: &'static str,
    /// What the HTTP status is called.
    title: &'static str,
    /// The HTTP status.
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    /// A stable snake_case word, for programs.
    code: &'static str,
    /// What went wrong, for people.
    detail: String,
    /// What to do.
    remedy: String,
    /// Each thing that is wrong with a spec; empty for other problems.
    errors: Vec<SpecError>,
    /// How many more there are than are listed.
    errors_omitted: usize,
    #[serde(skip)]
    retry_after: Option<u32>,
    #[serde(skip)]
    allow: Option<String>,
}

/// One thing that is wrong with a spec.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct SpecError {
    /// The line of the body, from 1.
    line: usize,
    /// The column in characters, from 1.
    column: usize,
    /// Where in the spec: `services.api.health.retries`. Empty for the spec as a whole.
    path: String,
    found: String,
    allowed: String,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self(Box::new(Details {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail: detail.into(),
            remedy: remedy.into(),
            errors: Vec::new(),
            errors_omitted: 0,
            retry_after: None,
            allow: None,
        }))
    }

    pub(super) fn bad_request(code: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail, remedy)
    }

    pub(super) fn not_found(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail, remedy)
    }

    /// A path that is there, but not for this method.
    pub(super) fn method_not_allowed(method: &http::Method, allow: String) -> Self {
        let detail = format!("{method} is not served here");
        let remedy = format!("use one of {allow}");
        let mut problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail, remedy);
        problem.0.allow = Some(allow);
        problem
    }

    /// An answer of the handlers that cannot be read, which is a defect.
    pub(super) fn unreadable(error: impl std::fmt::Display) -> Self {
        let detail = format!("the answer cannot be read: {error}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail, "look into the log of the control plane")
    }

    /// What is wrong with a spec, each with its place.
    pub(super) fn spec(problems: &Problems) -> Self {
        let found = problems.as_slice();
        let errors = found.iter().map(|problem| SpecError {
            line: problem.line,
            column: problem.column,
            path: problem.path.clone(),
            found: problem.found.clone(),
            allowed: problem.allowed.clone(),
        });
        let first = found.first().map(|first| {
            let path = if first.path.is_empty() { "the spec" } else { &first.path };
            format!("{path}: found {}; {}", first.found, first.allowed)
        });
        let remedy = "put right what `errors` names and send the spec again";
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let mut problem = Self::new(status, "invalid_spec", first.unwrap_or_default(), remedy);
        problem.0.errors = errors.collect();
        problem.0.errors_omitted = problems.omitted();
        problem
    }

    /// What the handlers say. `conditional`: did the caller ask for a generation?
    pub(super) fn of_status(status: &tonic::Status, conditional: bool) -> Self {
        let (http, code, remedy) = match status.code() {
            Code::Aborted if conditional => {
                (StatusCode::PRECONDITION_FAILED, "generation_changed", "get the deployment and decide anew")
            }
            Code::Aborted => (StatusCode::CONFLICT, "aborted", "get what is there and decide anew"),
            Code::InvalidArgument | Code::OutOfRange => {
                (StatusCode::BAD_REQUEST, "invalid_argument", "put right what the detail names")
            }
            Code::Unauthenticated => {
                (StatusCode::UNAUTHORIZED, "unauthenticated", "send `Authorization: Bearer` with an operator's token")
            }
            Code::PermissionDenied => {
                (StatusCode::FORBIDDEN, "permission_denied", "ask an admin for a role that may do this")
            }
            Code::NotFound => (StatusCode::NOT_FOUND, "not_found", "list what there is"),
            Code::AlreadyExists => (StatusCode::CONFLICT, "already_exists", "take what is there, or another name"),
            Code::FailedPrecondition => {
                (StatusCode::CONFLICT, "failed_precondition", "bring about what the detail asks for, then try again")
            }
            Code::ResourceExhausted => {
                (StatusCode::TOO_MANY_REQUESTS, "resource_exhausted", "wait as `Retry-After` says, then try again")
            }
            Code::Unavailable | Code::Cancelled => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "wait as `Retry-After` says, then try again")
            }
            Code::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded", "try again"),
            Code::Unimplemented => {
                (StatusCode::NOT_IMPLEMENTED, "unimplemented", "ask a control plane of a newer version")
            }
            Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal", "look into the log of the control plane")
            }
        };
        let told = || status.metadata().get("retry-after")?.to_str().ok()?.parse().ok();
        let waits = matches!(http, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let mut problem = Self::new(http, code, status.message(), remedy);
        problem.0.retry_after = waits.then(|| told().unwrap_or(RETRY_SECONDS));
        problem
    }

    /// This member cannot serve now.
    pub(super) fn unavailable(detail: String) -> Self {
        Self::of_status(&tonic::Status::unavailable(detail), false)
    }

    pub(super) fn into_response(self) -> Response {
        // The type has nothing that JSON cannot say.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA));
        if let Some(seconds) = self.0.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if let Some(allow) = self.0.allow.and_then(|allow| allow.try_into().ok()) {
            headers.insert(ALLOW, allow);
        }
        if self.0.status == StatusCode::UNAUTHORIZED.as_u16() {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A status of gRPC as an answer of HTTP.
pub(crate) fn of_status(status: &tonic::Status) -> Response {
    Problem::of_status(status, false).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_grpc_status_has_an_http_status() {
        let http = |code, conditional| Problem::of_status(&tonic::Status::new(code, "why"), conditional).0.status;
        for (code, expected) in [
            (Code::InvalidArgument, 400),
            (Code::OutOfRange, 400),
            (Code::Unauthenticated, 401),
            (Code::PermissionDenied, 403),
            (Code::NotFound, 404),
            (Code::Aborted, 409),
            (Code::AlreadyExists, 409),
            (Code::FailedPrecondition, 409),
            (Code::ResourceExhausted, 429),
            (Code::Internal, 500),
            (Code::Unknown, 500),
            (Code::DataLoss, 500),
            (Code::Unimplemented, 501),
            (Code::Unavailable, 503),
            (Code::Cancelled, 503),
            (Code::DeadlineExceeded, 504),
        ] {
            assert_eq!(http(code, false), expected, "{code:?}");
        }
        assert_eq!(http(Code::Aborted, true), 412, "the caller gave a generation");
    }

    #[test]
    fn who_is_to_wait_is_told_how_long() {
        let after = |status| {
            let response = Problem::of_status(&status, false).into_response();
            response.headers().get(RETRY_AFTER).map(|value| value.to_str().expect("ascii").to_owned())
        };
        assert_eq!(after(tonic::Status::unavailable("no leader")).as_deref(), Some("1"));
        let mut limited = tonic::Status::resource_exhausted("too many requests");
        limited.metadata_mut().insert("retry-after", "7".parse().expect("a value"));
        assert_eq!(after(limited).as_deref(), Some("7"), "as the limit says");
        assert_eq!(after(tonic::Status::not_found("no")), None);
    }

    #[test]
    fn who_is_not_known_is_told_how_to_be() {
        let response = Problem::of_status(&tonic::Status::unauthenticated("who?"), false).into_response();
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
        assert_eq!(response.headers()[CONTENT_TYPE], MEDIA);
    }
}
