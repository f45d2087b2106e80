//! One request: to a backend, and its response back. What fails before it can have been done is tried elsewhere.

use crate::answer::Refusal;
use crate::headers;
use crate::routes::{Routes, Target};
use crate::serve::Tasks;
use crate::tunnel;
use crate::upstream::{UnderWay, Upstream};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::upgrade::OnUpgrade;
use orlop_client::chain;
use orlop_proxy_core::retry::{self, Budget, Progress};
use parking_lot::Mutex;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// The most backends that one request is tried on.
const ATTEMPTS_MAX: usize = 5;

/// What forwarding needs to know.
#[derive(Debug)]
pub(crate) struct Forwarder {
    pub(crate) routes: Arc<Routes>,
    pub(crate) budget: Mutex<Budget>,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    /// Where upgraded connections live on.
    pub(crate) tasks: Tasks,
}

/// The body of a request on its way to a backend.
#[derive(Debug)]
pub(crate) enum RequestBody {
    Empty,
    Client(Incoming, Arc<Upload>),
}

/// How far the body of a request is.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    /// Grows with each part.
    parts: AtomicU64,
    done: AtomicBool,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            RequestBody::Empty => Poll::Ready(None),
            RequestBody::Client(body, upload) => {
                let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
                upload.parts.fetch_add(1, Ordering::Relaxed);
                upload.done.store(frame.is_none() || body.is_end_stream(), Ordering::Relaxed);
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Empty => true,
            RequestBody::Client(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Empty => SizeHint::with_exact(0),
            RequestBody::Client(body, _) => body.size_hint(),
        }
    }
}

/// The body of a response on its way to the client.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    /// The proxy's own.
    Text(Option<Bytes>),
    /// A backend's. The backend has the request until this is dropped.
    Backend { body: Incoming, under_way: UnderWay, sender: Option<SendRequest<RequestBody>> },
}

impl ResponseBody {
    pub(crate) fn text(text: Bytes) -> Self {
        Self::Text(Some(text).filter(|text| !text.is_empty()))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            ResponseBody::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            ResponseBody::Backend { body, under_way, sender } => {
                let frame = Pin::new(body).poll_frame(cx);
                match &frame {
                    Poll::Ready(None) => {
                        if let Some(sender) = sender.take() {
                            under_way.keep(sender);
                        }
                    }
                    Poll::Ready(Some(Err(_))) => {
                        under_way.failed();
                        *sender = None;
                    }
                    _ => {}
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Text(text) => text.is_none(),
            ResponseBody::Backend { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            ResponseBody::Backend { body, .. } => body.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A body that was known to be over is never asked for its end.
        if let ResponseBody::Backend { body, under_way, sender } = self
            && body.is_end_stream()
            && let Some(sender) = sender.take()
        {
            under_way.keep(sender);
        }
    }
}

/// What became of one try.
enum Try {
    Answered(Response<ResponseBody>),
    /// It failed; the request is here again if nothing of it left.
    Failed {
        unsent: Option<Request<RequestBody>>,
        message: String,
    },
    /// It failed for good.
    Over(Refusal),
}

impl Forwarder {
    /// Answers a client's request with a backend's response, or says why not.
    pub(crate) async fn forward(
        &self,
        mut request: Request<Incoming>,
        client: IpAddr,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let host = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
        let Some(target) = self.routes.http(host, request.uri().path()) else {
            let host = host.unwrap_or_default().to_owned();
            return Err(Refusal::NoRoute { host, path: request.uri().path().to_owned() });
        };
        if target.is_empty() {
            return Err(Refusal::NoBackend(target.route.clone()));
        }
        let upgrades = headers::to_backend(&mut request, client);
        let client_side = upgrades.then(|| hyper::upgrade::on(&mut request));
        let has_body = !request.body().is_end_stream();
        let request = request.map(|body| match has_body {
            true => RequestBody::Client(body, Arc::default()),
            false => RequestBody::Empty,
        });
        self.attempt(&target, request, has_body, client_side).await
    }

    async fn attempt(
        &self,
        target: &Target,
        request: Request<RequestBody>,
        has_body: bool,
        mut client_side: Option<OnUpgrade>,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let facts = retry::Request { idempotent: is_idempotent(request.method()), has_body };
        // What may be sent twice is kept for the second time. An upgrade is a conversation and begins once.
        let spare = (facts.may_retry(Progress::Sent) && client_side.is_none()).then(|| copy(&request));
        let mut request = Some(request);
        let mut tried = Vec::new();
        let mut last = String::new();
        self.budget.lock().deposit();
        while let Some(next) = request.take() {
            let Some((place, upstream)) = target.pick(&tried, self.routes.clock()) else { break };
            let upstream = upstream.clone();
            tried.push(place);
            let under_way = upstream.begin();
            match self.try_once(target, &upstream, next, spare.as_ref(), under_way, &mut client_side).await {
                Try::Answered(response) => return Ok(response),
                Try::Over(refusal) => return Err(refusal),
                Try::Failed { unsent, message } => {
                    tracing::debug!(route = %target.route, replica = %upstream.replica, %message, "try failed");
                    last = message;
                    let again = unsent.or_else(|| spare.as_ref().map(copy));
                    if tried.len() < ATTEMPTS_MAX && self.budget.lock().withdraw(self.routes.clock().now()) {
                        request = again;
                    }
                }
            }
        }
        Err(Refusal::Unreachable { route: target.route.clone(), message: last, attempts: tried.len() })
    }

    /// Sends a request to a backend.
    async fn try_once(
        &self,
        target: &Target,
        upstream: &Upstream,
        mut request: Request<RequestBody>,
        spare: Option<&Request<RequestBody>>,
        under_way: UnderWay,
        client_side: &mut Option<OnUpgrade>,
    ) -> Try {
        // A connection from before may just be closing, as connections do. That says nothing about the backend; only
        // what happens on a new connection does.
        let mut used = upstream.reuse();
        let (sent, sender, is_new) = loop {
            let is_new = used.is_none();
            let mut sender = match used.take() {
                Some(sender) => sender,
                None => match upstream.connect(self.connect_timeout).await {
                    Ok(sender) => sender,
                    Err(error) => {
                        under_way.failed();
                        return Try::Failed { unsent: Some(request), message: error.to_string() };
                    }
                },
            };
            match self.send(&mut sender, request).await {
                Sent::Unsent { request: back, .. } if !is_new => {
                    request = back;
                    used = upstream.reuse();
                }
                sent => match (sent, spare) {
                    (Sent::Lost(_), Some(spare)) if !is_new => request = copy(spare),
                    (sent, _) => break (sent, sender, is_new),
                },
            }
        };
        match sent {
            Sent::Response(response) => self.answered(response, sender, under_way, client_side),
            Sent::Unsent { request, message } => {
                under_way.failed();
                Try::Failed { unsent: Some(request), message }
            }
            Sent::Lost(message) => {
                if is_new {
                    under_way.failed();
                }
                Try::Failed { unsent: None, message }
            }
            Sent::TooSlow => {
                under_way.failed();
                Try::Over(Refusal::TooSlow { route: target.route.clone(), within: self.response_timeout })
            }
            // The client's doing, and no fault of the backend.
            Sent::BrokenBody => Try::Over(Refusal::BrokenBody),
            Sent::StalledBody => Try::Over(Refusal::StalledBody(self.response_timeout)),
        }
    }

    /// Sends a request and waits for the head of the response. The time for that counts from the last part of the
    /// request's body that the backend took.
    async fn send(&self, sender: &mut SendRequest<RequestBody>, request: Request<RequestBody>) -> Sent {
        let upload = match request.body() {
            RequestBody::Client(_, upload) => Some(upload.clone()),
            RequestBody::Empty => None,
        };
        let parts = || upload.as_ref().map(|upload| upload.parts.load(Ordering::Relaxed));
        let answer = sender.try_send_request(request);
        tokio::pin!(answer);
        let mut seen = parts();
        let answered = loop {
            match tokio::time::timeout(self.response_timeout, answer.as_mut()).await {
                Ok(answered) => break answered,
                Err(_) if parts() != seen => seen = parts(),
                Err(_) if upload.is_some_and(|upload| !upload.done.load(Ordering::Relaxed)) => {
                    return Sent::StalledBody;
                }
                Err(_) => return Sent::TooSlow,
            }
        };
        match answered {
            Ok(response) => Sent::Response(response),
            Err(mut refused) => match refused.take_message() {
                Some(request) => Sent::Unsent { request, message: chain(refused.error()) },
                None if refused.error().is_user() => Sent::BrokenBody,
                None => Sent::Lost(chain(refused.error())),
            },
        }
    }

    fn answered(
        &self,
        mut response: Response<Incoming>,
        sender: SendRequest<RequestBody>,
        under_way: UnderWay,
        client_side: &mut Option<OnUpgrade>,
    ) -> Try {
        under_way.answered();
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if switches {
            let Some(client_side) = client_side.take() else {
                let message = "it switched protocols without being asked".to_owned();
                return Try::Failed { unsent: None, message };
            };
            let backend_side = hyper::upgrade::on(&mut response);
            self.tasks.spawn(tunnel::upgraded(client_side, backend_side, under_way));
            headers::to_client(response.headers_mut(), true);
            return Try::Answered(response.map(|_| ResponseBody::text(Bytes::new())));
        }
        headers::to_client(response.headers_mut(), false);
        Try::Answered(response.map(|body| ResponseBody::Backend { body, under_way, sender: Some(sender) }))
    }
}

enum Sent {
    Response(Response<Incoming>),
    Unsent { request: Request<RequestBody>, message: String },
    Lost(String),
    TooSlow,
    BrokenBody,
    StalledBody,
}

fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE].contains(method)
}

/// The same request again; it has no body.
fn copy(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut again = Request::new(RequestBody::Empty);
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    again
}
