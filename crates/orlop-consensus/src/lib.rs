//! The replicated log: commands go in as opaque bytes, are made durable, and are applied in one order by every member.
//!
//! What a command means is the [`StateMachine`]'s affair. Promises: a command that [`Consensus::submit`] answered is on
//! the disks of a majority of the members (written *and* synced) and survives the death of the process and of the
//! machine; commands are applied in the order of their indexes, each once in the life of a process; commands that are
//! submitted together share one sync. docs/consensus.md says what lies on disk and what to do when it is damaged.

mod backup;
mod disk;
mod error;
mod log;
mod machine;
mod member;
mod options;
mod peer;
mod reached;
mod record;
mod recover;
mod room;
mod runtime;
mod snapshot;
mod types;
pub mod watch;

pub use backup::{Backup, BackupError, inspect, restore};
pub use error::{Broken, MembersError, ReadError, StartError, SubmitError, Trouble};
pub use member::members::{MemberInfo, Suffrage};
pub use options::Options;
pub use peer::{Dial, PeerServer, tune};
pub use recover::{Recovery, recover};
pub use room::Full;

/// The seams at which a simulation takes the place of the network, the disk and chance.
pub mod seam {
    pub use crate::disk::{Batch, Blob, Change, Disk, Guard, Pair, Space, Store};
    pub use crate::peer::{Lane, Messages, Peer, PeerError, Peers};
    pub use crate::runtime::fix_chance;
}

use futures::future::BoxFuture;
use orlop_proto::peer::v1::peer_service_server::PeerServiceServer;
use std::sync::Arc;

/// Encodes a state that was captured; called on a thread that may take its time.
pub type Encode = Box<dyn FnOnce() -> Vec<u8> + Send>;

/// What the log is applied to. Its methods are called by one task, one at a time, and must not block for long.
pub trait StateMachine: Send + Sync + 'static {
    /// Applies a committed command. Total and deterministic: every member, at every replay, comes to the same state and
    /// answer. `index` grows with every call, with gaps. Returns the answer for the submitter.
    fn apply(&self, index: u64, command: &[u8]) -> Vec<u8>;

    /// Captures the state as it is now, cheaply; the encoding happens later, while commands go on being applied, and
    /// must not see them.
    fn snapshot(&self) -> Encode;

    /// Replaces the state by that of a snapshot, which was taken after the command at `index` was applied.
    fn restore(&self, index: u64, snapshot: &[u8]) -> Result<(), InvalidSnapshot>;
}

/// A snapshot that the state machine does not understand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSnapshot(
    /// What is wrong with it.
    pub String,
);

/// A command that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its index in the log: the revision of the state after it.
    pub index: u64,
    /// What the state machine answered.
    pub answer: Vec<u8>,
}

/// Where a member stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// This member.
    pub member: u64,
    /// The member that leads, if one is known.
    pub leader: Option<u64>,
    /// The current term.
    pub term: u64,
    /// The index of the last command that is applied here.
    pub applied: u64,
    /// The index that the newest snapshot reaches to; 0 for none.
    pub snapshot: u64,
}

/// Who leads, as far as a member knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The member that leads; none while an election goes on, and on a leader that lost sight of its majority.
    pub leader: Option<u64>,
    /// Where it is reached, if it is a member that this one knows.
    pub address: Option<String>,
    /// The term: never falls. Two leaders may share one (openraft orders them by term and member), so it names no leader by
    /// itself.
    pub term: u64,
}

/// A running member; clones are handles of the same one.
#[derive(Clone)]
pub struct Consensus {
    member: Arc<member::Member>,
}

impl Consensus {
    /// Opens or creates the log in the directory and brings the state machine, which must be empty, up to date. Neither
    /// makes a cluster nor waits for a leader, except that a member which is the only voter leads when this returns. Must be
    /// called in a tokio runtime, which runs the member's tasks. Others are reached with `dial`, and reach this member
    /// through [`Self::peer_service`].
    pub async fn start(
        options: Options,
        machine: Arc<dyn StateMachine>,
        dial: Arc<dyn Dial>,
    ) -> Result<Self, StartError> {
        let peers = Arc::new(peer::grpc::Dialled::new(dial));
        Self::start_in(options, machine, peers, Arc::new(disk::Real)).await
    }

    /// The same with another network and another disk.
    pub async fn start_in(
        options: Options,
        machine: Arc<dyn StateMachine>,
        peers: Arc<dyn seam::Peers>,
        disk: Arc<dyn seam::Disk>,
    ) -> Result<Self, StartError> {
        Ok(Self { member: begin(options, machine, peers, disk).await? })
    }

    /// Makes this member the only voter of a new cluster; it leads when this returns. `address` is where other members
    /// will reach it.
    pub async fn init(&self, address: &str) -> Result<(), StartError> {
        self.member.init(address).await
    }

    /// Does this member belong to a cluster? One that does not waits until a leader speaks to it.
    pub fn is_initialized(&self) -> bool {
        self.member.is_initialized()
    }

    /// What other members call, as a gRPC service. It must be served to members only, on sockets without delay
    /// (`TCP_NODELAY`): with it a commit takes 40 ms now and then.
    pub fn peer_service(&self) -> PeerServiceServer<PeerServer> {
        PeerServer::service(self.peer())
    }

    /// The same without a network.
    pub fn peer(&self) -> Arc<dyn seam::Peer> {
        Arc::new(peer::incoming::Incoming { member: self.member.clone() })
    }

    /// Submits a command and waits until it is durable on a majority and applied by the leader. On a member that does not
    /// lead it is passed on to the one that does, which is waited for ([`Options::leader_wait`]). When the future is
    /// dropped earlier, the command may be applied or not.
    pub async fn submit(&self, command: Vec<u8>) -> Result<Applied, SubmitError> {
        self.member.submit(command.into()).await
    }

    /// Submits a command as [`submit`](Self::submit) does, but only if this member leads: for what nobody else may say later.
    pub async fn submit_here(&self, command: Vec<u8>) -> Result<Applied, SubmitError> {
        self.member.submit_here(command.into()).await
    }

    /// Waits until the state machine here has everything that any member answered before the call, so that a read of it
    /// is linearizable. Returns the index that was reached.
    pub async fn read_index(&self) -> Result<u64, ReadError> {
        self.member.read_index().await
    }

    /// Where the member stands now.
    pub fn status(&self) -> Status {
        self.member.status()
    }

    /// Who leads, as it changes.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.member.leadership()
    }

    /// All members, by number.
    pub fn members(&self) -> Vec<MemberInfo> {
        self.member.members()
    }

    /// Adds a member without a vote, which the leader brings up to date. The number must be new: that of a member that was
    /// removed is not used again. Only on the leader.
    pub async fn add_learner(&self, member: u64, address: &str) -> Result<(), MembersError> {
        self.member.add_learner(member, address).await
    }

    /// Gives a member a vote once it has caught up, which is waited for ([`Options::catch_up_wait`]). Only on the leader.
    pub async fn promote(&self, member: u64) -> Result<(), MembersError> {
        self.member.promote(member).await
    }

    /// Removes a member. Refused when no majority of answering voters would be left. A leader that removes itself leads on
    /// for a moment, then hands over. Only on the leader.
    pub async fn remove(&self, member: u64) -> Result<(), MembersError> {
        self.member.remove(member).await
    }

    /// Tells all members where one of them is reached from now on. Only on the leader.
    pub async fn change_address(&self, member: u64, address: &str) -> Result<(), MembersError> {
        self.member.change_address(member, address).await
    }

    /// Hands leadership over to another voter, and waits until it leads. Writes wait meanwhile. Only on the leader.
    pub async fn transfer_leadership(&self, to: u64) -> Result<(), MembersError> {
        self.member.transfer_leadership(to).await
    }

    /// Writes a backup of the state of now, which is all that was applied here before the call, to `out`.
    pub async fn save(&self, out: impl std::io::Write + Send + 'static) -> Result<Backup, BackupError> {
        self.member.save(out).await
    }

    /// Why no commands are taken now, if they are not. Looks at the disk of this member.
    pub fn trouble(&self) -> Option<Trouble> {
        self.member.trouble(0)
    }

    /// Stops the member and closes its log; the directory can be opened again when this returns. Commands that are being
    /// submitted end with [`SubmitError::ShuttingDown`].
    pub async fn shutdown(&self) {
        self.member.shutdown().await;
    }
}

/// In a box, so that all of the protocol, which is generic, is compiled with this crate and not with each that uses it.
fn begin(
    options: Options,
    machine: Arc<dyn StateMachine>,
    peers: Arc<dyn seam::Peers>,
    disk: Arc<dyn seam::Disk>,
) -> BoxFuture<'static, Result<Arc<member::Member>, StartError>> {
    Box::pin(member::Member::start(options, machine, peers, disk))
}
