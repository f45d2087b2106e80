//! Three members of etcd, with the settings they have by themselves.

use crate::{Client, Peer};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prost::Message;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

/// `etcdserverpb.PutRequest`, as far as it is used.
#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}

/// Any answer of etcd: what comes after the header is not looked at, but for the leader of a status.
#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    /// In a `StatusResponse`.
    #[prost(uint64, tag = "4")]
    leader: u64,
}

/// `etcdserverpb.PutResponse`: its fourth field is not a number.
#[derive(Clone, PartialEq, Message)]
struct Put {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
}

#[derive(Clone, PartialEq, Message)]
struct Empty {}

#[derive(Clone, PartialEq, Message)]
struct MoveLeader {
    #[prost(uint64, tag = "1")]
    target: u64,
}

pub(crate) struct Etcd {
    program: String,
    directory: TempDir,
    children: Vec<Child>,
    clients: Vec<u16>,
    peers: Vec<u16>,
    ids: Vec<u64>,
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn call<A: Message + 'static, B: Message + Default + 'static>(
    channel: Channel,
    path: &'static str,
    request: A,
) -> Option<B> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.ok()?;
    let mut request = tonic::Request::new(request);
    // So that a member that does not answer is noticed like ours is.
    request.set_timeout(Duration::from_millis(500));
    let path = http::uri::PathAndQuery::from_static(path);
    grpc.unary(request, path, ProstCodec::<A, B>::default()).await.ok().map(tonic::Response::into_inner)
}

impl Etcd {
    pub(crate) async fn start() -> Option<Self> {
        let program = std::env::var("ETCD").unwrap_or_else(|_| "etcd".to_owned());
        Command::new(&program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
        let ports = || (0..3).map(|_| free_port()).collect::<Vec<u16>>();
        let directory = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
        let (clients, peers) = (ports(), ports());
        let mut etcd = Self { program, directory, children: Vec::new(), clients, peers, ids: Vec::new() };
        for member in 1..=3 {
            let child = etcd.spawn(member);
            etcd.children.push(child);
        }
        let began = Instant::now();
        for member in 1..=3 {
            let id = loop {
                assert!(began.elapsed() < Duration::from_secs(30), "etcd does not start");
                if let Some(Answer { header: Some(header), leader: 1.. }) = etcd.status(member).await {
                    break header.member_id;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            etcd.ids.push(id);
        }
        Some(etcd)
    }

    fn spawn(&self, member: usize) -> Child {
        let peer = |member: usize| format!("http://127.0.0.1:{}", self.peers[member - 1]);
        let client = format!("http://127.0.0.1:{}", self.clients[member - 1]);
        let cluster: Vec<String> = (1..=3).map(|other| format!("m{other}={}", peer(other))).collect();
        Command::new(&self.program)
            .args(["--name", &format!("m{member}"), "--log-level", "error"])
            .arg("--data-dir")
            .arg(self.directory.path().join(member.to_string()))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer(member), "--initial-advertise-peer-urls", &peer(member)])
            .args(["--initial-cluster", &cluster.join(",")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn channel(&self, member: usize) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", self.clients[member - 1])).unwrap();
        endpoint.tcp_nodelay(true).connect_lazy()
    }

    async fn status(&self, member: usize) -> Option<Answer> {
        call::<_, Answer>(self.channel(member), "/etcdserverpb.Maintenance/Status", Empty {}).await
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

#[tonic::async_trait]
impl Peer for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
    }

    async fn client(&self, member: Option<usize>) -> Box<dyn Client> {
        let member = match member {
            Some(member) => member,
            None => self.leader().await,
        };
        Box::new(Ask { channel: self.channel(member) })
    }

    async fn leader(&self) -> usize {
        loop {
            let mut said = Vec::new();
            for member in 1..=3 {
                said.push(self.status(member).await.map_or(0, |status| status.leader));
            }
            if said[0] != 0
                && said.iter().all(|leader| *leader == said[0])
                && let Some(index) = self.ids.iter().position(|id| *id == said[0])
            {
                return index + 1;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn signal(&mut self, member: usize, signal: Signal) {
        kill(Pid::from_raw(self.children[member - 1].id() as i32), signal).unwrap();
        if signal == Signal::SIGKILL {
            self.children[member - 1].wait().unwrap();
        }
    }

    async fn restart(&mut self, member: usize) {
        self.children[member - 1] = self.spawn(member);
    }

    async fn transfer(&mut self, to: usize) {
        let leader = self.leader().await;
        let request = MoveLeader { target: self.ids[to - 1] };
        call::<_, Put>(self.channel(leader), "/etcdserverpb.Maintenance/MoveLeader", request).await.unwrap();
    }
}

#[derive(Clone)]
struct Ask {
    channel: Channel,
}

#[tonic::async_trait]
impl Client for Ask {
    async fn put(&self, key: u64, value: &[u8]) -> bool {
        let request = PutRequest { key: key.to_be_bytes().to_vec(), value: value.to_vec() };
        call::<_, Put>(self.channel.clone(), "/etcdserverpb.KV/Put", request).await.is_some()
    }

    fn again(&self) -> Box<dyn Client> {
        Box::new(self.clone())
    }
}
