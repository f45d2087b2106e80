//! Routes and backends that come and go while requests are under way.

use crate::support::*;
use http_body_util::Full;
use hyper::{Response, body::Bytes};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
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
