//! The way to other members. A member that is alone has none, and nobody to reach.

use crate::snapshot::SnapshotFile;
use crate::types::{Snapshot, Types, Vote};
use openraft::OptionalSend;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::impls::BasicNode;
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use std::future::Future;

/// Makes ways to other members: none leads anywhere.
pub(crate) struct NoPeers;

impl RaftNetworkFactory<Types> for NoPeers {
    type Network = NoWay;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> NoWay {
        NoWay { target }
    }
}

pub(crate) struct NoWay {
    target: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("member {0} cannot be reached: this member was started without a way to others")]
struct NoPeer(u64);

impl NoWay {
    fn unreachable(&self) -> Unreachable<Types> {
        Unreachable::new(&NoPeer(self.target))
    }
}

impl RaftNetworkV2<Types> for NoWay {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Err(RPCError::Unreachable(self.unreachable()))
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(RPCError::Unreachable(self.unreachable()))
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(StreamingError::Unreachable(self.unreachable()))
    }
}
