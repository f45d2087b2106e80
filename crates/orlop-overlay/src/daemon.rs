//! The one owner of the node's addresses. Requests, changes of the mesh view and a timer come in; each is dealt with
//! before the next, so that no two changes of the kernel ever meet.

use crate::mesh::Mesh;
use crate::network::{Network, NetworkError};
use ipnet::Ipv4Net;
use orlop_client::chain;
use orlop_model::{ReplicaId, Timestamp};
use orlop_overlay_core::{
    Addresses, Desired, Instance, InvalidSubnet, NoFreeAddress, Observed, Remains, Step, Subnet, plan_node,
    plan_replica,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// How often everything is looked at, to mend what somebody broke.
const PASS: Duration = Duration::from_secs(60);

/// A replica's place on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attachment {
    pub(crate) replica: ReplicaId,
    pub(crate) namespace: PathBuf,
    pub(crate) address: Ipv4Addr,
    pub(crate) gateway: Ipv4Addr,
    pub(crate) prefix_length: u8,
}

/// Why a replica was not attached or detached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The node is not in the mesh view yet.
    #[error("the node {node} has no subnet yet: its agent has not registered, or the control plane cannot be reached")]
    NoSubnet {
        /// The node's name.
        node: String,
    },
    /// The subnet that the node was given cannot be used.
    #[error(transparent)]
    InvalidSubnet(#[from] InvalidSubnet),
    /// The node was given another subnet while replicas live in the old one.
    #[error(
        "the node's subnet changed from {old} to {new} while {attached} replicas are attached in {old}; \
         stop the replicas of this node first"
    )]
    SubnetChanged {
        /// Where replicas live.
        old: Ipv4Net,
        /// What the mesh view says.
        new: Ipv4Net,
        /// How many replicas live there.
        attached: usize,
    },
    /// What an earlier daemon left could not be read, so nobody knows which addresses are in use.
    #[error("what an earlier overlay daemon left on this node cannot be read, and a new address could be one in use")]
    Unread(#[source] NetworkError),
    /// The subnet is full.
    #[error(transparent)]
    Full(#[from] NoFreeAddress),
    /// The kernel refused.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The daemon is ending.
    #[error("the overlay daemon is stopping")]
    Stopping,
}

/// What is asked of the daemon.
pub(crate) enum Request {
    Attach(ReplicaId, oneshot::Sender<Result<Attachment, AttachError>>),
    Detach(ReplicaId, oneshot::Sender<Result<(), AttachError>>),
    List(oneshot::Sender<Vec<Attachment>>),
}

enum Event {
    Request(Request),
    MeshChanged,
    Pass,
    Stop,
}

/// What outlives the daemon beside the kernel: the addresses that rest, and those that replicas have. When this is
/// lost, an address may come back early, and a replica whose link somebody took away as well may get another one.
#[derive(Debug, Serialize, Deserialize)]
struct Memory {
    resting: BTreeMap<Ipv4Addr, u64>,
    last: Ipv4Addr,
    #[serde(default)]
    subnet: Option<String>,
    /// By the replica's id.
    #[serde(default)]
    held: BTreeMap<String, Ipv4Addr>,
}

pub(crate) struct Daemon {
    pub(crate) instance: Instance,
    pub(crate) node: String,
    pub(crate) network: Network,
    pub(crate) memory: PathBuf,
    /// What the mesh view says.
    pub(crate) mesh: watch::Receiver<Mesh>,
    /// `None` until the node has a subnet.
    pub(crate) addresses: Option<Addresses>,
    /// Was it read what an earlier daemon left? Until then no address is given out.
    pub(crate) found: bool,
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

impl Daemon {
    /// Works until `stop`; leaves everything in place.
    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<Request>, stop: CancellationToken) {
        let mut timer = tokio::time::interval_at(tokio::time::Instant::now() + PASS, PASS);
        self.pass().await;
        loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => Event::Stop,
                Some(request) = requests.recv() => Event::Request(request),
                Ok(()) = self.mesh.changed() => Event::MeshChanged,
                _ = timer.tick() => Event::Pass,
            };
            match event {
                Event::Stop => break,
                Event::Request(request) => self.answer(request).await,
                Event::MeshChanged => {
                    if self.found && self.take_subnet() {
                        self.pass().await;
                    } else if self.found {
                        // Nodes come and go without concern to replicas.
                        self.pass_node().await;
                    }
                }
                Event::Pass => self.pass().await,
            }
        }
    }

    async fn answer(&mut self, request: Request) {
        // Who asked may be gone; what was done stays done.
        match request {
            Request::Attach(replica, answer) => {
                let attached = self.attach(replica).await;
                if let Err(error) = &attached {
                    tracing::warn!(%replica, error = %chain(error), "could not attach");
                }
                let _ = answer.send(attached);
            }
            Request::Detach(replica, answer) => {
                let detached = self.detach(replica).await;
                if let Err(error) = &detached {
                    tracing::warn!(%replica, error = %chain(error), "could not detach");
                }
                let _ = answer.send(detached);
            }
            Request::List(answer) => {
                let held = self.addresses.iter().flat_map(|addresses| {
                    addresses.held().iter().map(|(r, a)| self.attachment(addresses.subnet(), *r, *a))
                });
                let _ = answer.send(held.collect());
            }
        }
    }

    fn attachment(&self, subnet: Subnet, replica: ReplicaId, address: Ipv4Addr) -> Attachment {
        Attachment {
            replica,
            namespace: self.network.namespace_path(replica),
            address,
            gateway: subnet.gateway(),
            prefix_length: subnet.net().prefix_len(),
        }
    }

    fn desired(&self, addresses: &Addresses) -> Desired {
        Desired {
            instance: self.instance.clone(),
            subnet: addresses.subnet(),
            replicas: addresses.held().clone(),
            peers: self.mesh.borrow().peers.clone(),
        }
    }

    /// Takes up what is in the kernel, once: each namespace knows its replica's address. What the last daemon noted says
    /// the rest. A replica whose namespace was taken away altogether is attached anew when it is asked for.
    async fn find_again(&mut self) -> Result<(), NetworkError> {
        if self.found {
            return Ok(());
        }
        let bridge = self.network.bridge().await?.map(|bridge| bridge.addresses).unwrap_or_default();
        let mut remains = Remains { bridge, ..Remains::default() };
        for replica in self.network.replicas()? {
            // A name without a namespace is what a daemon left that died while making it.
            let eth0 = match self.network.has_namespace(replica) {
                true => self.network.observe_inside(replica).await?.eth0,
                false => None,
            };
            remains.replicas.insert(replica, eth0.map(|eth0| eth0.addresses).unwrap_or_default());
        }
        let memory = std::fs::read(&self.memory).ok().and_then(|bytes| serde_json::from_slice::<Memory>(&bytes).ok());
        if let Some(memory) = &memory {
            remains.subnet = memory.subnet.as_ref().and_then(|subnet| subnet.parse().ok());
            let read = |(replica, address): (&String, &Ipv4Addr)| Some((replica.parse().ok()?, *address));
            remains.held = memory.held.iter().filter_map(read).collect();
        }
        if let Some((mut addresses, incomplete)) = Addresses::found(&remains) {
            if let Some(memory) = memory {
                let resting =
                    memory.resting.into_iter().filter(|(a, _)| !addresses.held().values().any(|held| held == a));
                let resting: Vec<_> = resting.map(|(address, at)| (address, Timestamp(at))).collect();
                addresses.remember(resting, memory.last);
            }
            let subnet = addresses.subnet().net();
            tracing::info!(%subnet, replicas = addresses.held().len(), ?incomplete, "found attachments");
            self.addresses = Some(addresses);
        }
        self.found = true;
        self.take_subnet();
        Ok(())
    }

    /// Takes up the subnet that the mesh view gives. Answers whether it is new.
    fn take_subnet(&mut self) -> bool {
        let Some(given) = self.mesh.borrow_and_update().subnet else { return false };
        let current = self.addresses.as_ref().map(|addresses| (addresses.subnet(), addresses.held().len()));
        match (Subnet::new(given), current) {
            (Err(error), _) => {
                tracing::error!(%error, "the mesh view gives this node a subnet that cannot be used");
                false
            }
            (Ok(subnet), Some((old, _))) if old == subnet => false,
            (Ok(subnet), Some((old, attached))) if attached > 0 => {
                let (old, new) = (old.net(), subnet.net());
                tracing::error!("{}", AttachError::SubnetChanged { old, new, attached });
                false
            }
            (Ok(subnet), _) => {
                tracing::info!(subnet = %subnet.net(), "this node's subnet");
                self.addresses = Some(Addresses::new(subnet));
                true
            }
        }
    }

    /// Refuses new replicas while the mesh view wants another subnet than the one that others live in.
    fn check_subnet(&self) -> Result<(), AttachError> {
        let Some(given) = self.mesh.borrow().subnet else { return Ok(()) };
        let subnet = Subnet::new(given)?;
        match &self.addresses {
            Some(addresses) if addresses.subnet() != subnet => Err(AttachError::SubnetChanged {
                old: addresses.subnet().net(),
                new: subnet.net(),
                attached: addresses.held().len(),
            }),
            _ => Ok(()),
        }
    }

    async fn attach(&mut self, replica: ReplicaId) -> Result<Attachment, AttachError> {
        if !self.found {
            self.find_again().await.map_err(AttachError::Unread)?;
            self.pass().await;
        }
        let no_subnet = || AttachError::NoSubnet { node: self.node.clone() };
        let known = self.addresses.as_ref().ok_or_else(no_subnet)?.held().contains_key(&replica);
        if !known {
            self.check_subnet()?;
        }
        let node = self.node.clone();
        let addresses = self.addresses.as_mut().ok_or(AttachError::NoSubnet { node })?;
        let address = addresses.attach(replica, now())?;
        let subnet = addresses.subnet();
        if !known {
            self.remember();
        }
        if let Err(error) = self.mend_replica(replica).await {
            // The address stays the replica's: part of it may be in the kernel, and the next try goes on from there.
            // What all replicas share may be what is missing.
            self.pass_node().await;
            return Err(error.into());
        }
        Ok(self.attachment(subnet, replica, address))
    }

    async fn mend_replica(&self, replica: ReplicaId) -> Result<(), NetworkError> {
        let Some(desired) = self.addresses.as_ref().map(|addresses| self.desired(addresses)) else { return Ok(()) };
        let mut observed = Observed::default();
        self.network.observe_replica(&mut observed, replica).await?;
        for step in plan_replica(&desired, &observed, replica) {
            tracing::debug!(%replica, ?step, "step");
            self.network.execute(&desired, &step).await?;
        }
        Ok(())
    }

    async fn detach(&mut self, replica: ReplicaId) -> Result<(), AttachError> {
        self.network.remove_replica(replica).await?;
        let Some(addresses) = &mut self.addresses else { return Ok(()) };
        if addresses.detach(replica, now()).is_some() {
            self.remember();
            if self.take_subnet() {
                self.pass().await;
            }
        }
        Ok(())
    }

    fn remember(&self) {
        let Some(addresses) = &self.addresses else { return };
        let (resting, last) = addresses.memory();
        let memory = Memory {
            resting: resting.iter().map(|(a, at)| (*a, at.0)).collect(),
            last,
            subnet: Some(addresses.subnet().net().to_string()),
            held: addresses.held().iter().map(|(replica, address)| (replica.to_string(), *address)).collect(),
        };
        let bytes = serde_json::to_vec(&memory).unwrap_or_default();
        if let Err(error) = orlop_follower::write_whole(&self.memory, &bytes) {
            tracing::warn!(%error, path = %self.memory.display(), "could not note which addresses are in use and which rest");
        }
    }

    /// Looks at everything and mends what is not as it should be.
    async fn pass(&mut self) {
        if let Err(error) = self.find_again().await {
            tracing::error!(error = %chain(&error), "could not read what an earlier overlay daemon left; trying again");
            return;
        }
        self.pass_node().await;
        let replicas: Vec<_> = self.addresses.iter().flat_map(|a| a.held().keys().copied()).collect();
        for replica in replicas {
            if let Err(error) = self.mend_replica(replica).await {
                tracing::warn!(%replica, error = %chain(&error), "could not mend a replica's network");
            }
        }
    }

    async fn pass_node(&self) {
        let Some(desired) = self.addresses.as_ref().map(|addresses| self.desired(addresses)) else { return };
        let mended = async {
            let observed = self.network.observe_node(&desired).await?;
            for step in plan_node(&desired, &observed) {
                tracing::info!(?step, "step");
                match self.network.execute(&desired, &step).await {
                    // One node that cannot be reached keeps no other from being.
                    Err(error) if matches!(step, Step::SetRoute(..) | Step::RemoveRoute(_)) => {
                        tracing::error!(error = %chain(&error), "could not set up the way to another node");
                    }
                    executed => executed?,
                }
            }
            Ok::<(), NetworkError>(())
        };
        if let Err(error) = mended.await {
            tracing::error!(error = %chain(&error), "could not set up the node's network");
        }
    }
}
