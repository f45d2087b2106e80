//! Public TCP endpoints.

use crate::support::*;
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A backend that reads to the end, and then says how much that was and all of it again.
async fn after_the_end() -> Played {
    Played::raw(|mut stream, connections| async move {
        connections.fetch_add(1, Ordering::SeqCst);
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(format!("{}:", all.len()).as_bytes()).await.unwrap();
        stream.write_all(&all).await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await
}

async fn connect(address: (Ipv4Addr, u16)) -> TcpStream {
    let mut stream = None;
    until("the port is open", async || {
        stream = TcpStream::connect(address).await.ok();
        stream.is_some()
    })
    .await;
    stream.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_direction_of_a_connection_ends_by_itself() {
    let own = own_address();
    let (port, talker_port) = (5001, 5002);
    let listener = after_the_end().await;
    // Says all it has to say first, and then listens.
    let talker = Played::raw(|mut stream, heard| async move {
        stream.write_all(b"that is all").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        heard.fetch_add(all.len(), Ordering::SeqCst);
    })
    .await;
    let (dead, _held) = dead_end();
    let rules = [tcp("sink", port, &[dead, listener.address]), tcp("talker", talker_port, &[talker.address])];
    let _stage = Stage::start_with(&rules, |config| config.tcp_address = own.into()).await;

    let sent: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 251) as u8).collect();
    for _ in 0..4 {
        let mut client = connect((own, port)).await;
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer.split_off(8), sent);
        assert_eq!(answer, b"2000000:");
    }
    let mut client = connect((own, talker_port)).await;
    let mut said = String::new();
    client.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "that is all");
    client.write_all(b"my turn").await.unwrap();
    client.shutdown().await.unwrap();
    until("the talker heard it", async || talker.count() == 7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_reported_disturbs_nothing_and_is_served_once_it_is_free() {
    let own = own_address();
    let (taken, free) = (5001, 5002);
    let thief = TcpListener::bind((own, taken)).await.unwrap();
    let (backend, web) = (after_the_end().await, Played::word("web").await);
    let rules = [
        tcp("one", taken, &[backend.address]),
        tcp("two", free, &[backend.address]),
        http("web", None, "/", &[web.address]),
    ];
    let mut stage = Stage::start_with(&rules, |config| config.tcp_address = own.into()).await;
    let messages = stage.says_unserved(&[("one", "port_taken")]).await;
    assert!(messages[0].contains(&format!("{own}:{taken}: another process has the port; stop")), "{messages:?}");
    drop(connect((own, free)).await);
    assert_eq!(Client::get(stage.address, "a", "/").await.text(), "web");

    drop(thief);
    stage.says_unserved(&[]).await;
    let mut client = connect((own, taken)).await;
    client.write_all(b"x").await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "1:x");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_outlive_their_route_and_a_port_without_route_is_closed() {
    let (own, port) = (own_address(), 5001);
    let backend = after_the_end().await;
    let rules = [tcp("sink", port, &[backend.address])];
    let stage = Stage::start_with(&rules, |config| config.tcp_address = own.into()).await;
    let mut client = connect((own, port)).await;
    client.write_all(b"before ").await.unwrap();
    until("the backend has the connection", async || backend.count() == 1).await;
    stage.change(&[]).await;
    until("the port is closed", async || TcpStream::connect((own, port)).await.is_err()).await;
    client.write_all(b"after").await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "12:before after");

    // And without a backend that is ready, a connection is closed and not left waiting.
    stage.change(&[tcp("sink", port, &[])]).await;
    let mut client = connect((own, port)).await;
    assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_served_is_said_of_the_routes_of_now() {
    let own = own_address();
    let backend = after_the_end().await;
    let (first, other) = (5001, 5002);
    let _thief = TcpListener::bind((own, first)).await.unwrap();
    let mut stage =
        Stage::start_with(&[tcp("one", first, &[backend.address])], |config| config.tcp_address = own.into()).await;
    stage.says_unserved(&[("one", "port_taken")]).await;
    // The port goes to another service, which now has the trouble; the first is helped.
    stage.change(&[tcp("one", other, &[backend.address]), tcp("two", first, &[backend.address])]).await;
    stage.says_unserved(&[("two", "port_taken")]).await;
    stage.change(&[tcp("one", other, &[backend.address])]).await;
    stage.says_unserved(&[]).await;
    // Two that claim the same.
    stage.change(&[http("ant", Some("x.test"), "/a", &[]), http("bee", Some("x.test"), "/a", &[])]).await;
    let messages = stage.says_unserved(&[("bee", "route_taken")]).await;
    assert!(messages[0].contains("shop/ant/main has x.test/a/ already; give one of them another"), "{messages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tcp_endpoint_on_the_proxys_own_http_port_is_told_so() {
    let (own, port) = (own_address(), 5001);
    let (backend, web) = (after_the_end().await, Played::word("web").await);
    let rules = [tcp("sql", port, &[backend.address]), http("web", None, "/", &[web.address])];
    let mut stage = Stage::start_with(&rules, |config| {
        (config.tcp_address, config.listen) = (own.into(), (own, port).into());
    })
    .await;
    let messages = stage.says_unserved(&[("sql", "port_taken")]).await;
    assert!(messages[0].contains("the proxy itself serves HTTP endpoints there"), "{messages:?}");
    assert_eq!(Client::get(stage.address, "a", "/").await.text(), "web");
}
