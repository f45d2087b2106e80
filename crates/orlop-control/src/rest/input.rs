//! A request, read and checked against its operation before anything is done.

use super::operation::{Body as BodyKind, JSON, Operation, YAML};
use super::parameter::{Place, number, time};
use super::problem::Problem;
use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Extensions, HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use orlop_proto::metadata::{REQUEST_ID, STALE};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::metadata::MetadataMap;

/// So much of a body that is too large is read, for the sender to hear of it.
const PASSED_OVER_MAX: usize = 16 << 20;
/// For so long.
const PASSING_OVER: Duration = Duration::from_secs(2);
/// The largest body that is not a spec, in bytes.
const SMALL_BYTES_MAX: usize = 64 << 10;
/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// The longest query, in bytes.
const QUERY_BYTES_MAX: usize = 8 << 10;

/// What was asked for.
#[derive(Debug)]
pub(super) struct Input {
    values: BTreeMap<&'static str, String>,
    extensions: Extensions,
    /// Empty where the operation takes none.
    pub(super) body: Bytes,
    /// Is the body YAML?
    pub(super) yaml: bool,
    /// The media type to answer with.
    pub(super) media: &'static str,
}

impl Input {
    /// Reads a request for an operation.
    pub(super) async fn read(
        operation: &Operation,
        path: &[(String, String)],
        parts: Parts,
        body: Body,
        media: &'static str,
    ) -> Result<Self, Problem> {
        let mut values = BTreeMap::new();
        for parameter in operation.parameters_in(Place::Path) {
            let text = path.iter().find(|(name, _)| name == parameter.name).map_or("", |(_, text)| text);
            parameter.kind.check(text).map_err(|problem| invalid("path parameter", parameter.name, &problem))?;
            values.insert(parameter.name, text.to_owned());
        }
        read_query(operation, parts.uri.query().unwrap_or_default(), &mut values)?;
        for parameter in operation.parameters_in(Place::Header) {
            let mut given = parts.headers.get_all(parameter.name).iter();
            let Some(value) = given.next() else { continue };
            let text = value.to_str().unwrap_or("�");
            parameter.kind.check(text).map_err(|problem| invalid("header", parameter.name, &problem))?;
            if given.next().is_some() {
                return Err(invalid("header", parameter.name, "is given more than once"));
            }
            values.insert(parameter.name, text.to_owned());
        }
        let (body, yaml) = match operation.body {
            Some(kind) => read_body(kind, &parts.headers, body).await?,
            None => (refuse_body(&parts.headers)?, false),
        };
        Ok(Self { values, extensions: parts.extensions, body, yaml, media })
    }

    /// A parameter of the path, which is always there.
    pub(super) fn text(&self, name: &str) -> String {
        self.maybe(name).unwrap_or_default().to_owned()
    }

    pub(super) fn maybe(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.maybe(name) == Some("true")
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.maybe(name).and_then(number)
    }

    /// Milliseconds since the Unix epoch.
    pub(super) fn time(&self, name: &str) -> Option<u64> {
        self.maybe(name).and_then(time)
    }

    /// The body, as JSON of a type.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Problem::bad_request("invalid_body", format!("the body: {error}"), "see /api/v1/docs for what it may hold")
        })
    }

    /// A call to the handlers on behalf of whoever sent the request: who that is stands in the request's extensions.
    pub(super) fn call<T>(&self, message: T) -> tonic::Request<T> {
        let mut metadata = MetadataMap::new();
        // Both were checked when they were read.
        if let Some(key) = self.maybe("Idempotency-Key").and_then(|key| key.parse().ok()) {
            metadata.insert(REQUEST_ID, key);
        }
        if self.flag("stale") {
            metadata.insert(STALE, tonic::metadata::MetadataValue::from_static("true"));
        }
        tonic::Request::from_parts(metadata, self.extensions.clone(), message)
    }
}

fn invalid(what: &str, name: &str, problem: &str) -> Problem {
    Problem::bad_request(
        "invalid_parameter",
        format!("{what} {name}: {problem}"),
        "see /api/v1/docs for what it may be",
    )
}

fn read_query(operation: &Operation, query: &str, values: &mut BTreeMap<&'static str, String>) -> Result<(), Problem> {
    if query.len() > QUERY_BYTES_MAX {
        let detail = format!("the query has {} bytes; expected at most {QUERY_BYTES_MAX}", query.len());
        return Err(Problem::bad_request("invalid_parameter", detail, "ask for less at once"));
    }
    for (name, text) in form_urlencoded::parse(query.as_bytes()) {
        let Some(parameter) = operation.parameters_in(Place::Query).find(|parameter| parameter.name == name) else {
            let known: Vec<&str> = operation.parameters_in(Place::Query).map(|parameter| parameter.name).collect();
            let remedy = match known.is_empty() {
                true => "leave it out: this operation takes none".to_owned(),
                false => format!("use {}", known.join(", ")),
            };
            let name: String = name.chars().take(80).collect();
            return Err(Problem::bad_request("unknown_parameter", format!("there is no parameter {name:?}"), remedy));
        };
        parameter.kind.check(&text).map_err(|problem| invalid("parameter", parameter.name, &problem))?;
        if values.insert(parameter.name, text.into_owned()).is_some() {
            return Err(invalid("parameter", parameter.name, "is given more than once"));
        }
    }
    Ok(())
}

fn refuse_body(headers: &HeaderMap) -> Result<Bytes, Problem> {
    let length = headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    if length || headers.contains_key(TRANSFER_ENCODING) {
        return Err(Problem::bad_request("unexpected_body", "this operation takes no body", "leave the body out"));
    }
    Ok(Bytes::new())
}

/// Reads on for a while what nobody wants: a connection that is closed before resets at the sender, and the answer is lost
/// with it (RFC 9112, 9.6).
async fn pass_over(mut body: Body) {
    let reading = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > PASSED_OVER_MAX {
                return;
            }
        }
    };
    tokio::time::timeout(PASSING_OVER, reading).await.ok();
}

/// The body, and whether it is YAML.
async fn read_body(kind: BodyKind, headers: &HeaderMap, body: Body) -> Result<(Bytes, bool), Problem> {
    let takes: &[&str] = match kind {
        BodyKind::Spec => &[JSON, YAML],
        BodyKind::Json(_) => &[JSON],
    };
    let media = media_of_body(headers, takes)?;
    let max = match kind {
        BodyKind::Spec => orlop_spec::FILE_BYTES_MAX,
        BodyKind::Json(_) => SMALL_BYTES_MAX,
    };
    let too_large = || {
        let detail = format!("the body is too large; expected at most {max} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", detail, "send less")
    };
    let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|declared| declared > max as u64) {
        pass_over(body).await;
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_PATIENCE, Limited::new(body, max).collect()).await {
        Ok(Ok(collected)) => Ok((collected.to_bytes(), media == YAML)),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => {
            Err(Problem::bad_request("unreadable_body", format!("the body broke off: {error}"), "send it again"))
        }
        Err(_) => {
            let detail = format!("the body did not arrive within {} s", BODY_PATIENCE.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail, "send it again, and faster"))
        }
    }
}

fn media_of_body(headers: &HeaderMap, takes: &[&'static str]) -> Result<&'static str, Problem> {
    let refused = |detail: String| {
        let remedy = format!("send it as {}, in UTF-8 and not compressed", takes.join(" or "));
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail, remedy)
    };
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(refused("the body is compressed".into()));
    }
    let Some(given) = headers.get(CONTENT_TYPE) else {
        return Err(refused("there is no Content-Type".into()));
    };
    let text = given.to_str().unwrap_or_default();
    let (media, parameters) = text.split_once(';').unwrap_or((text, ""));
    let charset = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        !name.trim().eq_ignore_ascii_case("charset") || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    };
    let found = takes.iter().find(|takes| media.trim().eq_ignore_ascii_case(takes));
    match found {
        Some(media) if parameters.split(';').all(charset) => Ok(media),
        _ => Err(refused(format!("the Content-Type is {:?}", text.chars().take(80).collect::<String>()))),
    }
}
