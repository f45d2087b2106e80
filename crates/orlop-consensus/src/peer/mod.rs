//! How members reach each other. [`Peer`] is a member as another one sees it, and [`Peers`] finds them: over gRPC
//! ([`Dial`]), or, in a simulation, over a network that is none.

mod asked;
#[cfg(test)]
mod golden;
pub(crate) mod grpc;
pub(crate) mod incoming;
pub(crate) mod outgoing;
pub(crate) mod receive;
pub(crate) mod wire;

pub use grpc::server::PeerServer;
pub use grpc::{Dial, tune};

use async_trait::async_trait;
use futures::stream::BoxStream;
use orlop_proto::peer::v1 as pb;
use std::sync::Arc;

/// Why a request to another member has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Surely nothing of the request reached the member.
    #[error("member {member} cannot be reached: {reason}")]
    Unreachable {
        /// The member.
        member: u64,
        /// What is known of the cause.
        reason: String,
    },
    /// The request or its answer was lost; what became of it is unknown.
    #[error("member {member} did not answer: {reason}")]
    Lost {
        /// The member.
        member: u64,
        /// What is known of the cause.
        reason: String,
    },
    /// The member refused it and did nothing.
    #[error("member {member} refused: {reason}")]
    Refused {
        /// The member.
        member: u64,
        /// What it said.
        reason: String,
    },
}

/// What the connection to a member is used for. What is slow has one of its own, so that nothing queues behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Signs of life and votes: small, and late ones cost an election.
    Life,
    /// Entries.
    Entries,
    /// Snapshots, and what members pass on to the leader.
    Bulk,
}

/// One request's messages, or its answers, as they come.
pub type Messages<T> = BoxStream<'static, T>;

/// A member. Its methods are the requests of `orlop.peer.v1`, in its messages, and mean what is said there.
#[async_trait]
pub trait Peer: Send + Sync + 'static {
    /// Entries, or a sign of life.
    async fn append(&self, request: pb::AppendRequest) -> Result<pb::AppendResponse, PeerError>;

    /// Entries, many requests under way at once; answers come in order.
    async fn append_stream(
        &self,
        requests: Messages<pb::AppendRequest>,
    ) -> Result<Messages<Result<pb::AppendResponse, PeerError>>, PeerError>;

    /// A vote, or whether there would be one.
    async fn vote(&self, request: pb::VoteRequest) -> Result<pb::VoteResponse, PeerError>;

    /// How much of a snapshot is there already.
    async fn offer_snapshot(&self, offer: pb::SnapshotOffer) -> Result<pb::SnapshotProgress, PeerError>;

    /// The next part of it.
    async fn send_snapshot(&self, part: pb::SendSnapshotRequest) -> Result<pb::SnapshotProgress, PeerError>;

    /// Installs it when all of it is there.
    async fn install_snapshot(&self, offer: pb::SnapshotOffer) -> Result<pb::SnapshotProgress, PeerError>;

    /// Asks the member to stand for election.
    async fn transfer_leader(
        &self,
        request: pb::TransferLeaderRequest,
    ) -> Result<pb::TransferLeaderResponse, PeerError>;

    /// A command for the leader.
    async fn submit(&self, request: pb::SubmitRequest) -> Result<pb::SubmitResponse, PeerError>;

    /// Up to where a linearizable read must have applied the log.
    async fn read_index(&self, request: pb::ReadIndexRequest) -> Result<pb::ReadIndexResponse, PeerError>;
}

/// Finds other members.
pub trait Peers: Send + Sync + 'static {
    /// The way to a member at an address, for one use. Nothing is sent yet.
    fn peer(&self, member: u64, address: &str, lane: Lane) -> Arc<dyn Peer>;
}
