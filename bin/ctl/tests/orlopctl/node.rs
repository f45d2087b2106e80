//! A node without containers: its replicas do what their image's name says, and its sessions answer by rote.

use orlop_client::{Address, OperatorClient};
use orlop_model::lifecycle::{Exit, Health, Outcome, Phase};
use orlop_model::view::{Object, View};
use orlop_model::{Assignment, Desired, NodeId, Reason, ReplicaStatus, Timestamp};
use orlop_proto::node::v1 as pb;
use pb::node_service_client::NodeServiceClient;
use pb::session_frame::Frame;
use pb::session_start::Kind;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

pub(crate) const NODE: NodeId = NodeId::from_u128(0xa);

type Client = NodeServiceClient<Channel>;

/// Joins as `alpha`, and plays the node until the task is dropped.
pub(crate) async fn join(address: &Address) -> tokio::task::JoinHandle<()> {
    let mut client = Client::new(address.channel().expect("an address"));
    let register = pb::RegisterRequest {
        id: NODE.to_string(),
        name: "alpha".into(),
        cpu_millis: 2000,
        memory_bytes: 1 << 30,
        labels: Default::default(),
        version: "test".into(),
        address: String::new(),
    };
    client.register(register).await.expect("the node is taken");
    let attended = client.attend(pb::AttendRequest { node: NODE.to_string() }).await.expect("attended").into_inner();
    let watch = OperatorClient::new(address.clone()).expect("an address").watch(View::Node(NODE));
    tokio::spawn(async move {
        tokio::join!(invitations(client.clone(), attended), replicas(client, watch));
    })
}

async fn replicas(mut client: Client, mut watch: orlop_client::Watch) {
    while let Ok(changes) = watch.next().await {
        let mut reports = Vec::new();
        for (_, object) in changes.objects {
            let Some(Object::Assignment(assignment)) = object else { continue };
            let status = behave(&assignment);
            if status.phase == assignment.replica.status.phase {
                continue;
            }
            reports.push(pb::ReplicaReport {
                replica: assignment.replica.id.to_string(),
                generation: assignment.replica.generation.0,
                status: Some((&status).into()),
            });
        }
        if !reports.is_empty() {
            let report = pb::ReportRequest { node: NODE.to_string(), replicas: reports };
            client.report(report).await.expect("the report is taken");
        }
    }
}

/// `good` runs, `broken` fails for good, `crash` ends and waits, `loop` does so for the fifth time, `slow` never gets
/// ready.
fn behave(assignment: &Assignment) -> ReplicaStatus {
    let now = now();
    let mut status = ReplicaStatus::pending(now);
    status.address = Some([10, 77, 0, 2 + assignment.replica.slot as u8].into());
    if assignment.replica.desired != Desired::Run {
        status.phase = Phase::Finished(Outcome::Stopped);
        return status;
    }
    match &assignment.workload.image.name {
        image if image.contains("good") => status.phase = Phase::Running(Health::Unchecked),
        image if image.contains("broken") => {
            status.phase = Phase::Finished(Outcome::Failed);
            status.reason = Some(Reason::new("command_not_found", "the image has no /nothing"));
        }
        image if image.contains("crash") || image.contains("loop") => {
            let until = match assignment.replica.status.phase {
                Phase::BackingOff(until) => until,
                _ => Timestamp(now.0 + 60_000),
            };
            status.phase = Phase::BackingOff(until);
            status.failures = if image.contains("loop") { 5 } else { 4 };
            status.restarts = 3;
            status.last_exit = Some(Exit { code: 1, out_of_memory: false, at: now });
            status.reason = Some(Reason::new("exited", "its process exited with code 1"));
        }
        _ => status.phase = Phase::Preparing,
    }
    status
}

fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

async fn invitations(client: Client, mut attended: tonic::Streaming<pb::SessionInvitation>) {
    while let Ok(Some(invitation)) = attended.message().await {
        tokio::spawn(session(client.clone(), invitation));
    }
}

struct Session {
    to: mpsc::Sender<pb::SessionFrame>,
    from: tonic::Streaming<pb::SessionFrame>,
}

impl Session {
    async fn send(&self, frame: Frame) {
        let _ = self.to.send(pb::SessionFrame { frame: Some(frame) }).await;
    }

    async fn next(&mut self) -> Option<Frame> {
        self.from.message().await.ok().flatten().and_then(|message| message.frame)
    }

    /// All input up to its end.
    async fn input(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(Frame::Input(bytes)) = self.next().await {
            if bytes.is_empty() {
                break;
            }
            all.extend(bytes);
        }
        all
    }

    async fn say(&self, stream: pb::Stream, text: impl Into<Vec<u8>>) {
        self.send(Frame::Output(pb::Output { stream: stream.into(), data: text.into() })).await;
    }
}

async fn session(mut client: Client, invitation: pb::SessionInvitation) {
    let (to, frames) = mpsc::channel(8);
    to.try_send(pb::SessionFrame { frame: Some(Frame::Session(invitation.session)) }).expect("there is room");
    let from = client.open_session(ReceiverStream::new(frames)).await.expect("the session is taken").into_inner();
    let mut session = Session { to, from };
    match invitation.start.and_then(|start| start.kind).expect("a kind of session") {
        Kind::Logs(start) => logs(&session, start).await,
        Kind::Exec(start) => exec(&mut session, start).await,
        Kind::ImageImport(start) => {
            let archive = session.input().await;
            session.send(Frame::Images(images(&start.name, archive.len() as u64))).await;
        }
        Kind::ImageRemove(start) => session.send(Frame::Images(images(&start.names.join(" "), 3 << 20))).await,
        Kind::ImageList(_) => session.send(Frame::Images(images("registry.example/good:1", 3 << 20))).await,
    }
    // The control plane ends the stream when it has heard enough.
    while session.next().await.is_some() {}
}

fn images(name: &str, size: u64) -> pb::ImageList {
    let digest = format!("sha256:{}", "ab".repeat(32));
    pb::ImageList { images: vec![pb::ImageInfo { name: name.into(), digest, size, node: String::new() }] }
}

async fn logs(session: &Session, start: pb::LogsStart) {
    let replica = start.replicas.first().cloned().unwrap_or_else(|| "rep_0000000000000000000000000000000b".into());
    let line = |at_ns, stream: pb::Stream, text: &str| {
        Frame::Log(pb::LogLine {
            at_ns,
            stream: stream.into(),
            replica: replica.clone(),
            slot: 0,
            text: text.as_bytes().to_vec(),
        })
    };
    // Who asks for many gets so many, and long ones.
    if let Some(lines @ 1000..) = start.tail {
        for n in 0..u64::from(lines) {
            session.send(line(n, pb::Stream::Stdout, &"x".repeat(4000))).await;
        }
        return session.send(Frame::CaughtUp(pb::CaughtUp {})).await;
    }
    session.send(line(1_000_000_001, pb::Stream::Stdout, "first")).await;
    session.send(line(2_000_000_000, pb::Stream::Stderr, "second")).await;
    session.send(Frame::CaughtUp(pb::CaughtUp {})).await;
    if start.follow {
        session.send(line(3_000_000_000, pb::Stream::Stdout, "later")).await;
        std::future::pending().await
    }
}

async fn exec(session: &mut Session, start: pb::ExecStart) {
    let words: Vec<&str> = start.command.iter().map(String::as_str).collect();
    match words[..] {
        ["cat"] => {
            let input = session.input().await;
            session.say(pb::Stream::Stdout, input).await;
            session.send(Frame::ExitCode(0)).await;
        }
        // Like cat, but takes no more than it has given back.
        ["echo"] => {
            while let Some(Frame::Input(bytes)) = session.next().await {
                if bytes.is_empty() {
                    break;
                }
                session.say(pb::Stream::Stdout, bytes).await;
            }
            session.send(Frame::ExitCode(0)).await;
        }
        ["exit", code] => {
            session.say(pb::Stream::Stderr, "leaving\n").await;
            session.send(Frame::ExitCode(code.parse().expect("a number"))).await;
        }
        // Says the terminal's size, waits for another, says that, and what was typed.
        ["size"] => {
            let size = start.size.expect("a terminal has a size");
            session.say(pb::Stream::Stdout, format!("{}x{}\r\n", size.rows, size.columns)).await;
            while let Some(frame) = session.next().await {
                match frame {
                    Frame::Resize(size) => {
                        session.say(pb::Stream::Stdout, format!("now {}x{}\r\n", size.rows, size.columns)).await;
                    }
                    Frame::Input(bytes) => {
                        session.say(pb::Stream::Stdout, format!("typed {bytes:?}\r\n")).await;
                        if bytes == [3] {
                            break;
                        }
                    }
                    _ => {}
                }
            }
            session.send(Frame::ExitCode(7)).await;
        }
        _ => {
            let reason = Reason::new("command_not_found", format!("there is no {} in the container", words[0]));
            session.send(Frame::Failure((&reason).into())).await;
        }
    }
}
