//! What is not HTTP that everybody reads the same way never reaches a backend.

use crate::support::*;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A backend that keeps every byte it gets, and answers once for each packet.
async fn recording() -> (Played, Arc<Mutex<Vec<u8>>>) {
    let record = Arc::new(Mutex::new(Vec::new()));
    let kept = record.clone();
    let backend = Played::raw(move |mut stream, requests| {
        let kept = kept.clone();
        async move {
            let mut buffer = [0; 64 * 1024];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                kept.lock().extend_from_slice(&buffer[..length]);
                requests.fetch_add(1, Ordering::SeqCst);
                if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (backend, record)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_could_be_read_in_two_ways_are_answered_and_never_reach_a_backend() {
    let (backend, record) = recording().await;
    let stage = Stage::start(&[http("web", None, "/", &[backend.address])]).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = |fields: &str, body: &str| format!("POST /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}{smuggled}");
    let probes: Vec<(&str, String, u16)> = vec![
        ("length and chunks", post("Content-Length: 6\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), 400),
        ("chunks and length", post("Transfer-Encoding: chunked\r\nContent-Length: 6", "0\r\n\r\n"), 400),
        ("chunked with a tab", post("Transfer-Encoding: chunked\t", "0\r\n\r\n"), 400),
        ("a tab, then chunked", post("Transfer-Encoding:\tchunked", "0\r\n\r\n"), 400),
        ("xchunked", post("Transfer-Encoding: xchunked", "0\r\n\r\n"), 400),
        ("chunked is not the last", post("Transfer-Encoding: chunked, identity", "0\r\n\r\n"), 400),
        ("two encodings", post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), 400),
        ("a blank before the colon", post("Transfer-Encoding : chunked", "0\r\n\r\n"), 400),
        ("two different lengths", post("Content-Length: 5\r\nContent-Length: 6", "hello"), 400),
        ("two equal lengths", post("Content-Length: 5\r\nContent-Length: 5", "hello"), 400),
        ("a list of lengths", post("Content-Length: 5, 5", "hello"), 400),
        ("a length with a sign", post("Content-Length: +5", "hello"), 400),
        ("a length in hex", post("Content-Length: 0x5", "hello"), 400),
        ("a folded line", post("X: a\r\n Content-Length: 5", "hello"), 400),
        ("a bare LF", post("X: a\nContent-Length: 5", "hello"), 400),
        ("a bare CR", post("X: a\rContent-Length: 5", "hello"), 400),
        ("a NUL", post("X: a\0b", ""), 400),
        ("a field without colon", post("nonsense", ""), 400),
        ("no host", "GET /x HTTP/1.1\r\nX: y\r\n\r\n".to_owned(), 400),
        ("two hosts", post("Host: b", ""), 400),
        ("another host in the target", "GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("chunks in 1.0", "POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
        ("a chunk's size that is none", post("Transfer-Encoding: chunked", "+5\r\nhello\r\n0\r\n\r\n"), 400),
        ("a chunk longer than its size", post("Transfer-Encoding: chunked", "3\r\nhello\r\n0\r\n\r\n"), 400),
        ("a chunk's line with a bare LF", post("Transfer-Encoding: chunked", "5\nhello\r\n0\r\n\r\n"), 400),
        ("a chunk's size that overflows", post("Transfer-Encoding: chunked", "fffffffffffffffff\r\nhello"), 400),
        ("an upgrade with a body", post("Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 5", "hello"), 400),
        ("two blanks", "GET  /x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("a blank at the end of the line", "GET /x HTTP/1.1 \r\nHost: a\r\n\r\n".to_owned(), 400),
        ("an empty line first", "\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("bare LFs only", "GET /x HTTP/1.1\nHost: a\n\n".to_owned(), 400),
        ("a tunnel", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n".to_owned(), 400),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505),
        ("HTTP/0.9", "GET /x\r\n\r\n".to_owned(), 400),
        ("too large", format!("GET /x HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(40_000)), 431),
        ("too many fields", format!("GET /x HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(200)), 431),
    ];
    for (what, bytes, status) in &probes {
        for whole in [true, false] {
            let mut client = Client::connect(stage.address).await;
            if whole {
                client.send(bytes).await;
            } else {
                // The head in pieces; a body that comes later is another test's matter.
                let cut = bytes.find("\r\n\r\n").unwrap_or(bytes.len()).min(bytes.len() / 2);
                client.send(&bytes[..cut]).await;
                tokio::task::yield_now().await;
                // A proxy that has seen enough may have closed already.
                let _ = client.stream.write_all(&bytes.as_bytes()[cut..]).await;
            }
            let reply = client.receive().await.unwrap_or_else(|| panic!("{what}: closed without an answer"));
            assert_eq!(reply.status, *status, "{what}: {reply:?}");
            assert!(reply.text().contains("\"message\":\"refused: "), "{what}: {}", reply.text());
            assert!(reply.head.contains("connection: close"), "{what}: {}", reply.head);
            assert!(client.is_over().await, "{what}: the connection is still open");
        }
    }
    assert_eq!(String::from_utf8_lossy(&record.lock()), "", "nothing reached the backend");
    assert_eq!(Client::get(stage.address, "a", "/").await.status, 200, "and the proxy still works");
}

#[tokio::test(flavor = "multi_thread")]
async fn good_requests_before_a_bad_one_are_answered_first() {
    let backend = Played::word("hello").await;
    let stage = Stage::start(&[http("web", None, "/", &[backend.address])]).await;
    let mut client = Client::connect(stage.address).await;
    let good = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let body = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    client.send(format!("{good}{body}{good}GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n{good}")).await;
    for _ in 0..3 {
        let reply = client.receive().await.unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, "hello"));
    }
    assert_eq!(client.receive().await.unwrap().status, 400);
    assert!(client.is_over().await);
    assert_eq!(backend.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_turns_bad_later_is_cut_and_the_backend_never_sees_its_end() {
    let (backend, record) = recording().await;
    let stage = Stage::start(&[http("web", None, "/", &[backend.address])]).await;
    let mut client = Client::connect(stage.address).await;
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    until("the beginning is at the backend", async || String::from_utf8_lossy(&record.lock()).contains("hello")).await;
    client.send("nonsense\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").await;
    while client.receive().await.is_some() {}
    let seen = String::from_utf8_lossy(&record.lock()).into_owned();
    assert!(!seen.contains("smuggled") && !seen.contains("0\r\n\r\n"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_dawdles_over_its_head_is_cut_off() {
    let backend = Played::word("hello").await;
    let rules = [http("web", None, "/", &[backend.address])];
    let stage = Stage::start_with(&rules, |config| config.client_timeout_ms = 400).await;
    let began = Instant::now();
    let mut client = Client::connect(stage.address).await;
    client.send("GET / HTTP/1.1\r\n").await;
    let mut cut = false;
    while began.elapsed() < PATIENCE && !cut {
        // One byte at a time keeps no connection alive.
        cut = client.stream.write_all(b"X").await.is_err()
            || tokio::time::timeout(Duration::from_millis(50), client.is_over()).await == Ok(true);
    }
    assert!(cut && began.elapsed() >= Duration::from_millis(350), "cut: {cut} after {:?}", began.elapsed());
    assert_eq!(backend.count(), 0);
}
