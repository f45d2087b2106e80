//! Events and logs as they come.

use super::http::{Answer, Http};
use super::{spec, start};
use crate::sessions::with_logs;
use crate::world::World;
use serde_json::Value;
use tokio::sync::mpsc;

/// One server-sent event: its kind, its id and what it says.
#[derive(Debug)]
struct Heard {
    kind: String,
    id: Option<String>,
    data: Value,
}

async fn hear(stream: &mut Answer) -> Option<Heard> {
    let text = stream.until("\n\n").await?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let data = field("data").map_or(Value::Null, |data| serde_json::from_str(data).expect("JSON"));
    Some(Heard { kind: field("event").unwrap_or_default().to_owned(), id: field("id").map(str::to_owned), data })
}

/// Hears events up to an id, after which a reader could go on.
async fn hear_out(stream: &mut Answer) -> (Vec<Heard>, String) {
    let mut all = Vec::new();
    loop {
        let heard = hear(stream).await.expect("the stream goes on");
        match heard.id.clone() {
            Some(id) => return (all, id),
            None => all.push(heard),
        }
    }
}

async fn events(http: &Http, path: &str, last: Option<&str>) -> Answer {
    let headers: Vec<(&str, &str)> = last.map(|last| ("last-event-id", last)).into_iter().collect();
    let answer = http.send("GET", path, &headers, "").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/event-stream"));
    answer
}

const STREAM: &str = "/api/v1/events/stream";

#[tokio::test]
async fn events_are_heard_once_and_a_reader_goes_on_where_it_was() {
    let (mut world, http) = start().await;
    let listed = http.get("/api/v1/events").await.expect(200).await;
    let mut stream = events(&http, STREAM, None).await;
    let (first, _) = hear_out(&mut stream).await;
    assert_eq!(first[0].kind, "snapshot");
    let begun = |heard: &[Heard]| heard.iter().map(|heard| heard.data.clone()).collect::<Vec<_>>();
    assert_eq!(begun(&first[1..]), *listed["events"].as_array().expect("a list"));

    http.deploy("shop", spec("shop", "1"), &[]).await.expect(200).await;
    let (new, id) = hear_out(&mut stream).await;
    assert!(new.iter().any(|heard| heard.data["reason"]["code"] == "deployed"), "{new:?}");
    // From a list one goes on the same way.
    let listed_id = listed["last_event_id"].as_str().expect("an id");
    let mut from_list = events(&http, &format!("{STREAM}?after={listed_id}"), None).await;
    assert_eq!(begun(&hear_out(&mut from_list).await.0), begun(&new));

    drop(stream);
    http.deploy("shop", spec("shop", "2"), &[]).await.expect(200).await;
    let mut resumed = events(&http, &format!("{STREAM}?after={listed_id}"), Some(&id)).await;
    let (missed, _) = hear_out(&mut resumed).await;
    let sequences: Vec<u64> = missed.iter().filter_map(|heard| heard.data["sequence"].as_u64()).collect();
    let before = new.last().expect("an event").data["sequence"].as_u64().expect("a number");
    assert_eq!(sequences.first(), Some(&(before + 1)), "nothing is repeated, nothing is left out: {missed:?}");

    // What another cluster said is not built on.
    let other = format!("clu_{}/3", "0".repeat(32));
    let mut anew = events(&http, STREAM, Some(&other)).await;
    assert_eq!(hear_out(&mut anew).await.0[0].kind, "snapshot");

    world.stop().await;
    while let Some(heard) = hear(&mut resumed).await {
        if heard.kind == "problem" {
            assert_eq!(heard.data["problem"]["code"], "unavailable");
            return;
        }
    }
    panic!("the stream ended without saying why");
}

#[tokio::test]
async fn a_stream_lasts_as_long_as_it_was_asked_to() {
    let (_world, http) = start().await;
    let text = events(&http, &format!("{STREAM}?seconds=1&deployment=none"), None).await.text().await;
    assert!(text.starts_with("event: snapshot\n"), "{text}");
    assert_eq!(text.matches("event: ").count(), 1, "nothing happened there: {text}");
}

/// A service with logs on one node.
async fn with_service(http: &Http, world: &World) -> (crate::world::Agent, mpsc::Sender<(u64, &'static str)>) {
    let mut agent = world.agent("alpha").await;
    let (write, live) = mpsc::channel(4);
    with_logs(&mut agent, vec![(1, "one"), (2, "two"), (3, "three")], Some(live));
    http.deploy("shop", spec("shop", "1"), &[]).await.expect(200).await;
    (agent, write)
}

const LOGS: &str = "/api/v1/deployments/shop/services/api/logs";

#[tokio::test]
async fn logs_come_as_json_lines_or_as_events_and_are_followed() {
    let (world, http) = start().await;
    let (_agent, write) = with_service(&http, &world).await;
    let answer = http.get(&format!("{LOGS}?tail=2")).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/jsonl"));
    let text = answer.text().await;
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.iter().map(|line| line["text"].as_str().expect("text")).collect::<Vec<_>>(), ["two", "three"]);
    assert_eq!(lines[0]["at"], "1970-01-01T00:00:00.000000002Z");
    assert_eq!(lines[0]["stream"], "stdout");

    let accept = [("accept", "text/event-stream")];
    let mut followed = http.send("GET", &format!("{LOGS}?follow=true&tail=1"), &accept, "").await;
    assert_eq!(hear(&mut followed).await.expect("a line").data["text"], "three");
    write.send((4, "four")).await.expect("the agent reads");
    let heard = hear(&mut followed).await.expect("a line");
    assert_eq!((heard.kind.as_str(), &heard.data["text"]), ("line", &Value::from("four")));
}

#[tokio::test]
async fn logs_that_cannot_be_had_are_refused_at_once_or_missed_at_the_end() {
    let (world, http) = start().await;
    let refused = http.get(LOGS).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"), "no node is there");
    let (_alpha, _write) = with_service(&http, &world).await;
    let mut beta = world.agent("beta").await;
    beta.serve_sessions(|_, session| async move {
        let reason = orlop_proto::cluster::v1::Reason { code: "io".into(), message: "its disk is broken".into() };
        session.say(orlop_proto::node::v1::session_frame::Frame::Failure(reason)).await;
    });
    let text = http.get(LOGS).await.text().await;
    let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert!(text.contains("\"three\""), "what the others have is not lost: {text}");
    assert!(last["problem"]["detail"].as_str().is_some_and(|detail| detail.contains("its disk is broken")), "{text}");
    for wrong in ["tail=100001", "since=yesterday", "replica=api", "follow=1", "seconds=0"] {
        http.get(&format!("{LOGS}?{wrong}")).await.expect(400).await;
    }
}

#[tokio::test]
async fn what_is_no_utf8_comes_whole_beside_what_can_be_shown() {
    let (world, http) = start().await;
    let mut agent = world.agent("alpha").await;
    agent.serve_sessions(|_, session| async move {
        use orlop_proto::node::v1 as node;
        let line = node::LogLine {
            at_ns: 1,
            stream: node::Stream::Stderr.into(),
            replica: orlop_model::ReplicaId::from_u128(1).to_string(),
            slot: 0,
            text: vec![b'a', 0xff],
        };
        session.say(node::session_frame::Frame::Log(line)).await;
        session.say(node::session_frame::Frame::CaughtUp(node::CaughtUp {})).await;
    });
    http.deploy("shop", spec("shop", "1"), &[]).await.expect(200).await;
    let line = http.get(LOGS).await.json().await;
    assert_eq!(
        (&line["text"], &line["bytes"], &line["stream"]),
        (&"a\u{fffd}".into(), &"Yf8=".into(), &"stderr".into())
    );
}
