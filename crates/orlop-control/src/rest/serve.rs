//! The router: finds the operation of a request, reads the request, and sees to what all answers have in common.

use super::input::Input;
use super::operation::Operation;
use super::problem::Problem;
use super::{accept, openapi, table};
use crate::control::Control;
use crate::service::ANSWER_BYTES_MAX;
use axum::Router;
use axum::body::Body;
use axum::extract::{RawPathParams, Request};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode};
use orlop_model::ClusterId;
use orlop_proto::identity::v1::identity_service_client::IdentityServiceClient;
use orlop_proto::operator::v1::operator_service_client::OperatorServiceClient;
use orlop_proto::watch::v1::watch_service_client::WatchServiceClient;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt};

/// The gRPC services of this member, called without a socket.
pub(super) type Calls =
    BoxCloneSyncService<http::Request<tonic::body::Body>, http::Response<tonic::body::Body>, Infallible>;

/// What an operation works with; cheap to clone.
#[derive(Clone)]
pub(super) struct Member {
    calls: Calls,
    pub(super) about: Arc<About>,
    /// The OpenAPI document.
    pub(super) document: Bytes,
}

/// What a member knows of itself without asking the services.
pub(super) struct About {
    pub(super) cluster: Box<dyn Fn() -> Option<ClusterId> + Send + Sync>,
    /// Why it takes no writes now, if it takes none.
    pub(super) refused: Box<dyn Fn() -> Option<String> + Send + Sync>,
}

impl About {
    fn of(control: &Control) -> Self {
        let (machine, control) = (control.machine.clone(), control.clone());
        Self {
            cluster: Box::new(move || machine.read(|state| state.cluster())),
            refused: Box::new(move || control.writes_refused()),
        }
    }
}

impl Member {
    pub(super) fn operator(&self) -> OperatorServiceClient<Calls> {
        OperatorServiceClient::new(self.calls.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(super) fn identity(&self) -> IdentityServiceClient<Calls> {
        IdentityServiceClient::new(self.calls.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(super) fn watch(&self) -> WatchServiceClient<Calls> {
        WatchServiceClient::new(self.calls.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }
}

/// The methods of one path.
type Methods = BTreeMap<String, Operation>;

/// Serves REST over the gRPC services of a member: with all that is laid around them to tell who may do what.
pub(crate) fn router<S, B>(control: &Control, services: S) -> Router
where
    S: Service<http::Request<tonic::body::Body>, Response = http::Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes, Error: Into<tonic::codegen::StdError>> + Send + 'static,
{
    over(About::of(control), services)
}

/// Serves the table over gRPC services.
pub(super) fn over<S, B>(about: About, services: S) -> Router
where
    S: Service<http::Request<tonic::body::Body>, Response = http::Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes, Error: Into<tonic::codegen::StdError>> + Send + 'static,
{
    let operations = table::all();
    let member = Member {
        calls: BoxCloneSyncService::new(services.map_response(|response| response.map(tonic::body::Body::new))),
        about: Arc::new(about),
        document: openapi::document(&operations).to_string().into(),
    };
    let mut paths: BTreeMap<&'static str, Methods> = BTreeMap::new();
    for operation in operations {
        paths.entry(operation.path).or_default().insert(operation.method.to_string(), operation);
    }
    let mut router = Router::new();
    for (path, methods) in paths {
        let (methods, member) = (Arc::new(methods), member.clone());
        router = router.route(
            path,
            any(async move |parameters: Result<RawPathParams, _>, request: Request| {
                let parameters = parameters.map(|parameters: RawPathParams| {
                    parameters.iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect::<Vec<_>>()
                });
                let answered = match parameters {
                    Ok(parameters) => answer(&methods, &parameters, request, member).await,
                    Err(_) => {
                        let remedy = "write the path in UTF-8, percent-encoded";
                        Err(Problem::bad_request("invalid_parameter", "the path is not UTF-8", remedy))
                    }
                };
                finish(answered)
            }),
        );
    }
    for path in ["/api", "/api/{*rest}"] {
        router = router.route(path, any(async |request: Request| finish(Err(no_such_path(request.uri().path())))));
    }
    router
}

fn no_such_path(path: &str) -> Problem {
    let path: String = path.chars().take(200).collect();
    Problem::not_found(format!("there is nothing at {path}"), "see /api/v1/docs for what there is")
}

async fn answer(
    methods: &Methods,
    path: &[(String, String)],
    request: Request,
    member: Member,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let head = parts.method == Method::HEAD;
    let asked = if head { "GET" } else { parts.method.as_str() };
    let Some(operation) = methods.get(asked) else {
        let allow = allowed(methods);
        if parts.method != Method::OPTIONS {
            return Err(Problem::method_not_allowed(&parts.method, allow));
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response.headers_mut().insert(ALLOW, HeaderValue::try_from(allow).map_err(Problem::unreadable)?);
        return Ok(response);
    };
    let media = accept::choose(&parts.headers, operation.answer.media)?;
    let input = Input::read(operation, path, parts, body, media).await?;
    let response = (operation.run)(member, input).await?;
    Ok(if head { response.map(|_| Body::empty()) } else { response })
}

fn allowed(methods: &Methods) -> String {
    let head = methods.contains_key("GET").then_some("HEAD");
    let own = methods.keys().map(String::as_str);
    own.chain(head).chain(["OPTIONS"]).collect::<Vec<_>>().join(", ")
}

fn finish(answered: Result<Response, Problem>) -> Response {
    let mut response = answered.unwrap_or_else(Problem::into_response);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
