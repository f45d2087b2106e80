//! Routes and backends that come and go while requests are under way.

use crate::support::*;
use http_body_util::Full;
use hyper::{Response, body::Bytes};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

/// A backend that answers once it is told to.
async fn waiting(word: &'static str) -> (Played, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let told = go.clone();
    let backend = Played::http(move |_| {
        let told = told.clone();
        async move {
            told.notified().await;
            Response::new(Full::new(Bytes::from_static(word.as_bytes())))
        }
    })
    .await;
    (backend, go)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_leaves_finishes_what_it_has_and_gets_nothing_new() {
    let (old, go) = waiting("old").await;
    let new = Played::word("new").await;
    let stage = Stage::start(&[http("web", None, "/", &[old.address])]).await;
    let mut client = Client::connect(stage.address).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("the old one has the request", async || old.count() == 1).await;
    stage.change(&[http("web", None, "/", &[new.address])]).await;
    for _ in 0..20 {
        assert_eq!(Client::get(stage.address, "a", "/").await.text(), "new");
    }
    stage.change(&[]).await;
    assert_eq!(Client::get(stage.address, "a", "/").await.status, 404);
    go.notify_one();
    assert_eq!(client.receive().await.unwrap().text(), "old");
    assert_eq!(old.count(), 1);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.receive().await.unwrap().status, 404, "the client's connection lived through it all");
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_are_replaced_one_after_the_other_under_load_and_no_request_fails() {
    let mut backends = vec![Played::word("0").await, Played::word("1").await];
    let addresses = |backends: &[Played]| backends.iter().map(|backend| backend.address).collect::<Vec<_>>();
    let stage = Stage::start(&[http("web", None, "/", &addresses(&backends))]).await;
    let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for kept in [true, true, false] {
        let (address, over, done) = (stage.address, over.clone(), done.clone());
        clients.spawn(async move {
            let mut client = Client::connect(address).await;
            while !over.load(Ordering::SeqCst) {
                if !kept {
                    client = Client::connect(address).await;
                }
                client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
                let reply = client.receive().await.expect("the connection stays");
                assert_eq!(reply.status, 200, "{}", reply.text());
                done.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    for _ in 0..12 {
        let before = done.load(Ordering::SeqCst);
        until("requests pass", async || done.load(Ordering::SeqCst) >= before + 50).await;
        backends.push(Played::word("new").await);
        stage.change(&[http("web", None, "/", &addresses(&backends[1..]))]).await;
        // It dies right away, connections and all.
        drop(backends.remove(0));
    }
    over.store(true, Ordering::SeqCst);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

/// Clients that go on asking until told to stop: each counts its answers and fails with the first that is none.
struct Crowd {
    over: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: tokio::task::JoinSet<()>,
}

impl Crowd {
    fn gather(address: std::net::SocketAddr, kept: &[bool]) -> Self {
        let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut clients = tokio::task::JoinSet::new();
        for kept in kept.iter().copied() {
            let (over, done) = (over.clone(), done.clone());
            clients.spawn(async move {
                let mut client = Client::connect(address).await;
                while !over.load(Ordering::SeqCst) {
                    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
                    let reply = client.receive().await.expect("an answer to each request");
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    done.fetch_add(1, Ordering::SeqCst);
                    // As the protocol says.
                    if !kept || reply.header("connection") == Some("close") {
                        client = Client::connect(address).await;
                    }
                }
            });
        }
        Self { over, done, clients }
    }

    async fn goes_on(&self) {
        let before = self.done.load(Ordering::SeqCst);
        until("requests pass", async || self.done.load(Ordering::SeqCst) >= before + 100).await;
    }

    async fn go_home(mut self) -> usize {
        self.over.store(true, Ordering::SeqCst);
        while let Some(client) = self.clients.join_next().await {
            client.unwrap();
        }
        self.done.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn successors_take_over_under_load_and_no_request_or_connection_fails() {
    let own = own_address();
    let web = Played::word("web").await;
    let echo = Played::raw(|mut stream, _| async move {
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    })
    .await;
    let rules = [http("web", None, "/", &[web.address]), tcp("echo", 5001, &[echo.address])];
    let configure = |config: &mut orlop_proxy::Config| config.tcp_address = own.into();
    let mut stage = Stage::start_with(&rules, configure).await;
    let crowd = Crowd::gather(stage.address, &[true, true, true, false, false, false]);
    let dial = async || tokio::net::TcpStream::connect((own, 5001)).await.expect("it is listened on all the time");
    let mut idle = Some(Client::connect(stage.address).await);
    let mut talking = Vec::new();
    for round in 0..5_u8 {
        crowd.goes_on().await;
        let mut stream = dial().await;
        stream.write_all(&[round]).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), round);
        talking.push(stream);
        let before = stage.succeed(configure).await;
        if let Some(mut idle) = idle.take() {
            idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert_eq!(idle.receive().await.expect("who was idle is answered too").status, 200);
        }
        crowd.goes_on().await;
        // What was connected before goes on, through the one before.
        let stream = talking.last_mut().unwrap();
        stream.write_all(&[round]).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), round);
        talking.clear();
        // With its last connection, the one before ends by itself.
        tokio::time::timeout(PATIENCE, before).await.expect("it ends").unwrap();
    }
    assert!(crowd.go_home().await > 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_closes_ports_that_have_no_route_any_more_and_goes_on_trying_those_that_are_taken() {
    let own = own_address();
    let (taken, served) = (5001, 5002);
    let backend = Played::word("x").await;
    let thief = tokio::net::TcpListener::bind((own, taken)).await.unwrap();
    let rules = [tcp("one", taken, &[backend.address]), tcp("two", served, &[backend.address])];
    let configure = |config: &mut orlop_proxy::Config| config.tcp_address = own.into();
    let mut stage = Stage::start_with(&rules, configure).await;
    stage.says_unserved(&[("one", "port_taken")]).await;
    stage.succeed(configure).await.await.unwrap();
    stage.says_unserved(&[("one", "port_taken")]).await;
    drop(thief);
    stage.says_unserved(&[]).await;
    stage.change(&rules[..1]).await;
    let is_open = async |port| tokio::net::TcpStream::connect((own, port)).await.is_ok();
    until("the port is closed", async || !is_open(served).await).await;
    assert!(is_open(taken).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_without_control_plane_goes_on_and_starts_with_what_it_knew() {
    let backend = Played::word("hello").await;
    let mut stage = Stage::start(&[http("web", None, "/", &[backend.address])]).await;
    assert_eq!(Client::get(stage.address, "a", "/").await.text(), "hello");
    stage.restart_without_control_plane().await;
    assert_eq!(Client::get(stage.address, "a", "/").await.text(), "hello", "at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_ends_lets_requests_finish_first() {
    let (backend, go) = waiting("done").await;
    let mut stage = Stage::start(&[http("web", None, "/", &[backend.address])]).await;
    let mut client = Client::connect(stage.address).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("the backend has the request", async || backend.count() == 1).await;
    let mut idle = Client::connect(stage.address).await;
    stage.stop.cancel();
    assert!(idle.is_over().await, "an idle connection is closed at once");
    until("nobody is let in", async || tokio::net::TcpStream::connect(stage.address).await.is_err()).await;
    go.notify_one();
    let reply = client.receive().await.unwrap();
    assert_eq!(reply.text(), "done");
    assert!(client.is_over().await);
    let ended = tokio::time::timeout(Duration::from_secs(4), stage.proxy.take().unwrap()).await;
    ended.expect("the proxy ends with its last request").unwrap();
}
