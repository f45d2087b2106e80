//! The way from a request to the gRPC services and back.

use crate::rest::serve::{About, over};
use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use orlop_model::ClusterId;
use parking_lot::Mutex;
use serde_json::Value;
use std::convert::Infallible;
use std::sync::Arc;
use tonic::Status;
use tower::ServiceExt;

/// Who calls, as a layer in front would put it into a request.
#[derive(Debug, Clone, PartialEq)]
struct Caller(&'static str);

/// What the services were asked.
#[derive(Debug, Default, Clone, PartialEq)]
struct Asked {
    path: String,
    request_id: Option<String>,
    stale: Option<String>,
    caller: Option<Caller>,
}

/// Sends a request to a member whose services refuse everything with a status; what were they asked?
async fn send(request: Request<Body>, refusal: Status) -> (http::Response<Body>, Vec<Asked>) {
    let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
    let note = asked.clone();
    let services = tower::service_fn(move |request: http::Request<tonic::body::Body>| {
        let header = |name: &str| request.headers().get(name).map(|text| text.to_str().expect("ascii").to_owned());
        note.lock().push(Asked {
            path: request.uri().path().to_owned(),
            request_id: header("orlop-request-id"),
            stale: header("orlop-stale"),
            caller: request.extensions().get::<Caller>().cloned(),
        });
        let response = refusal.clone().into_http::<tonic::body::Body>();
        async move { Ok::<_, Infallible>(response) }
    });
    let about = About { cluster: Box::new(|| Some(ClusterId::from_u128(1))), refused: Box::new(|| None) };
    let response = over(about, services).oneshot(request).await.expect("an answer");
    let asked = asked.lock().clone();
    (response, asked)
}

fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).extension(Caller("alice"))
}

const KEY: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

#[tokio::test]
async fn a_call_says_who_calls_and_which_request_it_is() {
    let delete = request("DELETE", "/api/v1/deployments/shop").header("Idempotency-Key", KEY);
    let (response, asked) = send(delete.body(Body::empty()).expect("a request"), Status::permission_denied("no")).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let expected = Asked {
        path: "/orlop.operator.v1.OperatorService/Stop".into(),
        request_id: Some(KEY.into()),
        stale: None,
        caller: Some(Caller("alice")),
    };
    assert_eq!(asked, [expected]);

    let get = request("GET", "/api/v1/status?stale=true").body(Body::empty()).expect("a request");
    let (response, asked) = send(get, Status::unauthenticated("who?")).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(asked.iter().map(|asked| asked.stale.as_deref()).collect::<Vec<_>>(), [Some("true")]);
}

#[tokio::test]
async fn every_operation_calls_the_method_that_the_document_names() {
    let spec = r#"{"version": "v1", "deployment": "shop", "services": {"api": {"rtype": "service",
        "image": {"name": "registry.example/a/api:1"}}}}"#;
    let mut called = 0;
    for operation in crate::rest::table::all() {
        let hex = "0192345678909a7bcd8ef0123456789a";
        let path = operation.path.replace("{deployment}", "shop").replace("{service}", "api");
        let path = path.replace("{operator}", "anna").replace("{join_token}", "0123abcd");
        let path = path.replace("{operator_token}", &format!("tok_{hex}"));
        let path = path.replace("{node}", &format!("node_{hex}")).replace("{replica}", &format!("rep_{hex}"));
        let body = match operation.body {
            Some(crate::rest::operation::Body::Spec) => spec,
            Some(crate::rest::operation::Body::Json(body)) => body.example,
            None => "",
        };
        let request = request(operation.method.as_str(), &path).header("Content-Type", "application/json");
        let request = request.body(Body::from(body)).expect("a request");
        let (response, asked) = send(request, Status::resource_exhausted("slow down")).await;
        let methods: Vec<&str> = asked.iter().map(|asked| asked.path.as_str()).collect();
        assert_eq!(methods, operation.calls.into_iter().collect::<Vec<_>>(), "{}", operation.id);
        assert!(asked.iter().all(|asked| asked.caller == Some(Caller("alice"))), "{}: {asked:?}", operation.id);
        if operation.calls.is_some() {
            called += 1;
            assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS, "{}", operation.id);
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            let problem: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(problem["detail"], "slow down", "{}", operation.id);
        } else {
            assert_eq!(response.status(), StatusCode::OK, "{}", operation.id);
        }
    }
    assert!(called > 10, "only {called}");
}
