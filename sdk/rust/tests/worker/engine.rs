//! The other end: streams as the test takes them.

use orlop_model::durable::{
    AssignedTask, EngineFrame, Entry, Fence, Hello, Payload, Record, Seq, Started, WorkerFrame,
};
use orlop_model::{Millis, TaskId, Timestamp, WorkerSessionId, WorkflowRunId};
use orlop_proto::engine::v1 as pb;
use orlop_proto::engine::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use orlop_worker::Worker;
use orlop_worker::payload::encode;
use orlop_worker::worker::WorkerBuilder;
use serde::Serialize;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

const PATIENCE: Duration = Duration::from_secs(10);

struct Service(mpsc::UnboundedSender<Stream>);

#[tonic::async_trait]
impl WorkerService for Service {
    type WorkStream = ReceiverStream<Result<pb::WorkResponse, Status>>;

    async fn work(&self, request: Request<Streaming<pb::WorkRequest>>) -> Result<Response<Self::WorkStream>, Status> {
        let (to_worker, sent) = mpsc::channel(64);
        let stream = Stream { from_worker: request.into_inner(), to_worker, frames: VecDeque::new() };
        self.0.send(stream).map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(sent)))
    }
}

/// An engine that is what the test makes of it, and a worker of it.
pub(crate) struct Engine {
    streams: mpsc::UnboundedReceiver<Stream>,
    pub(crate) stop: CancellationToken,
    pub(crate) worker: JoinHandle<()>,
}

impl Engine {
    pub(crate) async fn with(make: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let (opened, streams) = mpsc::unbounded_channel();
        let server = tonic::transport::Server::builder().add_service(WorkerServiceServer::new(Service(opened)));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let stop = CancellationToken::new();
        let worker = make(Worker::builder(address)).build().expect("a worker");
        let worker = tokio::spawn(worker.run(stop.clone()));
        Self { streams, stop, worker }
    }

    /// The next stream that the worker opens, with what it says first.
    pub(crate) async fn stream(&mut self) -> (Stream, Hello) {
        let mut stream = timeout(PATIENCE, self.streams.recv()).await.expect("a stream in time").expect("a server");
        let hello = stream.wire().await.expect("a first frame");
        (stream, Hello::try_from(hello).expect("a hello"))
    }

    /// The next stream, welcomed.
    pub(crate) async fn welcomed(&mut self, kept_tasks: Vec<(TaskId, Fence)>) -> (Stream, Hello) {
        let (mut stream, hello) = self.stream().await;
        stream.say(EngineFrame::Ping).await;
        stream
            .say(EngineFrame::Welcome {
                session: WorkerSessionId::from_u128(1),
                ping: Millis(1000),
                lost_after: Millis(3000),
                kept_tasks,
                payload_bytes_max: 10_000,
            })
            .await;
        assert!(matches!(stream.frame().await, WorkerFrame::Credit { tasks: 64, runs: 1000 }));
        (stream, hello)
    }
}

pub(crate) struct Stream {
    from_worker: Streaming<pb::WorkRequest>,
    to_worker: mpsc::Sender<Result<pb::WorkResponse, Status>>,
    frames: VecDeque<pb::WorkerFrame>,
}

impl Stream {
    pub(crate) async fn say(&mut self, frame: EngineFrame) {
        let message = pb::WorkResponse { frames: vec![frame.into()] };
        self.to_worker.send(Ok(message)).await.expect("a worker that listens");
    }

    async fn wire(&mut self) -> Option<pb::WorkerFrame> {
        while self.frames.is_empty() {
            let message = timeout(PATIENCE, self.from_worker.message()).await.expect("a word of the worker in time");
            self.frames.extend(message.ok().flatten()?.frames);
        }
        self.frames.pop_front()
    }

    /// The next frame.
    pub(crate) async fn frame(&mut self) -> WorkerFrame {
        WorkerFrame::try_from(self.wire().await.expect("another frame")).expect("a frame that can be read")
    }

    /// Nothing comes any more.
    pub(crate) async fn end(&mut self) {
        assert_eq!(self.wire().await, None);
    }

    /// The worker is asked whether it is there; all that it had to say before comes first.
    pub(crate) async fn assert_silent(&mut self) {
        self.say(EngineFrame::Ping).await;
        assert_eq!(self.frame().await, WorkerFrame::Pong);
    }
}

pub(crate) const FENCE: Fence = Fence(9);

pub(crate) fn json(value: &(impl Serialize + ?Sized)) -> Payload {
    encode(value).expect("JSON")
}

pub(crate) fn task(id: u128, name: &str, input: &(impl Serialize + ?Sized)) -> EngineFrame {
    EngineFrame::TaskAssigned(Box::new(AssignedTask {
        task: TaskId::from_u128(id),
        fence: FENCE,
        name: name.into(),
        queue: Default::default(),
        input: json(input),
        attempt: 1,
        checkpoint: None,
        start_to_close: None,
        heartbeat: None,
        parent: String::new(),
        root: String::new(),
        traceparent: String::new(),
        last_failure: None,
    }))
}

pub(crate) fn entry(seq: u64, record: Record) -> Entry {
    Entry { seq: Seq(seq), at: Timestamp(1000 + seq), record }
}

pub(crate) fn started(input: &(impl Serialize + ?Sized)) -> Entry {
    let started = Started {
        workflow: "w".into(),
        version: String::new(),
        input: json(input),
        seed: 1,
        continues: None,
        traceparent: String::new(),
    };
    entry(0, Record::Started(started))
}

pub(crate) const RUN: WorkflowRunId = WorkflowRunId::from_u128(0xab);

pub(crate) fn run(entries: Vec<Entry>, more: bool) -> EngineFrame {
    EngineFrame::RunAssigned { run: RUN, fence: FENCE, workflow: "w".into(), entries, more }
}
