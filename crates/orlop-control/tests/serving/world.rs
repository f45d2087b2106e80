//! A control plane on a socket in a folder of its own, and those who talk to it.

use orlop_client::{Address, HostPort, OperatorClient};
use orlop_control::{Config, Listen, Running};
use orlop_model::spec::*;
use orlop_model::{NodeId, Object, Phase, ReplicaId, ReplicaStatus, Revision, Timestamp, View};
use orlop_proto::node::v1 as node;
use orlop_proto::node::v1::node_service_client::NodeServiceClient;
use orlop_proto::scheduler::v1 as scheduler;
use orlop_proto::scheduler::v1::scheduler_service_client::SchedulerServiceClient;
use orlop_proto::watch::v1 as watch;
use orlop_proto::watch::v1::watch_service_client::WatchServiceClient;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// Longer than anything takes on a busy machine; who waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    folder: tempfile::TempDir,
    config: Config,
    running: Option<Running>,
    stop: CancellationToken,
    ids: AtomicU64,
    /// Schedulers are on one connection that stays: a lease goes with the connection it was renewed on.
    schedulers: Channel,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(adjust: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listen = Listen::Unix(folder.path().join("control.sock"));
        let mut config = Config::new(folder.path().join("data"), vec![listen]);
        adjust(&mut config);
        let stop = CancellationToken::new();
        let running = orlop_control::start(config.clone(), stop.clone()).await.expect("a control plane");
        let schedulers = Address::Unix(folder.path().join("control.sock")).channel().expect("a channel");
        Self { folder, config, running: Some(running), stop, ids: AtomicU64::new(1), schedulers }
    }

    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        let running = self.running.take().expect("it runs");
        tokio::time::timeout(PATIENCE, running.wait()).await.expect("it ends in time").expect("it ends well");
    }

    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.begin().await;
    }

    /// Starts what was stopped with another configuration.
    pub(crate) async fn begin_with(&mut self, adjust: impl FnOnce(&mut Config)) {
        adjust(&mut self.config);
        self.begin().await;
    }

    /// Starts what was stopped.
    pub(crate) async fn begin(&mut self) {
        self.stop = CancellationToken::new();
        self.running =
            Some(orlop_control::start(self.config.clone(), self.stop.clone()).await.expect("a control plane"));
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Where it listens now, with the real ports.
    pub(crate) fn listening(&self) -> &[Listen] {
        self.running.as_ref().expect("it runs").listening()
    }

    pub(crate) fn listen(&self) -> Vec<Listen> {
        self.config.listen.clone()
    }

    /// A control plane that callers reach without a socket's rights too.
    pub(crate) async fn start_with_loopback() -> Self {
        let loopback = Listen::Loopback(([127, 0, 0, 1], 0).into());
        Self::start_with(|config| config.listen.push(loopback)).await
    }

    /// A channel on which nobody is known by the way one came.
    pub(crate) fn loopback(&self) -> Channel {
        Address::Loopback(self.loopback_address()).channel().expect("a channel")
    }

    pub(crate) fn loopback_address(&self) -> std::net::SocketAddr {
        let listening = self.running.as_ref().expect("it runs").listening();
        let found = listening.iter().find_map(|listen| match listen {
            Listen::Loopback(address) => Some(*address),
            _ => None,
        });
        found.expect("a loopback address")
    }

    /// A control plane that is reached over TLS too.
    pub(crate) async fn start_with_tls() -> Self {
        let tls = Listen::Tls(([127, 0, 0, 1], 0).into());
        Self::start_with(|config| config.listen.push(tls)).await
    }

    /// Where it is reached over TLS.
    pub(crate) fn tls(&self) -> HostPort {
        let listening = self.running.as_ref().expect("it runs").listening();
        let found = listening.iter().find_map(|listen| match listen {
            Listen::Tls(address) => Some(HostPort::from(*address)),
            _ => None,
        });
        found.expect("an address over TLS")
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    fn address(&self) -> Address {
        Address::Unix(self.folder.path().join("control.sock"))
    }

    pub(crate) fn channel(&self) -> Channel {
        self.address().channel().expect("a channel")
    }

    pub(crate) fn operator(&self) -> OperatorClient {
        OperatorClient::new(self.address()).expect("a client")
    }

    pub(crate) async fn revision(&self) -> Revision {
        self.operator().state(None).await.expect("the state").revision
    }

    pub(crate) async fn deploy(&self, name: &str) {
        self.operator().deploy(&deployment(name, &[("api", "a/api:1")]), None).await.expect("a deploy");
    }

    pub(crate) async fn watch(&self, view: View, since: Option<(String, Revision)>) -> Watcher {
        let (cluster, revision) = since.unwrap_or_default();
        let request = watch::WatchRequest { view: Some((&view).into()), since: revision.0, cluster };
        let stream = WatchServiceClient::new(self.channel()).watch(request).await.expect("a watch").into_inner();
        Watcher { stream, cluster: String::new(), revision: Revision(0), objects: BTreeMap::new() }
    }

    pub(crate) async fn agent(&self, name: &str) -> Agent {
        let id = u128::from(self.ids.fetch_add(1, Ordering::Relaxed)) << 64;
        self.agent_with_id(name, NodeId::from_u128(id)).await
    }

    /// An agent that registers and attends, and opens no session.
    pub(crate) async fn agent_with_id(&self, name: &str, id: NodeId) -> Agent {
        let mut client = NodeServiceClient::new(self.channel());
        let request = node::RegisterRequest {
            id: id.to_string(),
            name: name.into(),
            cpu_millis: 4000,
            memory_bytes: 8 << 30,
            labels: BTreeMap::new(),
            version: "test".into(),
            address: String::new(),
        };
        let subnet = client.register(request).await.expect("registered").into_inner().subnet;
        let attend = node::AttendRequest { node: id.to_string() };
        let invitations = client.attend(attend).await.expect("attending").into_inner();
        Agent { node: id, subnet, client, invitations: Some(invitations), tasks: Vec::new() }
    }

    /// Deploys and places a replica by a scheduler that holds the lease only for that.
    pub(crate) async fn place(&self, deployment: &str, node: NodeId) -> ReplicaId {
        self.deploy(deployment).await;
        let number = self.ids.fetch_add(1, Ordering::Relaxed);
        let mut scheduler = self.scheduler(&format!("placer-{number}")).await;
        let step = start(deployment, u128::from(number), 0, 1, node);
        let refused = scheduler.submit(vec![step]).await.expect("a plan");
        assert!(refused.is_empty(), "{refused:?}");
        scheduler.give_back().await;
        ReplicaId::from_u128(u128::from(number))
    }

    pub(crate) async fn try_lease(&self, holder: &str) -> scheduler::AcquireLeaseResponse {
        try_lease_on(self.schedulers.clone(), holder).await
    }

    pub(crate) async fn scheduler(&self, holder: &str) -> Scheduler {
        let lease = self.try_lease(holder).await;
        assert!(lease.held, "{lease:?}");
        Scheduler {
            client: SchedulerServiceClient::new(self.schedulers.clone()),
            holder: holder.into(),
            fence: lease.fence,
        }
    }
}

pub(crate) async fn try_lease_on(channel: Channel, holder: &str) -> scheduler::AcquireLeaseResponse {
    let request = scheduler::AcquireLeaseRequest { holder: holder.into(), ttl_ms: 60_000 };
    SchedulerServiceClient::new(channel).acquire_lease(request).await.expect("an answer").into_inner()
}

pub(crate) struct Scheduler {
    client: SchedulerServiceClient<Channel>,
    holder: String,
    fence: u64,
}

impl Scheduler {
    /// The refused steps, by index and code.
    pub(crate) async fn submit(&mut self, steps: Vec<orlop_model::plan::Step>) -> Result<Vec<(u32, String)>, Status> {
        let plan = scheduler::Plan { revision: 0, steps: steps.iter().map(Into::into).collect() };
        let request = scheduler::SubmitPlanRequest { fence: self.fence, plan: Some(plan) };
        let answer = self.client.submit_plan(request).await?.into_inner();
        Ok(answer.refused.into_iter().map(|r| (r.step, r.reason.unwrap_or_default().code)).collect())
    }

    pub(crate) async fn give_back(&self) {
        let request = scheduler::AcquireLeaseRequest { holder: self.holder.clone(), ttl_ms: 0 };
        assert!(!self.client.clone().acquire_lease(request).await.expect("an answer").into_inner().held);
    }
}

pub(crate) struct Agent {
    pub(crate) node: NodeId,
    pub(crate) subnet: String,
    client: NodeServiceClient<Channel>,
    pub(crate) invitations: Option<Streaming<node::SessionInvitation>>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Agent {
    /// Says which endpoint of which service the proxy of the node called so cannot serve.
    pub(crate) async fn unserved(&self, node: &str, endpoints: &[(&str, &str)]) -> Result<(), tonic::Status> {
        let unserved = endpoints.iter().map(|(service, endpoint)| node::UnservedEndpoint {
            service: Some((&service.parse::<orlop_model::ServiceRef>().expect("a service")).into()),
            endpoint: (*endpoint).to_owned(),
            reason: Some((&orlop_model::Reason::new("port_taken", "another has the port")).into()),
        });
        let request = node::ReportEndpointsRequest { node_name: node.to_owned(), unserved: unserved.collect() };
        self.client.clone().report_endpoints(request).await.map(drop)
    }

    /// Reports a phase.
    pub(crate) async fn report(&self, replica: ReplicaId, phase: Phase) {
        let status = ReplicaStatus {
            phase,
            address: Some("10.77.0.5".parse().expect("an address")),
            ..ReplicaStatus::pending(Timestamp(1))
        };
        let report =
            node::ReplicaReport { replica: replica.to_string(), generation: 1, status: Some((&status).into()) };
        let request = node::ReportRequest { node: self.node.to_string(), replicas: vec![report] };
        self.client.clone().report(request).await.expect("a report");
    }

    /// Opens every session it is invited to, and lets `play` do its part in it.
    pub(crate) fn serve_sessions<F, P>(&mut self, play: F)
    where
        F: Fn(node::session_start::Kind, Played) -> P + Send + Sync + 'static,
        P: Future<Output = ()> + Send + 'static,
    {
        let mut invitations = self.invitations.take().expect("nobody serves yet");
        let client = self.client.clone();
        let play = Arc::new(play);
        let task = tokio::spawn(async move {
            while let Ok(Some(invitation)) = invitations.message().await {
                let (mut client, play) = (client.clone(), play.clone());
                tokio::spawn(async move {
                    let (to_control, frames) = tokio::sync::mpsc::channel(4);
                    let first = node::session_frame::Frame::Session(invitation.session);
                    to_control.send(node::SessionFrame { frame: Some(first) }).await.expect("room");
                    let frames = tokio_stream::wrappers::ReceiverStream::new(frames);
                    let from_control = client.open_session(frames).await.expect("a session").into_inner();
                    let kind = invitation.start.and_then(|s| s.kind).expect("a kind");
                    play(kind, Played { to_control: Some(to_control), from_control: Some(from_control) }).await;
                });
            }
        });
        self.tasks.push(task.abort_handle());
    }
}

/// The agent's side of a session. Dropped, it ends its side and reads on until the other has ended its own, as the
/// contract asks.
pub(crate) struct Played {
    to_control: Option<tokio::sync::mpsc::Sender<node::SessionFrame>>,
    from_control: Option<Streaming<node::SessionFrame>>,
}

impl Drop for Played {
    fn drop(&mut self) {
        self.to_control = None;
        if let Some(mut from_control) = self.from_control.take() {
            tokio::spawn(async move { while let Ok(Some(_)) = from_control.message().await {} });
        }
    }
}

impl Played {
    /// Says something; false when nobody listens any more.
    pub(crate) async fn say(&self, frame: node::session_frame::Frame) -> bool {
        let to_control = self.to_control.as_ref().expect("not dropped");
        to_control.send(node::SessionFrame { frame: Some(frame) }).await.is_ok()
    }

    /// Hears something; `None` when the other side has let go.
    pub(crate) async fn hear(&mut self) -> Option<node::session_frame::Frame> {
        let from_control = self.from_control.as_mut().expect("not dropped");
        from_control.message().await.ok().flatten().and_then(|f| f.frame)
    }

    /// Waits until the other side has let go.
    pub(crate) async fn let_go(&self) {
        self.to_control.as_ref().expect("not dropped").closed().await;
    }
}

/// One watch, and what it has seen.
pub(crate) struct Watcher {
    stream: Streaming<watch::WatchResponse>,
    pub(crate) cluster: String,
    pub(crate) revision: Revision,
    pub(crate) objects: BTreeMap<String, Object>,
}

impl Watcher {
    pub(crate) async fn message(&mut self) -> watch::WatchResponse {
        let message = tokio::time::timeout(PATIENCE, self.stream.message()).await.expect("a message in time");
        let message = message.expect("a message").expect("the stream goes on");
        self.take(&message);
        message
    }

    fn take(&mut self, message: &watch::WatchResponse) {
        if message.snapshot {
            self.objects.clear();
        }
        for change in message.changes.clone() {
            match change.object {
                Some(object) => self.objects.insert(change.key, object.try_into().expect("a sound object")),
                None => self.objects.remove(&change.key),
            };
        }
        self.cluster = message.cluster.clone();
        self.revision = Revision(message.revision);
    }

    /// One update, with all its parts.
    pub(crate) async fn update(&mut self) -> watch::WatchResponse {
        let mut update = self.message().await;
        while update.more {
            let part = self.message().await;
            update.more = part.more;
            update.changes.extend(part.changes);
        }
        update
    }

    pub(crate) async fn failure(&mut self) -> Status {
        loop {
            match tokio::time::timeout(PATIENCE, self.stream.message()).await.expect("an end in time") {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without saying why"),
                Err(status) => return status,
            }
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.objects.contains_key(key)
    }
}

/// Waits until a watcher has seen something.
pub(crate) async fn until(what: &str, watcher: &mut Watcher, seen: impl Fn(&Watcher) -> bool) {
    let waiting = async {
        while !seen(watcher) {
            watcher.message().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "waited in vain for {what}");
}

pub(crate) fn start(deployment: &str, id: u128, slot: u32, generation: u64, node: NodeId) -> orlop_model::plan::Step {
    orlop_model::plan::Step::Start {
        replica: ReplicaId::from_u128(id),
        service: format!("{deployment}/api").parse().expect("a service"),
        slot,
        generation: orlop_model::Generation(generation),
        node,
        why: orlop_model::Reason::new("new", "wanted"),
    }
}

/// A deployment of services with images; each has an endpoint under a path of its own.
pub(crate) fn deployment(name: &str, services: &[(&str, &str)]) -> Deployment {
    let service = |service: &str, image: &str| Service {
        endpoints: vec![Endpoint {
            name: "http".parse().expect("a name"),
            protocol: Protocol::Http,
            port: 8080,
            path: format!("/{name}/{service}"),
            host: None,
        }],
        ..Service::of(Workload::of(image))
    };
    Deployment {
        name: name.parse().expect("a name"),
        services: services.iter().map(|(s, image)| (s.parse().expect("a name"), service(s, image))).collect(),
    }
}
