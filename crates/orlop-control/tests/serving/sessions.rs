//! Sessions between operators and nodes, end to end, with agents that play their part.

use crate::world::{Agent, PATIENCE, Played, World};
use orlop_client::{Error, LogQuery};
use orlop_model::{Health, Phase, ReplicaId, ServiceRef};
use orlop_proto::node::v1 as node;
use orlop_proto::operator::v1 as pb;
use pb::operator_service_client::OperatorServiceClient;
use session_frame::Frame;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use node::session_frame;

fn api() -> ServiceRef {
    "shop/api".parse().expect("a service")
}

fn query(follow: bool, tail: Option<u32>) -> LogQuery {
    LogQuery { service: api(), replica: None, follow, since: None, tail }
}

fn line(at_ns: u64, text: &str) -> Frame {
    Frame::Log(node::LogLine {
        at_ns,
        stream: node::Stream::Stdout.into(),
        replica: ReplicaId::from_u128(1).to_string(),
        slot: 0,
        text: text.into(),
    })
}

/// An agent whose logs are these, at these times, and then one more line for each message of the channel.
pub(crate) fn with_logs(
    agent: &mut Agent,
    past: Vec<(u64, &'static str)>,
    live: Option<mpsc::Receiver<(u64, &'static str)>>,
) {
    let live = std::sync::Arc::new(tokio::sync::Mutex::new(live));
    agent.serve_sessions(move |kind, session| {
        let (past, live) = (past.clone(), live.clone());
        async move {
            let node::session_start::Kind::Logs(start) = kind else { panic!("{kind:?}") };
            let skip = start.tail.map_or(0, |tail| past.len().saturating_sub(tail as usize));
            let new = past.into_iter().skip(skip).filter(|(at, _)| *at >= start.since_ms.saturating_mul(1_000_000));
            for (at, text) in new {
                session.say(line(at, text)).await;
            }
            session.say(Frame::CaughtUp(node::CaughtUp {})).await;
            if let (true, Some(live)) = (start.follow, live.lock().await.as_mut()) {
                while let Some((at, text)) = live.recv().await {
                    session.say(line(at, text)).await;
                }
            }
        }
    });
}

async fn texts(logs: &mut orlop_client::Logs, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        let next = tokio::time::timeout(PATIENCE, logs.next()).await.expect("a line in time").expect("a line");
        match next {
            Some(line) => texts.push(String::from_utf8(line.text).expect("text")),
            None => break,
        }
    }
    texts
}

#[tokio::test]
async fn logs_of_several_nodes_are_merged_by_time_and_then_followed() {
    let world = World::start().await;
    let (mut alpha, mut beta) = (world.agent("alpha").await, world.agent("beta").await);
    let (write, live) = mpsc::channel(4);
    with_logs(&mut alpha, vec![(1, "a1"), (4, "a4"), (5, "a5")], Some(live));
    with_logs(&mut beta, vec![(2, "b2"), (3, "b3"), (6, "b6")], None);

    let mut logs = world.operator().logs(&query(true, None)).await.expect("logs");
    assert_eq!(texts(&mut logs, 6).await, ["a1", "b2", "b3", "a4", "a5", "b6"]);
    write.send((7, "a7")).await.expect("the agent reads");
    assert_eq!(texts(&mut logs, 1).await, ["a7"]);

    let mut newest = world.operator().logs(&query(false, Some(3))).await.expect("logs");
    assert_eq!(texts(&mut newest, 10).await, ["a4", "a5", "b6"], "the newest of all, not of each");
}

#[tokio::test]
async fn who_follows_logs_hears_on_when_the_agent_was_away_and_nothing_twice() {
    let world = World::start().await;
    let mut alpha = world.agent("alpha").await;
    let (write, live) = mpsc::channel(4);
    with_logs(&mut alpha, vec![(1_000_001, "a1"), (1_000_002, "a2")], Some(live));
    let mut logs = world.operator().logs(&query(true, None)).await.expect("logs");
    assert_eq!(texts(&mut logs, 2).await, ["a1", "a2"]);
    let id = alpha.node;
    drop((alpha, write));

    // It is back, reads what is on its disk from the time it is asked for, and goes on.
    let mut alpha = world.agent_with_id("alpha", id).await;
    let (write, live) = mpsc::channel(4);
    with_logs(&mut alpha, vec![(1_000_001, "a1"), (1_000_002, "a2"), (1_000_003, "a3")], Some(live));
    assert_eq!(texts(&mut logs, 1).await, ["a3"]);
    write.send((1_000_004, "a4")).await.expect("the agent reads");
    assert_eq!(texts(&mut logs, 1).await, ["a4"]);

    // And so is one that was never there before.
    let mut beta = world.agent("beta").await;
    let later = u64::try_from(i64::MAX).expect("a time in the year 2262");
    with_logs(&mut beta, vec![(later, "b5")], None);
    assert_eq!(texts(&mut logs, 1).await, ["b5"]);
}

#[tokio::test]
async fn an_agent_that_goes_before_it_had_anything_new_is_asked_again_from_its_last_line() {
    for (past, tail) in
        [(vec![(1_000_000_001, "a1"), (2_000_000_002, "a2")], Some(1)), (vec![], Some(1)), (vec![], None)]
    {
        let world = World::start().await;
        let (mut alpha, mut beta) = (world.agent("alpha").await, world.agent("beta").await);
        let (beta_writes, beta_live) = mpsc::channel(1);
        with_logs(&mut beta, vec![], Some(beta_live));
        let (write, live) = mpsc::channel(4);
        with_logs(&mut alpha, past.clone(), Some(live));
        let mut logs = world.operator().logs(&query(true, tail)).await.expect("logs");
        let last: Vec<&str> = past.last().iter().map(|(_, text)| *text).collect();
        assert_eq!(texts(&mut logs, last.len()).await, last);
        // Beta's new line passes only when all has been heard of what was there before.
        beta_writes.send((1, "b1")).await.expect("the agent reads");
        assert_eq!(texts(&mut logs, 1).await, ["b1"]);
        let id = alpha.node;
        drop((alpha, write));

        // What it wrote while nobody heard it, by a clock that is far behind ours.
        let mut alpha = world.agent_with_id("alpha", id).await;
        let (write, live) = mpsc::channel(4);
        with_logs(&mut alpha, past.into_iter().chain([(2_500_000_000, "a3")]).collect(), Some(live));
        assert_eq!(texts(&mut logs, 1).await, ["a3"]);
        write.send((2_500_000_001, "a4")).await.expect("the agent reads");
        assert_eq!(texts(&mut logs, 1).await, ["a4"]);
    }
}

#[tokio::test]
async fn logs_of_nothing_that_is_known_are_refused() {
    let world = World::start().await;
    let mut alpha = world.agent("alpha").await;
    with_logs(&mut alpha, vec![], None);
    let mut logs = world.operator().logs(&query(false, None)).await.expect("a stream");
    let error = logs.next().await.expect_err("nothing of that name");
    assert!(matches!(&error, Error::NotFound(m) if m.contains("shop/api")), "{error:?}");
    world.deploy("shop").await;
    let mut logs = world.operator().logs(&query(false, None)).await.expect("a stream");
    assert_eq!(logs.next().await.expect("an end"), None, "a service that has written nothing");
}

#[tokio::test]
async fn a_node_that_fails_does_not_keep_the_lines_of_the_others() {
    let world = World::start().await;
    let (mut alpha, mut beta) = (world.agent("alpha").await, world.agent("beta").await);
    with_logs(&mut alpha, vec![(1, "a1")], None);
    beta.serve_sessions(|_, session| async move {
        let failure = orlop_proto::cluster::v1::Reason { code: "io".into(), message: "the disk is broken".into() };
        session.say(Frame::Failure(failure)).await;
    });
    let mut logs = world.operator().logs(&query(false, None)).await.expect("logs");
    assert_eq!(texts(&mut logs, 1).await, ["a1"]);
    let error = logs.next().await.expect_err("not all was heard");
    assert!(error.to_string().contains("the disk is broken"), "{error}");
}

#[tokio::test]
async fn logs_that_break_off_are_not_taken_for_all_there_is() {
    let world = World::start().await;
    let mut alpha = world.agent("alpha").await;
    alpha.serve_sessions(|_, session| async move {
        session.say(line(1, "a1")).await;
    });
    let mut logs = world.operator().logs(&query(false, None)).await.expect("logs");
    assert_eq!(texts(&mut logs, 1).await, ["a1"]);
    let error = logs.next().await.expect_err("the agent did not say that this is all");
    assert!(matches!(&error, Error::Unavailable(m) if m.contains("went away")), "{error:?}");
}

#[tokio::test]
async fn an_operator_who_goes_away_ends_the_session() {
    let world = World::start().await;
    let mut alpha = world.agent("alpha").await;
    let (ended, mut end) = mpsc::channel(1);
    alpha.serve_sessions(move |_, mut session: Played| {
        let ended = ended.clone();
        async move {
            session.say(line(1, "a1")).await;
            assert_eq!(session.hear().await, None, "nothing comes but the end");
            session.let_go().await;
            ended.send(()).await.expect("the test waits");
        }
    });
    let mut logs = world.operator().logs(&query(true, None)).await.expect("logs");
    assert_eq!(texts(&mut logs, 1).await, ["a1"]);
    drop(logs);
    tokio::time::timeout(PATIENCE, end.recv()).await.expect("the agent learns of it");
}

#[tokio::test]
async fn an_agent_that_does_not_open_the_session_is_named() {
    let world = World::start_with(|config| config.session_timeout = Duration::from_millis(50)).await;
    let _alpha = world.agent("alpha").await;
    let mut logs = world.operator().logs(&query(false, None)).await.expect("logs");
    let error = logs.next().await.expect_err("nobody opened it");
    assert!(matches!(&error, Error::TimedOut(m) if m.contains("did not open")), "{error:?}");
    let nobody = World::start().await;
    let mut logs = nobody.operator().logs(&query(false, None)).await.expect("a stream");
    assert!(matches!(logs.next().await.expect_err("nobody is there"), Error::Unavailable(_)));
}

#[tokio::test]
async fn a_command_is_run_in_a_replica() {
    let world = World::start().await;
    let mut alpha = world.agent("alpha").await;
    let replica = world.place("shop", alpha.node).await;
    let pending =
        world.operator().exec(replica, vec!["cat".into()], None).await.map(drop).expect_err("it does not run");
    assert!(matches!(&pending, Error::Refused(m) if m.contains("pending")), "{pending:?}");
    alpha.report(replica, Phase::Running(Health::Unchecked)).await;
    // Says everything back, and ends with the number of bytes.
    alpha.serve_sessions(|kind, mut session| async move {
        let node::session_start::Kind::Exec(start) = kind else { panic!("{kind:?}") };
        assert_eq!(start.command, ["cat"]);
        let mut count = 0;
        loop {
            match session.hear().await {
                Some(Frame::Input(bytes)) if bytes.is_empty() => break,
                Some(Frame::Input(data)) => {
                    count += data.len();
                    let output = node::Output { stream: node::Stream::Stdout.into(), data };
                    session.say(Frame::Output(output)).await;
                }
                other => panic!("{other:?}"),
            }
        }
        session.say(Frame::ExitCode(count as u32)).await;
    });
    let mut client = OperatorServiceClient::new(world.channel());
    let (requests, frames) = mpsc::channel(4);
    let start =
        node::ExecStart { replica: replica.to_string(), command: vec!["cat".into()], terminal: false, size: None };
    for frame in [
        pb::exec_request::Frame::Start(start),
        pb::exec_request::Frame::Input(b"hello".to_vec()),
        pb::exec_request::Frame::Input(Vec::new()),
    ] {
        requests.send(pb::ExecRequest { frame: Some(frame) }).await.expect("room");
    }
    let mut output = client.exec(ReceiverStream::new(frames)).await.expect("an exec").into_inner();
    let mut heard = Vec::new();
    let code = loop {
        match output.message().await.expect("a frame").and_then(|r| r.frame) {
            Some(pb::exec_response::Frame::Output(output)) => heard.extend(output.data),
            Some(pb::exec_response::Frame::ExitCode(code)) => break code,
            None => panic!("the stream ended without an exit code"),
        }
    };
    assert_eq!((heard.as_slice(), code), (&b"hello"[..], 5));
}

#[tokio::test]
async fn an_archive_goes_to_all_nodes_and_each_says_what_was_in_it() {
    let world = World::start().await;
    let (mut alpha, mut beta) = (world.agent("alpha").await, world.agent("beta").await);
    for agent in [&mut alpha, &mut beta] {
        agent.serve_sessions(|kind, mut session| async move {
            let mut size = 0;
            if let node::session_start::Kind::ImageImport(start) = &kind {
                assert_eq!(start.name, "a/hello:1");
                while let Some(Frame::Input(bytes)) = session.hear().await {
                    if bytes.is_empty() {
                        break;
                    }
                    size += bytes.len() as u64;
                }
            }
            let image =
                node::ImageInfo { name: "a/hello:1".into(), digest: "sha256:0".into(), size, node: String::new() };
            session.say(Frame::Images(node::ImageList { images: vec![image] })).await;
        });
    }
    let archive = std::io::Cursor::new(vec![7_u8; 3_000_000]);
    let imported = world.operator().import_image("a/hello:1", &[], archive, |_| {}).await.expect("an import");
    assert_eq!(imported.iter().map(|i| i.size).collect::<Vec<_>>(), [3_000_000, 3_000_000]);
    let nodes: std::collections::BTreeSet<_> = imported.iter().filter_map(|i| i.node).collect();
    assert_eq!(nodes, [alpha.node, beta.node].into());

    let mut client = OperatorServiceClient::new(world.channel());
    let images = client.list_images(pb::ListImagesRequest {}).await.expect("a list").into_inner().images;
    assert_eq!(images.len(), 2);
}

#[tokio::test]
async fn a_node_that_refuses_an_archive_is_heard_before_its_end() {
    let world = World::start().await;
    let mut alpha = world.agent("alpha").await;
    alpha.serve_sessions(|_, session| async move {
        let failure =
            orlop_proto::cluster::v1::Reason { code: "invalid_archive".into(), message: "no index.json".into() };
        session.say(Frame::Failure(failure)).await;
    });
    // An archive without an end.
    let (requests, frames) = mpsc::channel(1);
    let start = pb::ImportImageStart { name: String::new(), nodes: Vec::new() };
    tokio::spawn(async move {
        let mut frame = pb::import_image_request::Frame::Start(start);
        while requests.send(pb::ImportImageRequest { frame: Some(frame) }).await.is_ok() {
            frame = pb::import_image_request::Frame::Chunk(vec![0; 1000]);
        }
    });
    let mut client = OperatorServiceClient::new(world.channel());
    let import = tokio::time::timeout(PATIENCE, client.import_image(ReceiverStream::new(frames)));
    let status = import.await.expect("heard in time").expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("alpha: no index.json"), "{status:?}");
}

#[tokio::test]
async fn a_session_that_nobody_waits_for_cannot_be_opened() {
    let world = World::start().await;
    let (to_control, frames) = mpsc::channel(1);
    let unknown = Frame::Session(orlop_model::SessionId::from_u128(1).to_string());
    to_control.send(node::SessionFrame { frame: Some(unknown) }).await.expect("room");
    let mut client = node::node_service_client::NodeServiceClient::new(world.channel());
    let status = client.open_session(ReceiverStream::new(frames)).await.map(drop).expect_err("unknown");
    assert_eq!(status.code(), Code::NotFound);
}
