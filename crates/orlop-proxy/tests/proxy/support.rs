//! A control plane, backends and clients that tests play.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use orlop_model::{Backend, ClusterId, NodeId, ReplicaId};
use orlop_proto::cluster::v1 as cluster;
use orlop_proto::node::v1 as node;
use orlop_proto::node::v1::node_service_server::{NodeService, NodeServiceServer};
use orlop_proto::spec::v1 as spec;
use orlop_proto::watch::v1 as pb;
use orlop_proto::watch::v1::watch_service_server::{WatchService, WatchServiceServer};
use orlop_proxy::{Config, Proxy};
use std::convert::Infallible;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A route as a test writes it.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) host: Option<&'static str>,
    pub(crate) path: &'static str,
    /// The node's port of a TCP endpoint; an HTTP endpoint without.
    pub(crate) port: Option<u16>,
    pub(crate) backends: Vec<SocketAddr>,
}

pub(crate) fn http(
    name: &'static str,
    host: Option<&'static str>,
    path: &'static str,
    backends: &[SocketAddr],
) -> Rule {
    Rule { name, host, path, port: None, backends: backends.to_vec() }
}

pub(crate) fn tcp(name: &'static str, port: u16, backends: &[SocketAddr]) -> Rule {
    Rule { name, host: None, path: "/", port: Some(port), backends: backends.to_vec() }
}

fn change(rule: &Rule) -> pb::Change {
    let backend = |address: &SocketAddr| {
        let std::net::IpAddr::V4(ip) = address.ip() else { panic!("IPv4 only") };
        let replica = ReplicaId::from_u128(u128::from(address.port()));
        let node = NodeId::from_u128(1);
        cluster::Backend::from(&Backend { replica, slot: 0, address: ip, port: address.port(), node })
    };
    let protocol = if rule.port.is_some() { spec::Protocol::Tcp } else { spec::Protocol::Http };
    pb::Change {
        key: format!("route/shop/{}/main", rule.name),
        object: Some(pb::change::Object::Route(cluster::Route {
            service: Some(cluster::ServiceRef { deployment: "shop".into(), service: rule.name.into() }),
            endpoint: Some(spec::Endpoint {
                name: "main".into(),
                protocol: protocol.into(),
                port: u32::from(rule.port.unwrap_or(80)),
                path: rule.path.into(),
                host: rule.host.map(str::to_owned),
            }),
            backends: rule.backends.iter().map(backend).collect(),
        })),
    }
}

struct Served {
    routes: watch::Receiver<(u64, Vec<Rule>)>,
    unserved: Arc<watch::Sender<Option<node::ReportEndpointsRequest>>>,
}

#[tonic::async_trait]
impl WatchService for Served {
    type WatchStream = ReceiverStream<Result<pb::WatchResponse, Status>>;

    async fn watch(&self, _: tonic::Request<pb::WatchRequest>) -> Result<tonic::Response<Self::WatchStream>, Status> {
        let (answers, stream) = mpsc::channel(8);
        let mut routes = self.routes.clone();
        routes.mark_changed();
        tokio::spawn(async move {
            while routes.changed().await.is_ok() {
                let (revision, rules) = routes.borrow_and_update().clone();
                let response = pb::WatchResponse {
                    revision,
                    cluster: ClusterId::from_u128(1).to_string(),
                    snapshot: true,
                    changes: rules.iter().map(change).collect(),
                    ..Default::default()
                };
                if answers.send(Ok(response)).await.is_err() {
                    return;
                }
            }
        });
        Ok(tonic::Response::new(ReceiverStream::new(stream)))
    }
}

fn unplayed<T>() -> Result<T, Status> {
    Err(Status::unimplemented("no proxy calls this"))
}

#[tonic::async_trait]
impl NodeService for Served {
    type AttendStream = ReceiverStream<Result<node::SessionInvitation, Status>>;
    type OpenSessionStream = ReceiverStream<Result<node::SessionFrame, Status>>;

    async fn register(
        &self,
        _: tonic::Request<node::RegisterRequest>,
    ) -> Result<tonic::Response<node::RegisterResponse>, Status> {
        unplayed()
    }

    async fn report(
        &self,
        _: tonic::Request<node::ReportRequest>,
    ) -> Result<tonic::Response<node::ReportResponse>, Status> {
        unplayed()
    }

    async fn record_events(
        &self,
        _: tonic::Request<node::RecordEventsRequest>,
    ) -> Result<tonic::Response<node::RecordEventsResponse>, Status> {
        unplayed()
    }

    async fn report_endpoints(
        &self,
        request: tonic::Request<node::ReportEndpointsRequest>,
    ) -> Result<tonic::Response<node::ReportEndpointsResponse>, Status> {
        self.unserved.send_replace(Some(request.into_inner()));
        Ok(tonic::Response::new(node::ReportEndpointsResponse {}))
    }

    async fn attend(
        &self,
        _: tonic::Request<node::AttendRequest>,
    ) -> Result<tonic::Response<Self::AttendStream>, Status> {
        unplayed()
    }

    async fn open_session(
        &self,
        _: tonic::Request<tonic::Streaming<node::SessionFrame>>,
    ) -> Result<tonic::Response<Self::OpenSessionStream>, Status> {
        unplayed()
    }
}

/// The host of the route that tells which revision a proxy has.
const PROBE: &str = "probe.invalid";

fn marked(revision: u64, rules: &[Rule]) -> Vec<Rule> {
    let name = Box::leak(format!("probe{revision}").into_boxed_str());
    rules.iter().cloned().chain([http(name, Some(PROBE), "/", &[])]).collect()
}

/// A control plane and a proxy that follows it, in one process.
pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
    pub(crate) unserved: watch::Receiver<Option<node::ReportEndpointsRequest>>,
    pub(crate) stop: CancellationToken,
    pub(crate) proxy: Option<JoinHandle<()>>,
    routes: watch::Sender<(u64, Vec<Rule>)>,
    control: AbortHandle,
    place: Arc<tempfile::TempDir>,
}

impl Stage {
    pub(crate) async fn start(rules: &[Rule]) -> Self {
        Self::start_with(rules, |_| {}).await
    }

    pub(crate) async fn start_with(rules: &[Rule], configure: impl FnOnce(&mut Config)) -> Self {
        let place = Arc::new(tempfile::tempdir().unwrap());
        let socket = place.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (routes, followed) = watch::channel((1, marked(1, rules)));
        let (tell, unserved) = watch::channel(None);
        let tell = Arc::new(tell);
        let served = || Served { routes: followed.clone(), unserved: tell.clone() };
        let server = tonic::transport::Server::builder()
            .add_service(WatchServiceServer::new(served()))
            .add_service(NodeServiceServer::new(served()))
            .serve_with_incoming(UnixListenerStream::new(listener));
        let control = tokio::spawn(async move { server.await.unwrap() }).abort_handle();
        let stop = CancellationToken::new();
        let (address, proxy) = proxy(place.path(), configure, &stop).await;
        let stage = Self { address, unserved, stop, proxy: Some(proxy), routes, control, place };
        stage.settle().await;
        stage
    }

    /// Changes the routes and waits until the proxy has them.
    pub(crate) async fn change(&self, rules: &[Rule]) {
        self.routes.send_modify(|(revision, routes)| {
            *revision += 1;
            *routes = marked(*revision, rules);
        });
        self.settle().await;
    }

    /// Waits until the proxy has the routes. Each revision brings a route of its own that has no backend and says so.
    async fn settle(&self) {
        let revision = self.routes.borrow().0;
        until("the proxy has the routes", async || {
            let reply = Client::get(self.address, PROBE, "/").await;
            reply.text().contains(&format!("shop/probe{revision}/main"))
        })
        .await;
    }

    /// Starts another proxy of the same settings beside the one that serves; gives the task of that one.
    pub(crate) async fn succeed(&mut self, configure: impl FnOnce(&mut Config)) -> JoinHandle<()> {
        let listen = self.address;
        let configured = |config: &mut Config| {
            config.listen = listen;
            configure(config);
        };
        let stop = CancellationToken::new();
        let (address, running) = proxy(self.place.path(), configured, &stop).await;
        assert_eq!(address, listen);
        self.stop = stop;
        self.proxy.replace(running).unwrap()
    }

    /// Ends control plane and proxy, and starts a proxy with what the old one left on disk.
    pub(crate) async fn restart_without_control_plane(&mut self) {
        self.control.abort();
        self.stop.cancel();
        self.proxy.take().unwrap().await.unwrap();
        std::fs::remove_file(self.place.path().join("control.sock")).unwrap();
        self.stop = CancellationToken::new();
        let (address, running) = proxy(self.place.path(), |_| {}, &self.stop).await;
        (self.address, self.proxy) = (address, Some(running));
    }

    /// Waits until the proxy says that exactly these services cannot be served, each with its code; gives the messages.
    pub(crate) async fn says_unserved(&mut self, services: &[(&str, &str)]) -> Vec<String> {
        let names = |request: &node::ReportEndpointsRequest| {
            let name =
                |e: &node::UnservedEndpoint| (e.service.clone().unwrap().service, e.reason.clone().unwrap().code);
            request.unserved.iter().map(name).collect::<Vec<_>>()
        };
        let wanted: Vec<_> = services.iter().map(|(name, code)| ((*name).to_owned(), (*code).to_owned())).collect();
        let said = self.unserved.wait_for(|said| said.as_ref().is_some_and(|said| names(said) == wanted));
        let said = tokio::time::timeout(PATIENCE, said).await.expect("a report in time").unwrap();
        said.iter().flat_map(|said| &said.unserved).map(|e| e.reason.clone().unwrap().message).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
        self.control.abort();
    }
}

async fn proxy(
    place: &Path,
    configure: impl FnOnce(&mut Config),
    stop: &CancellationToken,
) -> (SocketAddr, JoinHandle<()>) {
    let mut config = Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        control_plane: format!("unix:{}", place.join("control.sock").display()),
        data_dir: place.join("data"),
        drain_ms: 5_000,
        ..Config::default()
    };
    configure(&mut config);
    let proxy: Proxy = orlop_proxy::start(config).await.unwrap();
    let (address, stop) = (proxy.address(), stop.clone());
    (address, tokio::spawn(async move { proxy.serve(stop).await.unwrap() }))
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// An address where nobody listens, for as long as the socket lives.
pub(crate) fn dead_end() -> (SocketAddr, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    (socket.local_addr().unwrap(), socket)
}

/// A loopback address that no other test of this process uses, so that ports of it are the test's own.
pub(crate) fn own_address() -> Ipv4Addr {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    let [_, a, b, _] = std::process::id().to_be_bytes();
    let n = u8::try_from(NEXT.fetch_add(1, Ordering::SeqCst)).unwrap();
    Ipv4Addr::new(127, a | 64, b, n)
}

/// A backend; ends when dropped.
pub(crate) struct Played {
    pub(crate) address: SocketAddr,
    pub(crate) requests: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Played {
    pub(crate) fn count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// A backend that deals with each connection as told.
    pub(crate) async fn raw<F>(serve: impl Fn(TcpStream, Arc<AtomicUsize>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = requests.clone();
        let task = tokio::spawn(async move {
            // Connections end with the backend.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, counted.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, requests, task: task.abort_handle() }
    }

    /// A backend that answers HTTP requests as told.
    pub(crate) async fn http<F>(answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        Self::raw(move |stream, requests| {
            let answer = answer.clone();
            async move {
                let service = hyper::service::service_fn(move |request| {
                    requests.fetch_add(1, Ordering::SeqCst);
                    let answered = answer(request);
                    async move { Ok::<_, Infallible>(answered.await) }
                });
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            }
        })
        .await
    }

    /// A backend that answers everything with a word.
    pub(crate) async fn word(word: &'static str) -> Self {
        Self::http(move |_| async move { Response::new(Full::new(Bytes::from_static(word.as_bytes()))) }).await
    }

    /// A backend that answers with the request's head and body.
    pub(crate) async fn echo() -> Self {
        Self::http(|request| async move {
            let (parts, body) = request.into_parts();
            let mut text = format!("{} {} {:?}\n", parts.method, parts.uri, parts.version);
            for (name, value) in &parts.headers {
                text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
            }
            text.push('\n');
            let mut bytes = text.into_bytes();
            bytes.extend(body.collect().await.map(|body| body.to_bytes()).unwrap_or_default());
            Response::new(Full::new(Bytes::from(bytes)))
        })
        .await
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A client that writes raw bytes.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), read: Vec::new() }
    }

    pub(crate) async fn get(address: SocketAddr, host: &str, path: &str) -> Reply {
        let mut client = Self::connect(address).await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        client.receive().await.expect("a response")
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn more(&mut self) -> usize {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
        read.expect("more in time").unwrap_or(0)
    }

    /// Exactly so many bytes.
    pub(crate) async fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.read.len() < length {
            assert!(self.more().await > 0, "the connection ended after {:?}", String::from_utf8_lossy(&self.read));
        }
        self.read.drain(..length).collect()
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.read.drain(..end + 2).collect();
                return String::from_utf8_lossy(&line[..end]).into_owned();
            }
            assert!(self.more().await > 0, "the connection ended within a line");
        }
    }

    /// Is the connection over, with nothing more to read?
    pub(crate) async fn is_over(&mut self) -> bool {
        self.read.is_empty() && self.more().await == 0
    }

    /// One response; none when the connection ended first.
    pub(crate) async fn receive(&mut self) -> Option<Reply> {
        if self.read.is_empty() && self.more().await == 0 {
            return None;
        }
        let mut head = String::new();
        loop {
            let line = self.line().await;
            if line.is_empty() {
                break;
            }
            head.push_str(&line.to_lowercase());
            head.push('\n');
        }
        let status: u16 = head[9..12].parse().unwrap();
        let field = |name: &str| {
            head.lines()
                .find_map(|line| line.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")))
                .map(str::to_owned)
        };
        let mut body = Vec::new();
        if status < 200 || status == 204 || status == 304 {
        } else if let Some(length) = field("content-length") {
            body = self.exactly(length.parse().unwrap()).await;
        } else if field("transfer-encoding").is_some() {
            loop {
                let size = usize::from_str_radix(&self.line().await, 16).unwrap();
                body.extend(self.exactly(size).await);
                self.line().await;
                if size == 0 {
                    break;
                }
            }
        } else {
            while self.more().await > 0 {}
            body = std::mem::take(&mut self.read);
        }
        Some(Reply { status, head, body })
    }
}
