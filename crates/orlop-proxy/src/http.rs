//! The HTTP listener.

use crate::answer::Refusal;
use crate::forward::{Forwarder, ResponseBody};
use crate::serve::{End, Tasks};
use crate::strict::{Lane, Strict};
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use orlop_proxy_core::framing::HEAD_MAX;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// After an accept that failed (no descriptors left), the next comes so much later.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until the end.
pub(crate) async fn listen(
    listener: Arc<TcpListener>,
    forwarder: Arc<Forwarder>,
    client_timeout: Duration,
    connections: Arc<Semaphore>,
    tasks: Tasks,
    end: End,
) {
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(client_timeout)
        // The strict reader passes heads up to its own limit; hyper must not be the stricter one.
        .max_buf_size(HEAD_MAX + 32 * 1024)
        .max_headers(orlop_proxy_core::framing::FIELDS_MAX);
    loop {
        let accepted = tokio::select! {
            () = end.comes() => return,
            accepted = accept(&listener, &connections) => accepted,
        };
        let Some((stream, client, permit)) = accepted else { continue };
        let (server, forwarder, end) = (server.clone(), forwarder.clone(), end.clone());
        tasks.spawn(async move {
            // A client that says nothing yet costs a socket and a timer. What serves it comes with its first byte.
            let mut first = [0];
            let begins = tokio::select! {
                first = tokio::time::timeout(client_timeout, stream.peek(&mut first)) => matches!(first, Ok(Ok(1))),
                () = end.of_idle() => false,
            };
            if begins {
                Box::pin(serve_connection(server, stream, client, forwarder, end)).await;
            }
            drop(permit);
        });
    }
}

/// The next connection, once one more is allowed.
pub(crate) async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = connections.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, client)) => {
            let _ = stream.set_nodelay(true);
            Some((stream, client, permit))
        }
        Err(error) => {
            tracing::warn!(%error, "could not accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn serve_connection(
    server: http1::Builder,
    stream: TcpStream,
    client: SocketAddr,
    forwarder: Arc<Forwarder>,
    end: End,
) {
    let lane = Arc::new(Lane::default());
    let io = TokioIo::new(Strict::new(stream, lane.clone()));
    let (count, last) = (AtomicU64::new(0), end.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let place = count.fetch_add(1, Ordering::Relaxed) + 1;
        let (lane, forwarder, end) = (lane.clone(), forwarder.clone(), last.clone());
        async move {
            let mut response = answer(request, place, client, &lane, &forwarder).await;
            // The client comes back to the successor, instead of finding its connection closed.
            if end.is_handed_over() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = server.serve_connection(io, service).with_upgrades();
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = end.of_idle() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%client, %error, "a client's connection broke off");
    }
}

async fn answer(
    request: Request<Incoming>,
    place: u64,
    client: SocketAddr,
    lane: &Lane,
    forwarder: &Forwarder,
) -> Response<ResponseBody> {
    if let Some(violation) = lane.refusal(place) {
        tracing::debug!(%client, %violation, "refused a request");
        return Refusal::Malformed(violation).response();
    }
    // The strict reader may wait to hear what the bytes behind this request are.
    let undecided = request.headers().contains_key(header::UPGRADE);
    let response = match forwarder.forward(request, client.ip()).await {
        Ok(response) => response,
        Err(refusal) => {
            tracing::debug!(%client, %refusal, "no response of a backend");
            refusal.response()
        }
    };
    if undecided {
        lane.decide(place, response.status() == StatusCode::SWITCHING_PROTOCOLS);
    }
    response
}
