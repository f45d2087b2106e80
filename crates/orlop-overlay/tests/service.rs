//! The daemon through its socket, with real namespaces and a control plane that the test plays. Needs root.
//!
//! Each test plays its node in a network namespace of its own: its thread enters one, and all that it starts follows.

#![expect(clippy::unwrap_used, reason = "a test that assumes wrongly fails, as it should, also in what tests share")]

use nix::sched::{CloneFlags, setns, unshare};
use orlop_model::{ClusterId, NodeId, ReplicaId};
use orlop_overlay::Config;
use orlop_proto::cluster::v1 as cluster;
use orlop_proto::overlay::v1::overlay_service_client::OverlayServiceClient;
use orlop_proto::overlay::v1::{AttachRequest, Attachment, DetachRequest, ListAttachmentsRequest};
use orlop_proto::watch::v1 as pb;
use orlop_proto::watch::v1::watch_service_server::{WatchService, WatchServiceServer};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};

const PATIENCE: Duration = Duration::from_secs(30);

/// Gives the mesh view: one node with a subnet, or none.
struct Mesh(watch::Receiver<Option<&'static str>>);

#[tonic::async_trait]
impl WatchService for Mesh {
    type WatchStream = ReceiverStream<Result<pb::WatchResponse, Status>>;

    async fn watch(&self, _: tonic::Request<pb::WatchRequest>) -> Result<tonic::Response<Self::WatchStream>, Status> {
        let (answers, stream) = mpsc::channel(8);
        let mut subnets = self.0.clone();
        subnets.mark_changed();
        tokio::spawn(async move {
            let mut revision = 0;
            while subnets.changed().await.is_ok() {
                revision += 1;
                let id = NodeId::from_u128(1).to_string();
                let node = (*subnets.borrow_and_update()).map(|subnet| pb::Change {
                    key: format!("node/{id}"),
                    object: Some(pb::change::Object::Node(cluster::Node {
                        id: id.clone(),
                        name: "here".into(),
                        cpu_millis: 1000,
                        memory_bytes: 1 << 30,
                        subnet: subnet.into(),
                        version: "0.1.0".into(),
                        ..Default::default()
                    })),
                });
                let response = pb::WatchResponse {
                    revision,
                    cluster: ClusterId::from_u128(1).to_string(),
                    snapshot: true,
                    changes: node.into_iter().collect(),
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

/// A node with a control plane and an overlay daemon; takes everything away when dropped.
struct Node {
    place: tempfile::TempDir,
    config: Config,
    subnet: watch::Sender<Option<&'static str>>,
    control: JoinHandle<()>,
    daemon: Option<Daemon>,
}

impl Node {
    async fn new(number: u8, subnet: Option<&'static str>) -> Self {
        unshare(CloneFlags::CLONE_NEWNET).expect("run this test as root");
        run("ip link set lo up");
        let place = tempfile::tempdir().unwrap();
        let name = format!("os{number}x{}", std::process::id() % 10_000);
        let config = Config {
            data_dir: place.path().join("data"),
            run_dir: place.path().join("run"),
            socket: place.path().join("overlay.sock"),
            control_plane: format!("unix:{}", place.path().join("control.sock").display()),
            node_name: "here".into(),
            bridge: name.clone(),
            table: name,
            node_routes: true,
        };
        let listener = UnixListener::bind(place.path().join("control.sock")).unwrap();
        let (subnet, followed) = watch::channel(subnet);
        let server = tonic::transport::Server::builder()
            .add_service(WatchServiceServer::new(Mesh(followed)))
            .serve_with_incoming(UnixListenerStream::new(listener));
        let control = tokio::spawn(async move { server.await.unwrap() });
        let mut node = Self { place, config, subnet, control, daemon: None };
        node.start().await;
        node
    }

    async fn start(&mut self) {
        self.daemon = Some(Daemon::start(self.config.clone()));
    }

    async fn stop(&mut self) {
        let daemon = self.daemon.take().unwrap();
        tokio::task::spawn_blocking(|| daemon.stop()).await.unwrap();
    }

    /// Loses the control plane for good.
    fn lose_control_plane(&self) {
        self.control.abort();
        std::fs::remove_file(self.place.path().join("control.sock")).unwrap();
    }

    fn client(&self) -> OverlayServiceClient<Channel> {
        let address = format!("unix:{}", self.config.socket.display());
        OverlayServiceClient::new(orlop_client::connect(&address).unwrap())
    }

    async fn attach(&self, number: u128) -> Result<Attachment, Status> {
        let replica = ReplicaId::from_u128(number).to_string();
        let answer = self.client().attach(AttachRequest { replica }).await?;
        Ok(answer.into_inner().attachment.unwrap())
    }

    /// Attaches as soon as the node has its subnet.
    async fn attached(&self, number: u128) -> Attachment {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.attach(number).await {
                Ok(attachment) => return attachment,
                Err(status) if status.code() == Code::Unavailable && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(status) => panic!("{status}"),
            }
        }
    }

    async fn detach(&self, number: u128) {
        let replica = ReplicaId::from_u128(number).to_string();
        self.client().detach(DetachRequest { replica }).await.unwrap();
    }

    async fn list(&self) -> Vec<Attachment> {
        self.client().list_attachments(ListAttachmentsRequest {}).await.unwrap().into_inner().attachments
    }

    /// What the node and the kernel show, in a form that changes when anything was made anew.
    fn picture(&self) -> String {
        output(&format!(
            "ip -o link show; ip -4 -o addr show; nft -a list table inet {}; grep {} /proc/self/mountinfo; \
             for ns in {}/netns/*; do stat -L -c %i $ns; nsenter --net=$ns ip -4 -o addr; \
             nsenter --net=$ns ip route; done",
            self.config.table,
            self.place.path().display(),
            self.config.run_dir.display(),
        ))
    }

    /// What is left of the node.
    fn traces(&self) -> String {
        output(&format!(
            "ip -o link show | grep -v ' lo: '; nft list tables; grep {} /proc/self/mounts; ls {} 2>/dev/null",
            self.place.path().display(),
            self.config.run_dir.display(),
        ))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.control.abort();
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
        let config = self.config.clone();
        let removed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(orlop_overlay::teardown(config)).unwrap();
        });
        removed.join().unwrap();
    }
}

/// A daemon on a thread of its own, so that it can be killed wherever it waits.
struct Daemon {
    stop: CancellationToken,
    kill: CancellationToken,
    thread: std::thread::JoinHandle<()>,
}

impl Daemon {
    fn start(config: Config) -> Self {
        let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (stopped, killed) = (stop.clone(), kill.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let overlay = orlop_overlay::start(config).await.unwrap();
                ready.send(()).unwrap();
                if let Some(served) = killed.run_until_cancelled(overlay.serve(stopped)).await {
                    served.unwrap();
                }
            });
            // With the runtime goes all that the daemon had begun.
        });
        is_ready.recv().unwrap();
        Self { stop, kill, thread }
    }

    fn stop(self) {
        self.stop.cancel();
        self.thread.join().unwrap();
    }

    fn kill(self) {
        self.kill.cancel();
        self.thread.join().unwrap();
    }
}

fn output(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn run(command: &str) {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Does something in a network namespace, on a thread of its own.
fn within<T: Send + 'static>(namespace: impl AsRef<Path>, job: impl FnOnce() -> T + Send + 'static) -> T {
    let namespace = File::open(namespace.as_ref()).unwrap();
    std::thread::spawn(move || {
        setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
        job()
    })
    .join()
    .unwrap()
}

/// Serves one thing in a namespace: tells each client who it is.
fn mirror(namespace: impl AsRef<Path>) {
    let listener = within(namespace, || TcpListener::bind("0.0.0.0:80").unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, client)) = listener.accept() {
            let mut request = [0; 64];
            let _ = stream.read(&mut request);
            let _ = write!(stream, "HTTP/1.0 200 OK\r\n\r\nyou are {}", client.ip());
        }
    });
}

/// Asks a mirror, from the thread's namespace.
fn ask(address: &str) -> std::io::Result<String> {
    let address: SocketAddr = format!("{address}:80").parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(3))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or(answer))
}

/// A namespace that plays the outside world, 203.0.113.2 behind the node's 203.0.113.1.
struct World(Child);

impl World {
    fn new() -> Self {
        let child = Command::new("unshare").args(["--net", "sleep", "600"]).stdout(Stdio::null()).spawn().unwrap();
        let world = Self(child);
        let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let deadline = Instant::now() + PATIENCE;
        while std::fs::read_link(world.namespace()).unwrap() == own {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(5));
        }
        let pid = world.0.id();
        run(&format!(
            "ip link add world0 type veth peer name world1 netns {pid}
             ip addr add 203.0.113.1/24 dev world0; ip link set world0 up
             nsenter -t {pid} -n ip addr add 203.0.113.2/24 dev world1; nsenter -t {pid} -n ip link set world1 up"
        ));
        world
    }

    fn namespace(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.0.id()).into()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn replicas_reach_each_other_and_the_world_and_the_world_reaches_them_only_in_answer() {
    let node = Node::new(1, Some("10.201.1.0/24")).await;
    // As Docker leaves a host.
    run("nft add table ip filter
         nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'");
    let world = World::new();
    let (one, two) = (node.attached(1).await, node.attached(2).await);
    assert_eq!((one.address.as_str(), one.gateway.as_str(), one.prefix_length), ("10.201.1.2", "10.201.1.1", 24));
    assert_eq!(two.address, "10.201.1.3");
    assert_eq!(node.attach(1).await.unwrap(), one, "the same answer again");
    mirror(&one.namespace);
    mirror(&two.namespace);
    mirror(world.namespace());

    assert_eq!(ask(&one.address).unwrap(), "you are 10.201.1.1", "the node reaches a replica");
    let address = two.address.clone();
    assert_eq!(within(&one.namespace, move || ask(&address)).unwrap(), "you are 10.201.1.2");
    let address = one.address.clone();
    assert_eq!(within(&one.namespace, move || ask(&address)).unwrap(), "you are 10.201.1.2", "and itself");
    assert_eq!(within(&one.namespace, || ask("127.0.0.1")).unwrap(), "you are 127.0.0.1");
    let outwards = within(&one.namespace, || ask("203.0.113.2")).unwrap();
    assert_eq!(outwards, "you are 203.0.113.1", "with the node's address");

    run(&format!("nsenter -t {} -n ip route add 10.201.1.0/24 via 203.0.113.1", world.0.id()));
    let (address, gateway) = (one.address.clone(), one.gateway.clone());
    let inwards = within(world.namespace(), move || {
        // The way is there: the node itself answers.
        let reset = ask(&gateway).unwrap_err();
        assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionRefused);
        let address: SocketAddr = format!("{address}:80").parse().unwrap();
        TcpStream::connect_timeout(&address, Duration::from_millis(300)).map(drop)
    });
    assert_eq!(inwards.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_daemon_that_starts_again_touches_nothing_and_knows_everything() {
    let mut node = Node::new(2, Some("10.201.2.0/24")).await;
    let mut attachments = vec![node.attached(1).await];
    attachments.extend([node.attached(2).await, node.attached(3).await]);
    node.detach(2).await;
    let freed = attachments.remove(1);
    let before = node.picture();
    node.stop().await;
    assert_eq!(node.picture(), before, "stopping");
    node.lose_control_plane();
    node.start().await;
    assert_eq!(node.list().await, attachments);
    assert_eq!(node.picture(), before, "starting");
    assert_eq!(node.attach(1).await.unwrap(), attachments[0]);
    assert_eq!(node.picture(), before, "asking again");
    let new = node.attach(4).await.expect("without a control plane as well");
    assert!(new.address != freed.address && attachments.iter().all(|a| a.address != new.address), "{new:?}");
}

#[tokio::test]
async fn fifty_replicas_at_once_get_fifty_places_and_leave_nothing_behind() {
    let mut node = Node::new(3, Some("10.201.3.0/24")).await;
    let empty = node.traces();
    node.attached(0).await;
    let began = Instant::now();
    let attached = futures::future::join_all((0..50).map(|n| node.attach(n))).await;
    let took = began.elapsed();
    let addresses: BTreeSet<_> = attached.into_iter().map(|attachment| attachment.unwrap().address).collect();
    assert_eq!(addresses.len(), 50);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(node.list().await.len(), 50);
    futures::future::join_all((0..25).map(|n| node.detach(n))).await;
    node.detach(7).await;
    assert_eq!(node.list().await.len(), 25);
    let bridge = &node.config.bridge;
    assert_eq!(output(&format!("ip -o link show master {bridge} | wc -l")).trim(), "25");

    let refused = orlop_overlay::teardown(node.config.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("is running; stop it first"), "{refused}");
    node.stop().await;
    orlop_overlay::teardown(node.config.clone()).await.unwrap();
    assert_eq!(node.traces(), empty.replace("addresses.json\n", "").replace("lock\n", "").replace("netns\n", ""));
    assert!(!node.config.run_dir.exists());
    orlop_overlay::teardown(node.config.clone()).await.expect("nothing there is no error");
}

#[tokio::test]
async fn a_daemon_killed_in_the_middle_of_attaching_is_followed_by_one_that_finishes() {
    let mut node = Node::new(4, Some("10.201.4.0/24")).await;
    node.attached(0).await;
    for round in 1..=6_u64 {
        let client = node.client();
        let asked = tokio::spawn(async move {
            let attach = |n: u128| {
                let mut client = client.clone();
                async move { client.attach(AttachRequest { replica: ReplicaId::from_u128(n).to_string() }).await }
            };
            futures::future::join_all((0..20).map(attach)).await
        });
        tokio::time::sleep(Duration::from_millis(round * 3)).await;
        node.daemon.take().unwrap().kill();
        asked.abort();
        node.start().await;
    }
    let attached = futures::future::join_all((0..20).map(|n| node.attach(n))).await;
    let attached: Vec<_> = attached.into_iter().map(Result::unwrap).collect();
    assert_eq!(attached.iter().map(|a| &a.address).collect::<BTreeSet<_>>().len(), 20);
    for attachment in &attached {
        mirror(&attachment.namespace);
        assert_eq!(ask(&attachment.address).unwrap(), format!("you are {}", attachment.gateway));
    }
}

#[tokio::test]
async fn without_a_subnet_without_room_and_with_another_subnet_the_daemon_says_so() {
    let node = Node::new(5, None).await;
    let status = node.attach(1).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("the node here has no subnet yet"), "{status}");
    let status = node.client().attach(AttachRequest { replica: "nonsense".into() }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);

    node.subnet.send_replace(Some("10.201.5.0/29"));
    node.attached(1).await;
    futures::future::join_all((2..=5).map(|n| node.attached(n))).await;
    let status = node.attach(6).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("5 of 5 are in use"), "{status}");

    node.subnet.send_replace(Some("10.201.6.0/24"));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        let status = node.attach(6).await.unwrap_err();
        if status.code() != Code::ResourceExhausted {
            break status;
        }
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(status.code(), Code::FailedPrecondition);
    let expected = "changed from 10.201.5.0/29 to 10.201.6.0/24 while 5 replicas are attached";
    assert!(status.message().contains(expected), "{status}");
    assert!(node.attach(3).await.is_ok(), "those that are there stay");

    futures::future::join_all((1..=5).map(|n| node.detach(n))).await;
    let moved = node.attach(6).await.unwrap();
    assert_eq!((moved.address.as_str(), moved.gateway.as_str()), ("10.201.6.2", "10.201.6.1"));
    assert_eq!(output(&format!("ip -4 -o addr show {} | wc -l", node.config.bridge)).trim(), "1");
}

#[tokio::test]
async fn a_daemon_that_starts_without_its_bridge_gives_nobody_an_address_in_use_and_mends_the_old_links() {
    let mut node = Node::new(5, Some("10.201.5.0/24")).await;
    let before = [node.attached(1).await, node.attached(2).await, node.attached(3).await];
    let bridge = node.config.bridge.clone();
    let port = |number| {
        let instance = orlop_overlay_core::Instance::new(&bridge, &bridge).unwrap();
        instance.port(ReplicaId::from_u128(number))
    };
    for (harm, kept) in [
        (format!("ip link del {bridge}"), vec![1, 2, 3]),
        // Its lower address comes first in every list.
        (format!("ip addr flush dev {bridge}; ip addr add 10.1.0.1/24 dev {bridge}"), vec![1, 2, 3]),
        (format!("ip link del {bridge}; ip link del {}", port(2)), vec![1, 2, 3]),
        (format!("ip link del {}; ip link del {}; ip link del {}", port(1), port(2), port(3)), vec![1, 2, 3]),
    ] {
        node.daemon.take().unwrap().kill();
        run(&harm);
        node.start().await;
        let new = node.attached(9).await;
        assert!(before.iter().all(|old| old.address != new.address), "{harm}: {new:?}");
        for number in kept {
            let old = &before[number as usize - 1];
            assert_eq!(node.attached(number).await, *old, "{harm}");
            let (place, gateway) = (old.namespace.clone(), old.gateway.clone());
            // The node itself answers over the link: it has nothing at that port.
            let answer = within(place, move || ask(&gateway).unwrap_err().kind());
            assert_eq!(answer, std::io::ErrorKind::ConnectionRefused, "{harm}: replica {number}");
        }
        node.detach(9).await;
    }
}

#[tokio::test]
async fn while_it_cannot_be_read_what_was_left_no_address_is_given_out() {
    let mut node = Node::new(6, Some("10.201.6.0/24")).await;
    let old = node.attached(1).await;
    node.daemon.take().unwrap().kill();
    // A namespace that cannot be entered as a network.
    run(&format!("mount --bind /proc/self/ns/uts {}", old.namespace));
    node.start().await;
    let refused = node.attach(2).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().contains("cannot be read"), "{refused}");
    run(&format!("umount {}", old.namespace));
    let new = node.attached(2).await;
    assert_ne!(new.address, old.address);
    assert_eq!(node.attach(1).await.unwrap(), old);
}
