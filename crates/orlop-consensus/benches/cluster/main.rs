//! `make bench-consensus`: three members on loopback, each a process with a disk that is synced, beside etcd's the same
//! way, alternating in one run. Both are reached over gRPC without TLS. What is measured is a write of 256 bytes, from the
//! client's request to the answer. Absolute times mean little on a shared machine; the ratios of one run do. A goal that a run
//! does not reach is marked MISSED.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

mod etcd;
mod ours;

use std::time::{Duration, Instant};

const VALUE_BYTES: usize = 256;
const ROUNDS: usize = 5;

/// A cluster that is measured.
#[tonic::async_trait]
pub(crate) trait Peer: Send + Sync {
    fn name(&self) -> &'static str;
    /// A client with a connection of its own to a member; none means the leader.
    async fn client(&self, member: Option<usize>) -> Box<dyn Client>;
    async fn leader(&self) -> usize;
    /// Ends the member's process, or stops it in its tracks.
    fn signal(&mut self, member: usize, signal: nix::sys::signal::Signal);
    async fn restart(&mut self, member: usize);
    /// Hands leadership over; returns when the new leader leads.
    async fn transfer(&mut self, to: usize);
}

#[tonic::async_trait]
pub(crate) trait Client: Send + Sync {
    /// Writes, and returns whether it was acknowledged.
    async fn put(&self, key: u64, value: &[u8]) -> bool;
    fn again(&self) -> Box<dyn Client>;
}

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|c| c == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut peers: Vec<Box<dyn Peer>> = vec![Box::new(ours::Ours::start().await)];
        match etcd::Etcd::start().await {
            Some(etcd) => peers.push(Box::new(etcd)),
            None => println!("no etcd here (Debian's etcd-server, or its path in ETCD): ours alone"),
        }
        println!("{:<52} {:>10} {:>10} {:>12}", "", "p50", "p99", "goal");
        if wanted("latency") {
            latency(&peers).await;
        }
        if wanted("throughput") {
            throughput(&peers).await;
        }
        if wanted("transfer") {
            transfer(&mut peers).await;
        }
        if wanted("kill") {
            failover(&mut peers, nix::sys::signal::Signal::SIGKILL, "SIGKILL").await;
        }
        if wanted("stop") {
            failover(&mut peers, nix::sys::signal::Signal::SIGSTOP, "SIGSTOP").await;
        }
    });
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

fn line(what: &str, times: &mut [Duration], goal: Option<(Duration, Duration)>) -> (Duration, Duration) {
    times.sort_unstable();
    let (p50, p99) = (percentile(times, 50), percentile(times, 99));
    let verdict = goal.map_or(String::new(), |(g50, g99)| {
        let missed = if p50 > g50 || p99 > g99 { " MISSED" } else { "" };
        format!("{} / {}{missed}", milliseconds(g50), milliseconds(g99))
    });
    println!("{what:<52} {:>10} {:>10} {verdict:>12}", milliseconds(p50), milliseconds(p99));
    (p50, p99)
}

async fn latency(peers: &[Box<dyn Peer>]) {
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); peers.len()];
    let value = [7; VALUE_BYTES];
    for _ in 0..ROUNDS {
        for (peer, times) in peers.iter().zip(&mut times) {
            let client = peer.client(None).await;
            for warm in 0..50 {
                client.put(warm, &value).await;
            }
            for number in 0..500 {
                let began = Instant::now();
                assert!(client.put(number, &value).await);
                times.push(began.elapsed());
            }
        }
    }
    let mut goal = None;
    for index in (0..peers.len()).rev() {
        let what = format!("commit, 1 client, {}", peers[index].name());
        let found = line(&what, &mut times[index], if index == 0 { goal } else { None });
        goal = Some(found);
    }
}

async fn throughput(peers: &[Box<dyn Peer>]) {
    const CLIENTS: u64 = 1000;
    const SPAN: Duration = Duration::from_secs(4);
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); peers.len()];
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); peers.len()];
    for _ in 0..3 {
        for (index, peer) in peers.iter().enumerate() {
            let mut connections = Vec::new();
            for _ in 0..8 {
                connections.push(peer.client(None).await);
            }
            let end = Instant::now() + SPAN;
            let clients: Vec<_> = (0..CLIENTS)
                .map(|number| {
                    let client = connections[number as usize % connections.len()].again();
                    tokio::spawn(async move {
                        let (value, mut times) = ([7; VALUE_BYTES], Vec::new());
                        while Instant::now() < end {
                            let began = Instant::now();
                            if client.put(number, &value).await {
                                times.push(began.elapsed());
                            }
                        }
                        times
                    })
                })
                .collect();
            let mut done = 0;
            for client in clients {
                let found = client.await.unwrap();
                done += found.len();
                times[index].extend(found);
            }
            rates[index].push(done as f64 / SPAN.as_secs_f64());
        }
    }
    for (index, peer) in peers.iter().enumerate() {
        line(&format!("commit, {CLIENTS} clients, {}", peer.name()), &mut times[index], None);
        let best = rates[index].iter().copied().fold(0.0, f64::max);
        let goal = if index > 0 {
            ""
        } else if best >= 15_000.0 {
            "15000/s"
        } else {
            "15000/s MISSED"
        };
        println!(
            "{:<52} {:>8.0}/s {:>10} {goal:>12}",
            format!("durable writes, {CLIENTS} clients, {}", peer.name()),
            best,
            ""
        );
    }
}

async fn transfer(peers: &mut [Box<dyn Peer>]) {
    for (index, peer) in peers.iter_mut().enumerate() {
        let mut times = Vec::new();
        for round in 0..15_u64 {
            let to = peer.leader().await % 3 + 1;
            let client = peer.client(Some(to)).await;
            assert!(client.put(round, &[1; VALUE_BYTES]).await);
            let began = Instant::now();
            peer.transfer(to).await;
            while !client.put(round, &[1; VALUE_BYTES]).await {}
            times.push(began.elapsed());
        }
        let goal = (index == 0).then_some((Duration::from_millis(50), Duration::from_millis(50)));
        line(&format!("planned hand-over to the next write, {}", peer.name()), &mut times, goal);
    }
}

async fn failover(peers: &mut [Box<dyn Peer>], signal: nix::sys::signal::Signal, name: &str) {
    const TIMES: u64 = 15;
    for (index, peer) in peers.iter_mut().enumerate() {
        let mut times = Vec::new();
        for round in 0..TIMES {
            let leader = peer.leader().await;
            let client = peer.client(Some(leader % 3 + 1)).await;
            assert!(client.put(round, &[1; VALUE_BYTES]).await);
            tokio::time::sleep(Duration::from_millis(300 + round * 37 % 100)).await;
            let began = Instant::now();
            peer.signal(leader, signal);
            while !client.put(round, &[1; VALUE_BYTES]).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            times.push(began.elapsed());
            if signal == nix::sys::signal::Signal::SIGSTOP {
                peer.signal(leader, nix::sys::signal::Signal::SIGCONT);
            } else {
                peer.restart(leader).await;
            }
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        let goal = (index == 0).then_some((Duration::from_millis(500), Duration::from_millis(1000)));
        line(&format!("leader {name} to the next write, {}", peer.name()), &mut times, goal);
    }
}
