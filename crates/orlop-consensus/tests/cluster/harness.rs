//! A cluster in one process. Each member has a runtime of its own, so that it can end as if it was killed.

use crate::list::List;
use crate::network::Network;
use orlop_consensus::{Consensus, Options, SubmitError};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::transport::server::TcpIncoming;

pub(crate) struct Node {
    pub(crate) consensus: Consensus,
    pub(crate) list: Arc<List>,
    runtime: Option<Runtime>,
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) struct Cluster {
    pub(crate) network: Arc<Network>,
    pub(crate) nodes: BTreeMap<u64, Node>,
    directory: PathBuf,
    /// Removed in the end, if it is this cluster's own.
    _own: Option<TempDir>,
    change: fn(&mut Options),
}

pub(crate) fn address(member: u64) -> String {
    format!("member-{member}")
}

impl Cluster {
    /// A cluster of so many voters.
    pub(crate) async fn new(members: u64) -> Self {
        Self::with(members, |_| {}).await
    }

    /// The same with other options.
    pub(crate) async fn with(members: u64, change: fn(&mut Options)) -> Self {
        let mut cluster = Self { change, ..Self::empty() };
        cluster.make(members).await;
        cluster
    }

    /// Makes a cluster of so many voters.
    pub(crate) async fn make(&mut self, members: u64) {
        self.start(1).await;
        self.on(1, |first| async move { first.init(&address(1)).await }).await.unwrap();
        for member in 2..=members {
            self.start(member).await;
            self.join(member).await;
        }
    }

    /// Other options for members that are started from now on.
    pub(crate) fn set(&mut self, change: fn(&mut Options)) {
        self.change = change;
    }

    /// No member at all.
    pub(crate) fn empty() -> Self {
        let own = tempfile::tempdir().unwrap();
        let directory = own.path().to_owned();
        Self { _own: Some(own), ..Self::at(directory) }
    }

    /// No member yet, but directories of some that were there before.
    pub(crate) fn at(directory: PathBuf) -> Self {
        Self { network: Arc::default(), nodes: BTreeMap::new(), directory, _own: None, change: |_| {} }
    }

    pub(crate) fn directory(&self, member: u64) -> PathBuf {
        self.directory.join(member.to_string())
    }

    /// Starts a member on the directory it has.
    pub(crate) async fn start(&mut self, member: u64) {
        self.start_at(member, &address(member)).await;
    }

    /// Why a member does not start.
    pub(crate) async fn try_start(&self, member: u64) -> Result<(), orlop_consensus::StartError> {
        let options = Options { member, ..Options::new(self.directory(member)) };
        Consensus::start(options, List::new(), self.network.dial(member)).await.map(drop)
    }

    pub(crate) async fn start_at(&mut self, member: u64, address: &str) {
        let mut options = Options { member, ..Options::new(self.directory(member)) };
        (self.change)(&mut options);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let list = List::new();
        let (machine, dial) = (list.clone(), self.network.dial(member));
        let started = runtime.spawn(async move {
            let began = Instant::now();
            loop {
                // The threads of a member that was killed take a moment to end.
                match Consensus::start(options.clone(), machine.clone(), dial.clone()).await {
                    Err(error) if began.elapsed() < Duration::from_secs(10) && error.to_string().contains("in use") => {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    started => return started.unwrap(),
                }
            }
        });
        let consensus = started.await.unwrap();
        let service = consensus.peer_service();
        let listener = {
            let _inside = runtime.enter();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            tokio::net::TcpListener::from_std(listener).unwrap()
        };
        self.network.place(member, address, listener.local_addr().unwrap().port());
        let server = tonic::transport::Server::builder().add_service(service);
        runtime.spawn(server.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))));
        self.nodes.insert(member, Node { consensus, list, runtime: Some(runtime) });
    }

    /// Adds a running member as a voter.
    pub(crate) async fn join(&self, member: u64) {
        self.change(|leader| async move { leader.add_learner(member, &address(member)).await }).await;
        self.change(|leader| async move { leader.promote(member).await }).await;
    }

    /// Ends a member like a kill does: nothing is told to anybody.
    pub(crate) fn kill(&mut self, member: u64) {
        drop(self.nodes.remove(&member));
    }

    pub(crate) fn member(&self, member: u64) -> &Consensus {
        &self.nodes[&member].consensus
    }

    /// Runs something on a member's own runtime.
    pub(crate) async fn on<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        member: u64,
        work: impl FnOnce(Consensus) -> F,
    ) -> T {
        let node = &self.nodes[&member];
        node.runtime.as_ref().unwrap().spawn(work(node.consensus.clone())).await.unwrap()
    }

    /// Changes the members on the leader, and tries again while there is none.
    pub(crate) async fn change<F>(&self, work: impl Fn(Consensus) -> F)
    where
        F: Future<Output = Result<(), orlop_consensus::MembersError>>,
    {
        use orlop_consensus::MembersError as E;
        let began = Instant::now();
        loop {
            let leader = self.leader().await;
            match work(self.member(leader).clone()).await {
                Ok(()) => return,
                Err(E::NotLeader { .. } | E::Busy | E::Exists { .. }) if began.elapsed() < Duration::from_secs(20) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    /// A member that all running members of the majority call their leader.
    pub(crate) async fn leader(&self) -> u64 {
        self.leader_among(&self.nodes.keys().copied().collect::<Vec<_>>()).await
    }

    pub(crate) async fn leader_among(&self, members: &[u64]) -> u64 {
        let began = Instant::now();
        loop {
            for member in members {
                let known = self.member(*member).leadership().borrow().leader;
                if known == Some(*member) {
                    return *member;
                }
            }
            assert!(began.elapsed() < Duration::from_secs(20), "no leader among {members:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) async fn submit(&self, member: u64, text: &str) -> Result<u64, SubmitError> {
        self.member(member).submit(text.as_bytes().to_vec()).await.map(|applied| applied.index)
    }

    /// Waits until all running members have applied the same commands, and gives them.
    pub(crate) async fn agree(&self) -> Vec<String> {
        let began = Instant::now();
        loop {
            let mut lists = self.nodes.values().map(|node| node.list.texts());
            let first = lists.next().unwrap();
            if lists.all(|list| list == first) {
                return first;
            }
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "the members differ: {:?}, {:?}",
                self.nodes.iter().map(|(id, node)| (*id, node.list.all().len())).collect::<Vec<_>>(),
                self.nodes.values().map(|node| node.consensus.status()).collect::<Vec<_>>()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub(crate) async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
