//! Accepting connections and serving HTTP on them, gRPC and JSON alike, until the stop is asked for.
//!
//! Everything has a bound: how many connections are open, how long a handshake and a request's head may take, how many
//! calls share a connection. What is over a bound is turned away, and said in the log now and then.

use super::Front;
use super::connection::{Open, Peer};
use super::listen::{Accepted, Listener};
use crate::Error;
use crate::control::now;
use crate::room::Room;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use orlop_model::Millis;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A connection on which nothing came for so long is asked whether it lives: that is how an agent whose machine lost its
/// power or its network is missed at all.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// One that does not answer for so long is ended.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the first bytes, and the head of an HTTP/1 request, may take.
const HEAD: Duration = Duration::from_secs(10);
/// How many calls may be open on one connection.
const CALLS_MAX: u32 = 1_000;
/// How long another member's calls may take to end when this one stops.
const MEMBER_REST: Duration = Duration::from_millis(500);
/// How often it is looked whether the cluster still stands by the certificate of a connection.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(1);
/// So long before its certificate ends a connection takes no new calls: the other side comes again with a new one. One that
/// has ended is let in for so long, to be renewed.
const CERTIFICATE_REST: Millis = Millis::from_secs(60);
/// How long accepting pauses when the process has no more files.
const OUT_OF_FILES: Duration = Duration::from_millis(100);

/// Serves until `stop` is cancelled and the calls have ended.
pub(crate) async fn serve(listener: Listener, front: Arc<Front>, stop: CancellationToken) -> Result<(), Error> {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok(accepted) => match front.connections.take(&accepted) {
                Some(room) => {
                    connections.spawn(connection(front.clone(), accepted, room, stop.clone()));
                }
                None => front.refuse(),
            },
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(listen = %listener.listen(), %error, "a connection could not be accepted");
                tokio::time::sleep(OUT_OF_FILES).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

/// Did only the connection fail that was being accepted?
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(front: Arc<Front>, accepted: Accepted, room: Room<IpAddr>, stop: CancellationToken) {
    let mut room = Some(room);
    match accepted {
        Accepted::Unix(stream) => http(front, stream, Peer::Socket, stop).await,
        Accepted::Plain(stream, from) => http(front, stream, Peer::Loopback(from), stop).await,
        Accepted::Tls(stream, from) => {
            let Some(acceptor) = front.trust.acceptor() else { return };
            let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream));
            let shaken = tokio::select! {
                shaken = handshake => shaken,
                () = stop.cancelled() => return,
            };
            match shaken {
                Ok(Ok(stream)) => {
                    let certificate = front.trust.certificate_of(&stream);
                    room = front.connections.take_shaken(from, certificate.as_ref());
                    if room.is_none() {
                        return front.refuse();
                    }
                    http(front, stream, Peer::Tls(from, certificate), stop).await;
                }
                Ok(Err(error)) => tracing::debug!(%from, %error, "a TLS handshake failed"),
                Err(_) => tracing::debug!(%from, "a TLS handshake took too long"),
            }
        }
    }
    drop(room);
}

async fn http<S>(front: Arc<Front>, stream: S, peer: Peer, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(KEEPALIVE_INTERVAL))
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_concurrent_streams(CALLS_MAX);
    let is_member = peer.is_member();
    let open = Open::new(peer);
    let connection = open.connection.clone();
    let leave = CancellationToken::new();
    let worthless = until_worthless(front.clone(), connection.peer.clone(), leave.clone());
    // Nothing bounds how long hyper waits for the first bytes.
    let mut stream = BufReader::new(stream);
    let begins = tokio::select! {
        begins = tokio::time::timeout(HEAD, stream.fill_buf()) => matches!(begins, Ok(Ok(_))),
        () = stop.cancelled() => false,
    };
    if !begins {
        return;
    }
    let service = hyper::service::service_fn({
        let leave = leave.clone();
        move |request| front.clone().answer(connection.clone(), leave.clone(), request)
    });
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving, worthless);
    tokio::select! {
        served = serving.as_mut() => {
            if let Err(error) = served {
                tracing::debug!(error, "a connection ended");
            }
            return;
        }
        () = stop.cancelled() => {}
        () = leave.cancelled() => {}
        () = worthless.as_mut() => return,
    }
    serving.as_mut().graceful_shutdown();
    // The log's streams from other members have no end of their own.
    let enough = async {
        match is_member {
            true => {
                stop.cancelled().await;
                tokio::time::sleep(MEMBER_REST).await;
            }
            false => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = serving => {}
        () = worthless => {}
        () = enough => {}
    }
}

/// Waits until the certificate of the other side is worth nothing any more: it has ended, or the cluster does not stand by
/// it. What is under way on the connection ends then too; calls are checked one by one, and watches go on for ever.
async fn until_worthless(front: Arc<Front>, peer: Peer, leave: CancellationToken) {
    let Peer::Tls(_, Some(certificate)) = peer else { return std::future::pending().await };
    let end = certificate.not_after.max(now() + CERTIFICATE_REST);
    loop {
        tokio::time::sleep(CERTIFICATE_LOOK).await;
        let at = now();
        if at >= end || front.trust.check(&certificate).is_err() {
            return;
        }
        if at + CERTIFICATE_REST >= end {
            leave.cancel();
        }
    }
}
