//! Members in simulated time, on simulated disks and a simulated network: the same seed gives the same history.

#![expect(clippy::unwrap_used, reason = "a test that assumes wrongly fails, as it should, also in what tests share")]

#[path = "../support/list.rs"]
mod list;
#[path = "../support/memory.rs"]
mod memory;

use list::List;
use memory::Memory;
use orlop_consensus::seam::{Lane, Messages, Peer, PeerError, Peers, fix_chance};
use orlop_consensus::{Consensus, Options};
use orlop_proto::peer::v1 as pb;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Members that run, and pairs between which nothing goes.
#[derive(Default)]
struct World {
    members: Mutex<BTreeMap<u64, Arc<dyn Peer>>>,
    cuts: Mutex<BTreeSet<(u64, u64)>>,
}

struct From {
    world: Arc<World>,
    from: u64,
}

impl Peers for From {
    fn peer(&self, member: u64, _address: &str, _lane: Lane) -> Arc<dyn Peer> {
        Arc::new(To { world: self.world.clone(), from: self.from, to: member })
    }
}

struct To {
    world: Arc<World>,
    from: u64,
    to: u64,
}

impl To {
    /// The time of a packet, or for ever through a cut.
    async fn travel(&self, from: u64, to: u64) {
        let cut = self.world.cuts.lock().unwrap().contains(&(from, to));
        if cut {
            std::future::pending::<()>().await;
        }
        sleep(Duration::from_micros(200)).await;
    }

    async fn ask<T, F: Future<Output = Result<T, PeerError>>>(
        &self,
        request: impl FnOnce(Arc<dyn Peer>) -> F,
    ) -> Result<T, PeerError> {
        self.travel(self.from, self.to).await;
        let found = self.world.members.lock().unwrap().get(&self.to).cloned();
        let unreachable = || PeerError::Unreachable { member: self.to, reason: "it does not run".into() };
        let answer = request(found.ok_or_else(unreachable)?).await;
        self.travel(self.to, self.from).await;
        answer
    }
}

#[tonic::async_trait]
impl Peer for To {
    async fn append(&self, request: pb::AppendRequest) -> Result<pb::AppendResponse, PeerError> {
        self.ask(|peer| async move { peer.append(request).await }).await
    }

    async fn append_stream(
        &self,
        requests: Messages<pb::AppendRequest>,
    ) -> Result<Messages<Result<pb::AppendResponse, PeerError>>, PeerError> {
        use futures::StreamExt;
        // One after the other, which is a pipeline of length one.
        let to = Self { world: self.world.clone(), from: self.from, to: self.to };
        let answers = requests.then(move |request| {
            let to = Self { world: to.world.clone(), from: to.from, to: to.to };
            async move { to.append(request).await }
        });
        Ok(answers.boxed())
    }

    async fn vote(&self, request: pb::VoteRequest) -> Result<pb::VoteResponse, PeerError> {
        self.ask(|peer| async move { peer.vote(request).await }).await
    }

    async fn offer_snapshot(&self, offer: pb::SnapshotOffer) -> Result<pb::SnapshotProgress, PeerError> {
        self.ask(|peer| async move { peer.offer_snapshot(offer).await }).await
    }

    async fn send_snapshot(&self, part: pb::SendSnapshotRequest) -> Result<pb::SnapshotProgress, PeerError> {
        self.ask(|peer| async move { peer.send_snapshot(part).await }).await
    }

    async fn install_snapshot(&self, offer: pb::SnapshotOffer) -> Result<pb::SnapshotProgress, PeerError> {
        self.ask(|peer| async move { peer.install_snapshot(offer).await }).await
    }

    async fn transfer_leader(
        &self,
        request: pb::TransferLeaderRequest,
    ) -> Result<pb::TransferLeaderResponse, PeerError> {
        self.ask(|peer| async move { peer.transfer_leader(request).await }).await
    }

    async fn submit(&self, request: pb::SubmitRequest) -> Result<pb::SubmitResponse, PeerError> {
        self.ask(|peer| async move { peer.submit(request).await }).await
    }

    async fn read_index(&self, request: pb::ReadIndexRequest) -> Result<pb::ReadIndexResponse, PeerError> {
        self.ask(|peer| async move { peer.read_index(request).await }).await
    }
}

struct Simulated {
    consensus: Consensus,
    list: Arc<List>,
}

async fn start(world: &Arc<World>, disks: &BTreeMap<u64, Memory>, member: u64) -> Simulated {
    let options = Options { member, snapshot_after_entries: 40, keep_entries: 5, ..Options::new("/simulated") };
    let list = List::new();
    let peers = Arc::new(From { world: world.clone(), from: member });
    let disk = Arc::new(disks[&member].clone());
    let consensus = Consensus::start_in(options, list.clone(), peers, disk).await.unwrap();
    world.members.lock().unwrap().insert(member, consensus.peer());
    Simulated { consensus, list }
}

/// A life of three members with cuts and losses of power, as a text.
async fn history() -> Vec<String> {
    let began = Instant::now();
    let world = Arc::new(World::default());
    let disks: BTreeMap<u64, Memory> = (1..=3).map(|member| (member, Memory::default())).collect();
    let mut members = BTreeMap::new();
    for member in 1..=3 {
        members.insert(member, start(&world, &disks, member).await);
    }
    let first = &members[&1].consensus;
    first.init("1").await.unwrap();
    for member in 2..=3 {
        first.add_learner(member, &member.to_string()).await.unwrap();
        first.promote(member).await.unwrap();
    }
    let mut history = Vec::new();
    let mut acknowledged = Vec::new();
    for round in 0..8_u64 {
        for number in 0..20 {
            let text = format!("{round}-{number}");
            let through = &members[&(number % 3 + 1)].consensus;
            match through.submit(text.clone().into_bytes()).await {
                Ok(applied) => {
                    history.push(format!("{:?} {text} at {}", began.elapsed(), applied.index));
                    acknowledged.push(text);
                }
                Err(error) => history.push(format!("{:?} {text}: {error}", began.elapsed())),
            }
        }
        let leader = first_leader(&members).await;
        history.push(format!("{:?} member {leader} leads", began.elapsed()));
        if round % 2 == 0 {
            let others = (1..=3).filter(|other| *other != leader);
            world.cuts.lock().unwrap().extend(others.flat_map(|other| [(leader, other), (other, leader)]));
            sleep(Duration::from_secs(2)).await;
            world.cuts.lock().unwrap().clear();
        } else {
            world.members.lock().unwrap().remove(&leader);
            disks[&leader].lose_power();
            members.remove(&leader);
            sleep(Duration::from_millis(700)).await;
            members.insert(leader, start(&world, &disks, leader).await);
        }
    }
    sleep(Duration::from_secs(3)).await;
    for (member, simulated) in &members {
        let found = simulated.list.texts();
        let mut kept = found.clone();
        kept.retain(|text| acknowledged.contains(text));
        kept.dedup();
        assert_eq!(kept, acknowledged, "member {member}");
        history.push(format!("member {member} has {} at {:?}", found.len(), simulated.consensus.status()));
    }
    history
}

async fn first_leader(members: &BTreeMap<u64, Simulated>) -> u64 {
    loop {
        for (member, simulated) in members {
            if simulated.consensus.leadership().borrow().leader == Some(*member) {
                return *member;
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
}

fn run(seed: u64) -> Vec<String> {
    fix_chance(Some(seed));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let history = runtime.block_on(history());
    drop(runtime);
    fix_chance(None);
    history
}

#[test]
fn the_same_seed_gives_the_same_history_and_another_one_another() {
    let mut histories = BTreeSet::new();
    for seed in 0..4 {
        let history = run(seed);
        let again = run(seed);
        let differs = history.iter().zip(&again).position(|(a, b)| a != b);
        assert_eq!(differs.map(|at| (&history[at], &again[at])), None, "seed {seed}");
        assert_eq!(history.len(), again.len());
        histories.insert(history);
    }
    assert!(histories.len() > 2, "chance makes no difference");
}
