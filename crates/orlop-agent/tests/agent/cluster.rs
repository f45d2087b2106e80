//! A control plane and an overlay daemon in memory, on real sockets, for an agent under test.

use orlop_agent::{Config, Running};
use orlop_model::spec::Workload;
use orlop_model::*;
use orlop_proto::node::v1 as pb;
use orlop_proto::node::v1::node_service_server::{NodeService, NodeServiceServer};
use orlop_proto::node::v1::session_frame::Frame;
use orlop_proto::overlay::v1 as overlay;
use orlop_proto::overlay::v1::overlay_service_server::{OverlayService, OverlayServiceServer};
use orlop_proto::watch::v1 as watching;
use orlop_proto::watch::v1::watch_service_server::{WatchService, WatchServiceServer};
use orlop_runtime::ContainerRuntime;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream, WatchStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// The node's name.
pub(crate) const NODE: &str = "alpha";
pub(crate) const CLUSTER: ClusterId = ClusterId::from_u128(42);

/// What the agent under test has to do with, but the runtime.
pub(crate) struct Cluster {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) control: Arc<Control>,
    pub(crate) overlay: Arc<FakeOverlay>,
    servers: Mutex<BTreeMap<&'static str, tokio::task::JoinHandle<()>>>,
}

pub(crate) struct Control {
    view: watch::Sender<(u64, BTreeMap<ReplicaId, Assignment>)>,
    pub(crate) reports: watch::Sender<Vec<(ReplicaId, ReplicaStatus)>>,
    pub(crate) events: watch::Sender<Vec<(String, String)>>,
    nodes: watch::Sender<Option<NodeId>>,
    inviting: Mutex<Option<mpsc::Sender<Result<pb::SessionInvitation, Status>>>>,
    sessions: Mutex<BTreeMap<String, Waiting>>,
}

struct Waiting {
    to_caller: mpsc::Sender<Frame>,
    from_caller: mpsc::Receiver<Result<pb::SessionFrame, Status>>,
}

/// The caller's end of a session.
pub(crate) struct Session {
    pub(crate) frames: mpsc::Receiver<Frame>,
    pub(crate) send: mpsc::Sender<Result<pb::SessionFrame, Status>>,
}

impl Session {
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        tokio::time::timeout(Duration::from_secs(20), self.frames.recv()).await.expect("a frame in time")
    }

    pub(crate) async fn say(&self, frame: Frame) {
        self.send.send(Ok(pb::SessionFrame { frame: Some(frame) })).await.expect("the session is open");
    }
}

#[derive(Default)]
pub(crate) struct FakeOverlay {
    pub(crate) attached: Mutex<BTreeSet<ReplicaId>>,
    /// `attach` or `detach`: calls that wait before they do anything.
    pub(crate) held: watch::Sender<Option<&'static str>>,
    /// The call that came last.
    pub(crate) asked: watch::Sender<&'static str>,
}

impl FakeOverlay {
    async fn enter(&self, call: &'static str) {
        self.asked.send_replace(call);
        self.held.subscribe().wait_for(|held| *held != Some(call)).await.expect("the sender lives");
    }
}

impl Cluster {
    pub(crate) fn start() -> Cluster {
        let control = Arc::new(Control {
            view: watch::Sender::new((1, BTreeMap::new())),
            reports: watch::Sender::new(Vec::new()),
            events: watch::Sender::new(Vec::new()),
            nodes: watch::Sender::new(None),
            inviting: Mutex::new(None),
            sessions: Mutex::new(BTreeMap::new()),
        });
        let dir = tempfile::tempdir().expect("a directory");
        let cluster = Cluster { dir, control, overlay: Arc::default(), servers: Mutex::new(BTreeMap::new()) };
        cluster.start_control();
        cluster
    }

    pub(crate) fn start_control(&self) {
        let router = tonic::transport::Server::builder()
            .add_service(NodeServiceServer::from_arc(self.control.clone()))
            .add_service(WatchServiceServer::from_arc(self.control.clone()));
        self.serve("control", router);
    }

    pub(crate) fn start_overlay(&self) {
        let router =
            tonic::transport::Server::builder().add_service(OverlayServiceServer::from_arc(self.overlay.clone()));
        self.serve("overlay", router);
    }

    fn serve(&self, name: &'static str, router: tonic::transport::server::Router) {
        let path = self.dir.path().join(name);
        let _ = std::fs::remove_file(&path);
        let listener = UnixListenerStream::new(UnixListener::bind(path).expect("bound"));
        let task = tokio::spawn(async move { router.serve_with_incoming(listener).await.expect("served") });
        self.servers.lock().insert(name, task);
    }

    /// Takes a server away, with its connections.
    pub(crate) fn stop(&self, name: &'static str) {
        if let Some(task) = self.servers.lock().remove(name) {
            task.abort();
        }
        if name == "control" {
            // The streams of a server that is gone are gone.
            self.control.inviting.lock().take();
            self.control.nodes.send_replace(None);
        }
    }

    pub(crate) fn config(&self) -> Config {
        let control = format!("unix:{}", self.dir.path().join("control").display());
        let mut config = Config::new(self.dir.path().join("data"), control, self.dir.path().join("overlay"));
        config.name = Some(NODE.parse().expect("a name"));
        config.resync = Duration::from_millis(300);
        config.timings.restart_first = Millis(10);
        config.timings.restart_base = Millis(50);
        config.timings.retry_base = Millis(10);
        config.timings.retry_max = Millis(100);
        config.timings.init_pause = Millis(20);
        config
    }

    pub(crate) async fn agent(&self, runtime: Arc<dyn ContainerRuntime>) -> Running {
        self.agent_with(self.config(), runtime).await
    }

    pub(crate) async fn agent_with(&self, config: Config, runtime: Arc<dyn ContainerRuntime>) -> Running {
        orlop_agent::start(config, runtime, CancellationToken::new()).await.expect("started")
    }

    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.servers.lock().values().for_each(|task| task.abort());
    }
}

impl Control {
    pub(crate) async fn node(&self) -> NodeId {
        let mut nodes = self.nodes.subscribe();
        let node = *within(nodes.wait_for(Option::is_some)).await.expect("the sender lives");
        node.expect("waited for")
    }

    pub(crate) fn change(&self, f: impl FnOnce(&mut BTreeMap<ReplicaId, Assignment>)) {
        self.view.send_modify(|(revision, assignments)| {
            *revision += 1;
            f(assignments);
        });
    }

    /// Places a replica on the node, or replaces its assignment.
    pub(crate) fn assign(&self, assignment: Assignment) {
        self.change(|all| _ = all.insert(assignment.replica.id, assignment));
    }

    pub(crate) fn order(&self, replica: ReplicaId, desired: Desired) {
        self.change(|all| all.get_mut(&replica).expect("assigned").replica.desired = desired);
    }

    pub(crate) fn withdraw(&self, replica: ReplicaId) {
        self.change(|all| _ = all.remove(&replica));
    }

    /// The newest report of the replica.
    pub(crate) fn last(&self, replica: ReplicaId) -> Option<ReplicaStatus> {
        self.reports.borrow().iter().rev().find(|(id, _)| *id == replica).map(|(_, status)| status.clone())
    }

    /// Waits until the newest report of the replica is as wanted.
    pub(crate) async fn until(&self, replica: ReplicaId, holds: impl Fn(&ReplicaStatus) -> bool) -> ReplicaStatus {
        let mut reports = self.reports.subscribe();
        let newest = |reports: &Vec<(ReplicaId, ReplicaStatus)>| {
            reports.iter().rev().find(|(id, _)| *id == replica).map(|(_, status)| status.clone())
        };
        let wait = reports.wait_for(|reports| newest(reports).is_some_and(|status| holds(&status)));
        match tokio::time::timeout(Duration::from_secs(30), wait).await {
            Ok(reports) => newest(&reports.expect("the sender lives")).expect("waited for"),
            Err(_) => panic!("it does not come: {:?}", self.reports.borrow()),
        }
    }

    pub(crate) async fn until_phase(&self, replica: ReplicaId, phase: Phase) -> ReplicaStatus {
        self.until(replica, |status| status.phase == phase).await
    }

    pub(crate) async fn until_event(&self, code: &str) {
        let mut events = self.events.subscribe();
        let wait = events.wait_for(|events| events.iter().any(|(found, _)| found == code));
        within(wait).await.expect("the sender lives");
    }

    /// Asks the agent for a session.
    pub(crate) async fn session(&self, name: &str, start: pb::session_start::Kind) -> Session {
        self.session_of(name, start, 1000).await
    }

    /// Asks the agent for a session in which so many frames are taken that nobody has read yet.
    pub(crate) async fn session_of(&self, name: &str, start: pb::session_start::Kind, unread: usize) -> Session {
        self.node().await;
        let (to_caller, frames) = mpsc::channel(unread);
        let (send, from_caller) = mpsc::channel(100);
        self.sessions.lock().insert(name.to_owned(), Waiting { to_caller, from_caller });
        let inviting = self.inviting.lock().clone().expect("the agent attends");
        let start = Some(pb::SessionStart { kind: Some(start) });
        inviting.send(Ok(pb::SessionInvitation { session: name.to_owned(), start })).await.expect("it listens");
        Session { frames, send }
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("in time")
}

/// Waits until a condition that nobody announces holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not come: {what}");
}

type Stream<T> = std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl NodeService for Control {
    async fn register(&self, request: Request<pb::RegisterRequest>) -> Result<Response<pb::RegisterResponse>, Status> {
        request.into_inner().id.parse::<NodeId>().expect("a node id");
        let response = pb::RegisterResponse { cluster: CLUSTER.to_string(), subnet: "10.0.0.0/24".into(), revision: 1 };
        Ok(Response::new(response))
    }

    async fn report(&self, request: Request<pb::ReportRequest>) -> Result<Response<pb::ReportResponse>, Status> {
        for report in request.into_inner().replicas {
            let status = report.status.expect("a status").try_into().expect("a good status");
            let replica = report.replica.parse().expect("a replica");
            self.reports.send_modify(|reports| reports.push((replica, status)));
        }
        Ok(Response::new(pb::ReportResponse::default()))
    }

    async fn record_events(
        &self,
        request: Request<pb::RecordEventsRequest>,
    ) -> Result<Response<pb::RecordEventsResponse>, Status> {
        for event in request.into_inner().events {
            let reason = event.reason.expect("a reason");
            self.events.send_modify(|events| events.push((reason.code, reason.message)));
        }
        Ok(Response::new(pb::RecordEventsResponse {}))
    }

    async fn report_endpoints(
        &self,
        _: Request<pb::ReportEndpointsRequest>,
    ) -> Result<Response<pb::ReportEndpointsResponse>, Status> {
        Err(Status::unimplemented("no agent calls this"))
    }

    type AttendStream = Stream<pb::SessionInvitation>;

    async fn attend(&self, request: Request<pb::AttendRequest>) -> Result<Response<Self::AttendStream>, Status> {
        let (send, receive) = mpsc::channel(10);
        *self.inviting.lock() = Some(send);
        let node = request.into_inner().node.parse().expect("a node id");
        self.nodes.send_replace(Some(node));
        Ok(Response::new(Box::pin(ReceiverStream::new(receive))))
    }

    type OpenSessionStream = Stream<pb::SessionFrame>;

    async fn open_session(
        &self,
        request: Request<Streaming<pb::SessionFrame>>,
    ) -> Result<Response<Self::OpenSessionStream>, Status> {
        let mut frames = request.into_inner();
        let first = frames.message().await?.and_then(|m| m.frame);
        let Some(Frame::Session(session)) = first else { return Err(Status::invalid_argument("no session")) };
        let waiting = self.sessions.lock().remove(&session).ok_or(Status::not_found("no such session"))?;
        tokio::spawn(async move {
            while let Ok(Some(message)) = frames.message().await {
                if let Some(frame) = message.frame
                    && waiting.to_caller.send(frame).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(waiting.from_caller))))
    }
}

#[tonic::async_trait]
impl WatchService for Control {
    type WatchStream = Stream<watching::WatchResponse>;

    async fn watch(&self, request: Request<watching::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let view = request.into_inner().view.expect("a view").try_into().expect("a good view");
        let node = match view {
            View::Node(node) => node,
            View::Mesh => return Ok(Response::new(Box::pin(mesh()))),
            _ => return Err(Status::invalid_argument("neither a node's view nor the mesh's")),
        };
        let messages = WatchStream::new(self.view.subscribe()).map(move |(revision, assignments)| {
            let changes = assignments.into_values().map(|mut assignment| {
                assignment.replica.node = node;
                let object = Object::Assignment(assignment);
                watching::Change { key: object.key(), object: Some((&object).into()) }
            });
            Ok(watching::WatchResponse {
                revision,
                cluster: CLUSTER.to_string(),
                snapshot: true,
                more: false,
                changes: changes.collect(),
            })
        });
        Ok(Response::new(Box::pin(messages)))
    }
}

#[tonic::async_trait]
impl OverlayService for FakeOverlay {
    async fn attach(
        &self,
        request: Request<overlay::AttachRequest>,
    ) -> Result<Response<overlay::AttachResponse>, Status> {
        self.enter("attach").await;
        let replica = request.into_inner().replica.parse().expect("a replica");
        self.attached.lock().insert(replica);
        Ok(Response::new(overlay::AttachResponse { attachment: Some(attachment(replica)) }))
    }

    async fn detach(
        &self,
        request: Request<overlay::DetachRequest>,
    ) -> Result<Response<overlay::DetachResponse>, Status> {
        self.enter("detach").await;
        self.attached.lock().remove(&request.into_inner().replica.parse().expect("a replica"));
        Ok(Response::new(overlay::DetachResponse {}))
    }

    async fn list_attachments(
        &self,
        _: Request<overlay::ListAttachmentsRequest>,
    ) -> Result<Response<overlay::ListAttachmentsResponse>, Status> {
        let attachments = self.attached.lock().iter().copied().map(attachment).collect();
        Ok(Response::new(overlay::ListAttachmentsResponse { attachments }))
    }
}

/// The mesh view: one node, for ever.
fn mesh() -> impl tokio_stream::Stream<Item = Result<watching::WatchResponse, Status>> {
    let object = Object::Node(Node {
        id: NodeId::from_u128(1),
        name: NODE.parse().expect("a name"),
        cpu: Cpu(1000),
        memory: Memory(1 << 30),
        labels: BTreeMap::new(),
        subnet: "10.213.7.0/24".parse().expect("a subnet"),
        version: "0".into(),
        registered_at: Timestamp(0),
        address: None,
        liveness: Liveness::Alive,
        scheduling: orlop_model::Scheduling::Open,
    });
    let change = watching::Change { key: object.key(), object: Some((&object).into()) };
    let response = watching::WatchResponse {
        revision: 1,
        cluster: CLUSTER.to_string(),
        snapshot: true,
        more: false,
        changes: vec![change],
    };
    tokio_stream::once(Ok(response)).chain(tokio_stream::pending())
}

/// All replicas share the test's own network.
fn attachment(replica: ReplicaId) -> overlay::Attachment {
    overlay::Attachment {
        replica: replica.to_string(),
        namespace: "/proc/self/ns/net".into(),
        address: format!("10.0.0.{}", replica.as_u128() % 200 + 2),
        gateway: "10.0.0.1".into(),
        prefix_length: 24,
    }
}

pub(crate) const fn replica_id(n: u128) -> ReplicaId {
    ReplicaId::from_u128(n)
}

pub(crate) fn workload(image: &str) -> Workload {
    Workload::of(image)
}

pub(crate) fn assignment(replica: ReplicaId, workload: Workload) -> Assignment {
    Assignment {
        replica: Replica {
            id: replica,
            service: "shop/api".parse().expect("a good name"),
            slot: 0,
            generation: Generation(3),
            node: NodeId::from_u128(0),
            reserved: Resources::default(),
            desired: Desired::Run,
            status: ReplicaStatus::pending(Timestamp(0)),
        },
        workload: Arc::new(workload),
        secrets: BTreeMap::new(),
    }
}
