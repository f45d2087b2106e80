//! Three members of ours: `examples/member.rs` in three processes.

use crate::{Client, Peer};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orlop_proto::peer::v1 as pb;
use orlop_proto::peer::v1::peer_service_client::PeerServiceClient;
use pb::submit_response::{NotLeader, Outcome};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

struct Process {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Process {
    fn ask(&mut self, command: &str) -> Result<String, String> {
        writeln!(self.child.stdin.as_mut().unwrap(), "{command}").map_err(|e| e.to_string())?;
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        match line.trim().split_once(' ').unwrap_or((line.trim(), "")) {
            ("ok", answer) => Ok(answer.to_owned()),
            (_, error) => Err(error.to_owned()),
        }
    }
}

pub(crate) struct Ours {
    directory: TempDir,
    processes: std::sync::Mutex<Vec<Process>>,
    ports: Vec<u16>,
}

fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().unwrap().parent().unwrap().join("examples/member")
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Ours {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
        let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let ours = Self { directory, ports, processes: std::sync::Mutex::default() };
        for member in 1..=3 {
            let process = ours.spawn(member);
            ours.processes.lock().unwrap().push(process);
        }
        let mut processes = ours.processes.lock().unwrap();
        processes[0].ask("init").unwrap();
        for member in 2..=3 {
            processes[0].ask(&format!("add {member} 127.0.0.1:{}", ours.ports[member - 1])).unwrap();
        }
        drop(processes);
        ours
    }

    fn spawn(&self, member: usize) -> Process {
        let mut child = Command::new(program())
            .arg(member.to_string())
            .arg(self.directory.path().join(member.to_string()))
            .arg(format!("127.0.0.1:{}", self.ports[member - 1]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("build the example `member` in release mode first");
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        answers.read_line(&mut ready).unwrap();
        assert_eq!(ready.trim(), "ready");
        Process { child, answers }
    }

    fn status(&self, member: usize) -> usize {
        let status = self.processes.lock().unwrap()[member - 1].ask("status").unwrap_or_default();
        status.split(' ').next().and_then(|leader| leader.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        for process in self.processes.lock().unwrap().iter_mut() {
            process.child.kill().ok();
            process.child.wait().ok();
        }
    }
}

#[tonic::async_trait]
impl Peer for Ours {
    fn name(&self) -> &'static str {
        "orlop"
    }

    async fn client(&self, member: Option<usize>) -> Box<dyn Client> {
        let member = match member {
            Some(member) => member,
            None => self.leader().await,
        };
        let connect = |port: &u16| {
            let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
            PeerServiceClient::new(endpoint.tcp_nodelay(true).connect_lazy())
        };
        Box::new(Ask { clients: self.ports.iter().map(connect).collect(), member })
    }

    async fn leader(&self) -> usize {
        loop {
            let said: Vec<usize> = (1..=3).map(|member| self.status(member)).collect();
            if said[0] != 0 && said.iter().all(|leader| *leader == said[0]) {
                return said[0];
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn signal(&mut self, member: usize, signal: Signal) {
        let process = &mut self.processes.lock().unwrap()[member - 1];
        kill(Pid::from_raw(process.child.id() as i32), signal).unwrap();
        if signal == Signal::SIGKILL {
            process.child.wait().unwrap();
        }
    }

    async fn restart(&mut self, member: usize) {
        let process = self.spawn(member);
        self.processes.lock().unwrap()[member - 1] = process;
    }

    async fn transfer(&mut self, to: usize) {
        let leader = self.leader().await;
        self.processes.lock().unwrap()[leader - 1].ask(&format!("transfer {to}")).unwrap();
    }
}

/// A client that knows all members, begins with one, and follows what it says about the leader, as a member's own
/// `Consensus::submit` does.
#[derive(Clone)]
struct Ask {
    clients: Vec<PeerServiceClient<Channel>>,
    member: usize,
}

impl Ask {
    async fn ask(&self, member: usize, value: &[u8], patience: Duration) -> Option<Outcome> {
        let to = Some(pb::Addressee { member: member as u64, voter: true });
        let mut request = tonic::Request::new(pb::SubmitRequest { to, command: value.to_vec().into() });
        request.set_timeout(patience);
        self.clients[member - 1].clone().submit(request).await.ok()?.into_inner().outcome
    }
}

#[tonic::async_trait]
impl Client for Ask {
    async fn put(&self, _key: u64, value: &[u8]) -> bool {
        let answer = match self.ask(self.member, value, Duration::from_millis(500)).await {
            // A member that passes a command on asks anew as soon as another one leads; this client cannot know.
            Some(Outcome::NotLeader(NotLeader { leader })) if leader != 0 && leader as usize != self.member => {
                self.ask(leader as usize, value, Duration::from_millis(50)).await
            }
            other => other,
        };
        matches!(answer, Some(Outcome::Applied(_)))
    }

    fn again(&self) -> Box<dyn Client> {
        Box::new(self.clone())
    }
}
