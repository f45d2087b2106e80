//! Who gets which request, and what happens when it fails.

use crate::support::*;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Sends requests side by side over kept connections; answers how many got which status.
async fn load(
    stage: &Stage,
    clients: usize,
    each: usize,
    request: &'static str,
) -> std::collections::BTreeMap<u16, usize> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let address = stage.address;
        tasks.spawn(async move {
            let mut client = Client::connect(address).await;
            let mut statuses = Vec::new();
            for _ in 0..each {
                client.send(request).await;
                statuses.push(client.receive().await.expect("a response").status);
            }
            statuses
        });
    }
    let mut counts = std::collections::BTreeMap::new();
    while let Some(statuses) = tasks.join_next().await {
        for status in statuses.unwrap() {
            *counts.entry(status).or_default() += 1;
        }
    }
    counts
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

#[tokio::test(flavor = "multi_thread")]
async fn alike_backends_get_alike_shares() {
    let backends = [Played::word("a").await, Played::word("b").await, Played::word("c").await];
    let addresses = backends.each_ref().map(|backend| backend.address);
    let stage = Stage::start(&[http("web", None, "/", &addresses)]).await;
    assert_eq!(load(&stage, 6, 200, GET).await, [(200, 1200)].into());
    let shares = backends.each_ref().map(Played::count);
    assert_eq!(shares.iter().sum::<usize>(), 1200);
    // On a busy machine a backend may look slow for a while; the pure tests say how even the shares really are.
    assert!(shares.iter().all(|share| (150..=750).contains(share)), "{shares:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_cannot_be_reached_costs_no_request() {
    let (dead, _held) = dead_end();
    let backends = [Played::word("a").await, Played::word("b").await];
    let stage = Stage::start(&[http("web", None, "/", &[backends[0].address, dead, backends[1].address])]).await;
    assert_eq!(load(&stage, 4, 100, GET).await, [(200, 400)].into());
    assert_eq!(load(&stage, 4, 100, POST).await, [(200, 400)].into(), "nothing was sent, so it may be sent again");

    stage.change(&[http("web", None, "/", &[dead])]).await;
    let reply = Client::get(stage.address, "a", "/").await;
    assert_eq!(reply.status, 502);
    assert!(
        reply.text().contains("could not connect to") && reply.text().contains("after 1 tries"),
        "{}",
        reply.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_may_have_been_done_is_repeated_only_if_it_may_be_done_twice() {
    // Reads the request and hangs up.
    let rude = Played::raw(|mut stream, requests| async move {
        let mut buffer = [0; 4096];
        if stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {
            requests.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let good = Played::word("good").await;
    let stage = Stage::start(&[http("web", None, "/", &[rude.address, good.address])]).await;
    assert_eq!(load(&stage, 2, 50, GET).await, [(200, 100)].into());
    assert!(rude.count() > 0);

    stage.change(&[http("web", None, "/", &[rude.address])]).await;
    let before = rude.count();
    let mut client = Client::connect(stage.address).await;
    client.send(POST).await;
    assert_eq!(client.receive().await.unwrap().status, 502);
    assert_eq!(rude.count() - before, 1);
    client.send(GET).await;
    assert_eq!(client.receive().await.unwrap().status, 502, "and never twice on the same backend");
    assert_eq!(rude.count() - before, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_closes_after_each_answer_without_saying_so_fails_no_request() {
    let hasty = Played::raw(|mut stream, requests| async move {
        let mut buffer = [0; 4096];
        if stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {
            requests.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let other = Played::word("other").await;
    let stage = Stage::start(&[http("web", None, "/", &[hasty.address, other.address])]).await;
    assert_eq!(load(&stage, 3, 100, GET).await, [(200, 300)].into());
    assert!(hasty.count() > 50, "{}", hasty.count());
    stage.change(&[http("web", None, "/", &[hasty.address])]).await;
    assert_eq!(load(&stage, 3, 100, GET).await, [(200, 300)].into(), "also when there is no other");
}
