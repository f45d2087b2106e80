//! This member at its end of a connection.

use super::MESSAGE_BYTES_MAX;
use crate::peer::{Messages, Peer, PeerError};
use futures::StreamExt;
use orlop_proto::peer::v1 as pb;
use orlop_proto::peer::v1::peer_service_server::{PeerService, PeerServiceServer};
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// Serves `orlop.peer.v1.PeerService`. Who may call it is for those to say who serve it: other members only.
#[derive(Clone)]
pub struct PeerServer {
    member: Arc<dyn Peer>,
}

impl PeerServer {
    pub(crate) fn service(member: Arc<dyn Peer>) -> PeerServiceServer<Self> {
        PeerServiceServer::new(Self { member })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

fn status(error: PeerError) -> Status {
    match error {
        PeerError::Refused { reason, .. } => Status::failed_precondition(reason),
        PeerError::Lost { reason, .. } | PeerError::Unreachable { reason, .. } => Status::unavailable(reason),
    }
}

fn answer<T>(result: Result<T, PeerError>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(status)
}

#[tonic::async_trait]
impl PeerService for PeerServer {
    async fn append(&self, request: Request<pb::AppendRequest>) -> Result<Response<pb::AppendResponse>, Status> {
        answer(self.member.append(request.into_inner()).await)
    }

    type AppendStreamStream = Messages<Result<pb::AppendResponse, Status>>;

    async fn append_stream(
        &self,
        requests: Request<Streaming<pb::AppendRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        // A broken connection ends the requests like their end does.
        let requests = requests.into_inner().scan((), |(), request| futures::future::ready(request.ok()));
        let answers = self.member.append_stream(requests.boxed()).await;
        answer(answers.map(|answers| answers.map(|answer| answer.map_err(status)).boxed()))
    }

    async fn vote(&self, request: Request<pb::VoteRequest>) -> Result<Response<pb::VoteResponse>, Status> {
        answer(self.member.vote(request.into_inner()).await)
    }

    async fn offer_snapshot(
        &self,
        offer: Request<pb::SnapshotOffer>,
    ) -> Result<Response<pb::SnapshotProgress>, Status> {
        answer(self.member.offer_snapshot(offer.into_inner()).await)
    }

    async fn send_snapshot(
        &self,
        part: Request<pb::SendSnapshotRequest>,
    ) -> Result<Response<pb::SnapshotProgress>, Status> {
        answer(self.member.send_snapshot(part.into_inner()).await)
    }

    async fn install_snapshot(
        &self,
        offer: Request<pb::SnapshotOffer>,
    ) -> Result<Response<pb::SnapshotProgress>, Status> {
        answer(self.member.install_snapshot(offer.into_inner()).await)
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        answer(self.member.transfer_leader(request.into_inner()).await)
    }

    async fn submit(&self, request: Request<pb::SubmitRequest>) -> Result<Response<pb::SubmitResponse>, Status> {
        answer(self.member.submit(request.into_inner()).await)
    }

    async fn read_index(
        &self,
        request: Request<pb::ReadIndexRequest>,
    ) -> Result<Response<pb::ReadIndexResponse>, Status> {
        answer(self.member.read_index(request.into_inner()).await)
    }
}
