//! Requests of the protocol on their way to other members.

use super::asked::{ANSWER_TIMEOUT, Asked};
use super::{Lane, Peer, PeerError, Peers, wire};
use crate::disk::{Disk, off_the_runtime};
use crate::snapshot::SnapshotFile;
use crate::types::{Snapshot, Types, Vote};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};
use openraft::OptionalSend;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::impls::BasicNode;
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use orlop_proto::peer::v1 as pb;
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// So much of a snapshot is sent at once.
const PART_BYTES: usize = 512 << 10;
/// A part that is not answered within this is lost.
const PART_TIMEOUT: Duration = Duration::from_secs(5);
/// So long a member may take to install a snapshot.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(120);
/// How often a member that cannot be reached is tried: a restarted one is to be back soon.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// The members as this one knows them now. A way is made once and outlives changes of them.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) voters: BTreeSet<u64>,
    pub(crate) addresses: BTreeMap<u64, String>,
}

/// What all ways to other members share.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub(crate) peers: Arc<dyn Peers>,
    pub(crate) known: Arc<RwLock<Known>>,
    pub(crate) disk: Arc<dyn Disk>,
}

impl RaftNetworkFactory<Types> for Outgoing {
    type Network = Way;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Way {
        self.way(target, node, Lane::Entries)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &BasicNode) -> Way {
        self.way(target, node, Lane::Life)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &BasicNode) -> Way {
        self.way(target, node, Lane::Bulk)
    }
}

impl Outgoing {
    fn way(&self, target: u64, node: &BasicNode, lane: Lane) -> Way {
        Way { target, address: node.addr.clone(), lane, shared: self.clone() }
    }
}

/// The way to one member, for one use.
pub(crate) struct Way {
    target: u64,
    /// Where it was when the way was made.
    address: String,
    lane: Lane,
    shared: Outgoing,
}

impl Way {
    fn peer(&self, lane: Lane) -> Arc<dyn Peer> {
        let known = self.shared.known.read();
        let address = known.addresses.get(&self.target).unwrap_or(&self.address);
        self.shared.peers.peer(self.target, address, lane)
    }

    fn to(&self) -> pb::Addressee {
        pb::Addressee { member: self.target, voter: self.shared.known.read().voters.contains(&self.target) }
    }

    async fn send(
        &self,
        peer: &dyn Peer,
        offer: &pb::SnapshotOffer,
        file: &SnapshotFile,
    ) -> Result<pb::SnapshotProgress, PeerError> {
        let lost = |reason: &str| PeerError::Lost { member: self.target, reason: reason.to_owned() };
        let mut progress = timeout(PART_TIMEOUT, peer.offer_snapshot(offer.clone()))
            .await
            .unwrap_or_else(|_| Err(lost("the offer of a snapshot")))?;
        let (bytes, _) = file.measure();
        while progress.held < bytes && !self.is_higher(&progress, offer) {
            let (file, offset) = (file.clone(), progress.held);
            let data = off_the_runtime(&self.shared.disk, move || file.chunk(offset, PART_BYTES))
                .await
                .flatten()
                .map_err(|error| PeerError::Refused {
                    member: self.target,
                    reason: format!("a snapshot cannot be read here: {error}"),
                })?;
            let part = pb::SendSnapshotRequest {
                offer: Some(offer.clone()),
                offset,
                crc32: crc32fast::hash(&data),
                data: data.into(),
            };
            progress = timeout(PART_TIMEOUT, peer.send_snapshot(part))
                .await
                .unwrap_or_else(|_| Err(lost("a part of a snapshot")))?;
        }
        if self.is_higher(&progress, offer) {
            return Ok(progress);
        }
        timeout(INSTALL_TIMEOUT, peer.install_snapshot(offer.clone()))
            .await
            .unwrap_or_else(|_| Err(lost("the installation of a snapshot")))
    }

    /// Has the member voted in a later term than the snapshot's leader?
    fn is_higher(&self, progress: &pb::SnapshotProgress, offer: &pb::SnapshotOffer) -> bool {
        let term = |vote: &Option<pb::Vote>| vote.as_ref().map_or(0, |vote| vote.term);
        term(&progress.vote) > term(&offer.vote)
    }
}

fn rpc_error(error: PeerError) -> RPCError<Types> {
    match &error {
        PeerError::Unreachable { .. } | PeerError::Refused { .. } => RPCError::Unreachable(Unreachable::new(&error)),
        PeerError::Lost { .. } => RPCError::Network(NetworkError::new(&error)),
    }
}

fn streaming_error(error: PeerError) -> StreamingError<Types> {
    match &error {
        PeerError::Unreachable { .. } | PeerError::Refused { .. } => {
            StreamingError::Unreachable(Unreachable::new(&error))
        }
        PeerError::Lost { .. } => StreamingError::Network(NetworkError::new(&error)),
    }
}

fn invalid(error: wire::Invalid) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(&error))
}

impl RaftNetworkV2<Types> for Way {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let answer = self.peer(self.lane).append(wire::append(self.to(), request)).await.map_err(rpc_error)?;
        wire::read_append_response(answer).map_err(invalid)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        if self.lane == Lane::Life {
            return openraft::network::stream_append_sequential(self, input, option);
        }
        async move {
            let (to, asked, lost) = (self.to(), Asked::default(), self.lost_entries());
            let requests = asked.count(input.map(move |request| wire::append(to, request)));
            let peer = self.peer(self.lane);
            let answers = timeout(ANSWER_TIMEOUT, peer.append_stream(requests)).await.unwrap_or(Err(lost.clone()));
            let answers = asked.answers(answers.map_err(rpc_error)?, lost);
            let answers = answers
                .map(|answer| answer.map_err(rpc_error).and_then(|a| wire::read_append_result(a).map_err(invalid)));
            Ok(answers.boxed())
        }
        .boxed()
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let request = wire::vote_request(self.to(), &request, false);
        let answer = self.peer(Lane::Life).vote(request).await.map_err(rpc_error)?;
        wire::read_vote_response(answer).map_err(invalid)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let request = wire::vote_request(self.to(), &request, true);
        let answer = self.peer(Lane::Life).vote(request).await.map_err(rpc_error)?;
        wire::read_vote_response(answer).map_err(invalid)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let (bytes, crc) = snapshot.snapshot.measure();
        let head = wire::snapshot_head(&snapshot.meta, bytes, crc);
        let offer = pb::SnapshotOffer { to: Some(self.to()), vote: Some(wire::vote(&vote)), head: Some(head) };
        let peer = self.peer(Lane::Bulk);
        let sent = tokio::select! {
            biased;
            closed = cancel => return Err(closed.into()),
            sent = self.send(&*peer, &offer, &snapshot.snapshot) => sent.map_err(streaming_error)?,
        };
        let vote = wire::read_vote(sent.vote).map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))?;
        Ok(SnapshotResponse::new(vote))
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let asked = wire::transfer(self.to(), &request);
        let answer = self.peer(Lane::Life).transfer_leader(asked).await.map_err(rpc_error)?;
        if answer.refused.is_empty() {
            return Ok(Ok(()));
        }
        tracing::warn!(member = self.target, reason = answer.refused, "a hand-over of leadership was refused");
        Ok(Err(TransferLeaderError::LogNotFlushed { expected: request.last_log_id().copied(), actual: None }))
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(TRY_AGAIN)))
    }
}

impl Way {
    fn lost_entries(&self) -> PeerError {
        PeerError::Lost { member: self.target, reason: format!("no answer to entries within {ANSWER_TIMEOUT:?}") }
    }
}
