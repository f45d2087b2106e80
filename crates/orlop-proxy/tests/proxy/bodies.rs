//! Heads, bodies and upgrades on their way through.

use crate::support::*;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

#[tokio::test(flavor = "multi_thread")]
async fn host_and_path_decide_and_the_backend_learns_who_asks() {
    let (shop, api) = (Played::echo().await, Played::word("api").await);
    let stage = Stage::start(&[
        http("web", Some("shop.example"), "/", &[shop.address]),
        http("api", Some("shop.example"), "/api", &[api.address]),
        http("down", Some("down.example"), "/", &[]),
    ])
    .await;
    assert_eq!(Client::get(stage.address, "shop.example", "/api/x").await.text(), "api");
    let mut client = Client::connect(stage.address).await;
    client
        .send(
            "GET http://Shop.example/a?b=c HTTP/1.1\r\nHost: shop.example\r\nConnection: x-private\r\n\
               X-Private: 1\r\nX-Forwarded-For: 10.0.0.1\r\nCookie: k\r\n\r\n",
        )
        .await;
    let echoed = client.receive().await.unwrap().text();
    assert!(echoed.starts_with("GET /a?b=c HTTP/1.1\n"), "{echoed}");
    for line in
        ["host: shop.example\n", "x-forwarded-for: 127.0.0.1\n", "x-forwarded-host: shop.example\n", "cookie: k\n"]
    {
        assert!(echoed.contains(line), "{line:?} in {echoed}");
    }
    assert!(!echoed.contains("private") && !echoed.contains("10.0.0.1"), "{echoed}");

    let missing = Client::get(stage.address, "other.example", "/").await;
    assert_eq!(missing.status, 404);
    assert!(missing.text().contains(r#"{"code":"no_route""#), "{}", missing.text());
    let down = Client::get(stage.address, "down.example", "/").await;
    assert_eq!(down.status, 503);
    assert!(down.head.contains("retry-after: 1") && down.text().contains("no replica of shop/down/main is ready"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_pass_whole_however_they_are_delimited_and_the_connection_lives_on() {
    let backend = Played::echo().await;
    let stage = Stage::start(&[http("web", None, "/", &[backend.address])]).await;
    let mut client = Client::connect(stage.address).await;
    let large: String = (0..3_000_000).map(|n: u32| char::from(b'a' + (n % 23) as u8)).collect();
    let mut chunked = String::new();
    for piece in large.as_bytes().chunks(77_777) {
        chunked.push_str(&format!("{:x};ext=1\r\n{}\r\n", piece.len(), std::str::from_utf8(piece).unwrap()));
    }
    for (framing, body, sent) in [
        ("Content-Length: 5", "hello".to_owned(), "hello"),
        ("Content-Length: 0", String::new(), ""),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n".to_owned(), "hello"),
        ("Transfer-Encoding: chunked", "0\r\n\r\n".to_owned(), ""),
        (&format!("Content-Length: {}", large.len()), large.clone(), &large),
        ("Transfer-Encoding: chunked", format!("{chunked}0\r\n\r\n"), &large),
    ] {
        client.send(format!("POST /x HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n")).await;
        client.send(body).await;
        let text = client.receive().await.unwrap().text();
        let echoed = text.split_once("\n\n").unwrap().1;
        assert_eq!(echoed.len(), sent.len(), "{framing}");
        assert!(echoed == sent, "{framing}");
    }
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    assert_eq!(client.receive().await.unwrap().status, 100);
    client.send("hello").await;
    assert!(client.receive().await.unwrap().text().ends_with("\n\nhello"));
    assert_eq!(backend.count(), 7);
}

/// A backend that switches protocols when asked for `x`, and then sends everything back in upper case.
async fn switching() -> Played {
    Played::raw(|stream, requests| async move {
        let mut stream = BufReader::new(stream);
        loop {
            let (mut head, mut line) = (String::new(), String::new());
            while stream.read_line(&mut line).await.is_ok_and(|length| length > 2) {
                head.push_str(&line);
                line.clear();
            }
            if head.is_empty() {
                return;
            }
            requests.fetch_add(1, Ordering::SeqCst);
            if !head.to_lowercase().contains("upgrade: x\r\n") {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhttp").await.unwrap();
                continue;
            }
            let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
            stream.write_all(switch).await.unwrap();
            let mut buffer = [0; 1024];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                buffer[..length].make_ascii_uppercase();
                stream.write_all(&buffer[..length]).await.unwrap();
            }
            let _ = stream.write_all(b"BYE").await;
            let _ = stream.shutdown().await;
            return;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_becomes_a_tunnel_and_bytes_sent_early_wait_for_the_decision() {
    let backend = switching().await;
    let stage = Stage::start(&[http("web", None, "/", &[backend.address])]).await;
    let ask =
        |protocol: &str| format!("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n");

    let mut client = Client::connect(stage.address).await;
    client.send(format!("{}early", ask("x"))).await;
    let switched = client.receive().await.unwrap();
    assert_eq!(switched.status, 101);
    assert!(
        switched.head.contains("upgrade: x\n") && switched.head.contains("connection: upgrade\n"),
        "{}",
        switched.head
    );
    assert_eq!(client.exactly(5).await, b"EARLY");
    client.send("GET / HTTP/1.1\nnot http any more").await;
    assert_eq!(client.exactly(32).await, b"GET / HTTP/1.1\nNOT HTTP ANY MORE");
    // One direction ends; the other says its last word.
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.exactly(3).await, b"BYE");
    assert!(client.is_over().await);

    // Refused: what came early is the next request. Twice, since each decision is about its own request.
    let mut client = Client::connect(stage.address).await;
    client.send(format!("{}{}{}and bytes", ask("other"), ask("other"), ask("x"))).await;
    assert_eq!(client.receive().await.unwrap().text(), "http");
    assert_eq!(client.receive().await.unwrap().text(), "http");
    assert_eq!(client.receive().await.unwrap().status, 101);
    assert_eq!(client.exactly(9).await, b"AND BYTES");

    // Another HTTP is not asked for on the client's behalf.
    let mut client = Client::connect(stage.address).await;
    client.send(ask("h2c")).await;
    assert_eq!(client.receive().await.unwrap().text(), "http");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_arrives_as_it_is_made_and_a_slow_reader_slows_the_writer() {
    let backend = Played::raw(|mut stream, sent| async move {
        let mut head = [0; 4096];
        let length = stream.read(&mut head).await.unwrap();
        let endless = head[..length].starts_with(b"GET /endless");
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await.unwrap();
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        while endless && stream.write_all(chunk.as_bytes()).await.is_ok() {
            sent.fetch_add(0x10000, Ordering::SeqCst);
        }
        // The client has what is there while the rest is not made yet.
        let _ = stream.read(&mut head).await;
    })
    .await;
    let stage = Stage::start(&[http("web", None, "/", &[backend.address])]).await;
    let mut client = Client::connect(stage.address).await;
    client.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut seen = Vec::new();
    while !seen.ends_with(b"5\r\nfirst\r\n") {
        seen.extend(client.exactly(1).await);
    }
    let mut slow = Client::connect(stage.address).await;
    slow.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut before = usize::MAX;
    until("the writer stands still", async || {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let now = backend.count();
        let still = now == before && now > 0;
        before = now;
        still
    })
    .await;
    assert!(backend.count() < 64 << 20, "{} bytes are somewhere between", backend.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_says_nothing_is_waited_for_only_so_long() {
    let backend = Played::raw(|mut stream, _| async move {
        let mut buffer = [0; 1024];
        while stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
    })
    .await;
    let rules = [http("web", None, "/", &[backend.address])];
    let stage = Stage::start_with(&rules, |config| config.response_timeout_ms = 200).await;
    let reply = Client::get(stage.address, "a", "/").await;
    assert_eq!(reply.status, 504);
    assert!(reply.text().contains("shop/web/main did not answer within 0.2 s"), "{}", reply.text());
    // A client that stops in the middle of its body is another matter.
    let mut client = Client::connect(stage.address).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello").await;
    assert_eq!(client.receive().await.unwrap().status, 408);
}
