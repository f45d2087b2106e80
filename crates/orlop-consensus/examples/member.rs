//! One member in a process of its own, for benchmarks: `member ID DIRECTORY LISTEN`. It serves members and clients alike, in
//! the clear, and obeys commands on its standard input, each answered with a line: `init`, `add ID ADDRESS` (as a voter),
//! `transfer ID`, `status`. It ends when its input does.

use orlop_consensus::{Consensus, Dial, Encode, InvalidSnapshot, Options, StateMachine, tune};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};

/// Counts what it is given.
#[derive(Default)]
struct Counter {
    bytes: AtomicU64,
}

impl StateMachine for Counter {
    fn apply(&self, _index: u64, command: &[u8]) -> Vec<u8> {
        self.bytes.fetch_add(command.len() as u64, Ordering::Relaxed);
        Vec::new()
    }

    fn snapshot(&self) -> Encode {
        let bytes = self.bytes.load(Ordering::Relaxed);
        Box::new(move || bytes.to_le_bytes().to_vec())
    }

    fn restore(&self, _index: u64, snapshot: &[u8]) -> Result<(), InvalidSnapshot> {
        let bytes = snapshot.try_into().map_err(|_| InvalidSnapshot("not a number".into()))?;
        self.bytes.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        Ok(())
    }
}

struct Plain;

impl Dial for Plain {
    fn channel(&self, _member: u64, address: &str) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        tune(endpoint.unwrap_or_else(|_| Endpoint::from_static("http://127.0.0.1:0"))).connect_lazy()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [id, directory, listen] = arguments.as_slice() else { return Err("usage: member ID DIRECTORY LISTEN".into()) };
    let options = Options { member: id.parse()?, ..Options::new(directory) };
    let consensus = Consensus::start(options, Arc::new(Counter::default()), Arc::new(Plain)).await?;
    let listener = TcpListener::bind(listen).await?;
    let server = Server::builder()
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(8 << 20)
        .add_service(consensus.peer_service());
    let serving = tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))));
    println!("ready");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match obey(&consensus, listen, &line).await {
            Ok(answer) => println!("ok {answer}"),
            Err(error) => println!("error {error}"),
        }
    }
    serving.abort();
    consensus.shutdown().await;
    Ok(())
}

async fn obey(consensus: &Consensus, listen: &str, line: &str) -> Result<String, Box<dyn Error>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["init"] => consensus.init(listen).await?,
        ["add", id, address] => {
            consensus.add_learner(id.parse()?, address).await?;
            consensus.promote(id.parse()?).await?;
        }
        ["transfer", id] => consensus.transfer_leadership(id.parse()?).await?,
        ["status"] => {
            let leadership = consensus.leadership().borrow().clone();
            return Ok(format!("{} {}", leadership.leader.unwrap_or(0), leadership.term));
        }
        _ => return Err(format!("not understood: {line}").into()),
    }
    Ok(String::new())
}
