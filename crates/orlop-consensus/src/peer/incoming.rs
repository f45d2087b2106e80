//! Requests of other members, as this one answers them.

use super::{Messages, Peer, PeerError, wire};
use crate::member::Member;
use crate::types::Types;
use crate::{SubmitError, member};
use async_trait::async_trait;
use futures::StreamExt;
use openraft::errors::{Fatal, RaftError};
use orlop_proto::peer::v1 as pb;
use std::sync::Arc;

/// This member, as others see it.
pub(crate) struct Incoming {
    pub(crate) member: Arc<Member>,
}

impl Incoming {
    fn refused(&self, reason: impl Into<String>) -> PeerError {
        PeerError::Refused { member: self.member.id(), reason: reason.into() }
    }

    fn invalid(&self, invalid: wire::Invalid) -> PeerError {
        self.refused(format!("the request makes no sense: {invalid}"))
    }

    fn stopped(&self, error: &Fatal<Types>) -> PeerError {
        PeerError::Lost { member: self.member.id(), reason: format!("it has stopped: {error}") }
    }

    fn failed(&self, error: &RaftError<Types>) -> PeerError {
        PeerError::Lost { member: self.member.id(), reason: error.to_string() }
    }

    /// Is it this member who is meant, and does it remember what it promised as a voter?
    fn check(&self, to: Option<pb::Addressee>) -> Result<(), PeerError> {
        let Some(to) = to else { return Err(self.refused("the request names no addressee")) };
        if to.member != self.member.id() {
            return Err(self.refused(format!("it is not member {}; is the address another one's?", to.member)));
        }
        if to.voter && self.member.is_blank() {
            self.member.note_lost_disk();
            return Err(self.refused(member::LOST_DISK));
        }
        Ok(())
    }
}

#[async_trait]
impl Peer for Incoming {
    async fn append(&self, request: pb::AppendRequest) -> Result<pb::AppendResponse, PeerError> {
        self.check(request.to)?;
        let request = wire::read_append(request).map_err(|e| self.invalid(e))?;
        let (previous, last) = (request.prev_log_id, wire::last_of(&request));
        let answer = self.member.raft().append_entries(request).await.map_err(|e| self.failed(&e))?;
        if answer.is_conflict() && previous.is_none() {
            return Err(self.refused("nothing conflicts with the beginning of the log"));
        }
        Ok(wire::append_result(answer.into_stream_result(previous, last)))
    }

    async fn append_stream(
        &self,
        requests: Messages<pb::AppendRequest>,
    ) -> Result<Messages<Result<pb::AppendResponse, PeerError>>, PeerError> {
        let this = Self { member: self.member.clone() };
        // A request that makes no sense ends the stream; the answers before it are still given.
        let (problems, problem) = tokio::sync::mpsc::channel::<PeerError>(1);
        let requests = requests.scan(problems, move |problems, request| {
            let read = this.check(request.to).and_then(|()| wire::read_append(request).map_err(|e| this.invalid(e)));
            let read = read.map_err(|error| problems.try_send(error)).ok();
            futures::future::ready(read)
        });
        let id = self.member.id();
        let answers = self.member.raft().stream_append(requests).map(move |answer| match answer {
            Ok(answer) => Ok(wire::append_result(answer)),
            Err(fatal) => Err(PeerError::Lost { member: id, reason: format!("it has stopped: {fatal}") }),
        });
        Ok(answers.chain(tokio_stream::wrappers::ReceiverStream::new(problem).map(Err)).boxed())
    }

    async fn vote(&self, request: pb::VoteRequest) -> Result<pb::VoteResponse, PeerError> {
        self.check(request.to)?;
        let pre = request.pre;
        let request = wire::read_vote_request(request).map_err(|e| self.invalid(e))?;
        let raft = self.member.raft();
        let answer = if pre { raft.pre_vote(request).await } else { raft.vote(request).await };
        Ok(wire::vote_response(&answer.map_err(|e| self.failed(&e))?))
    }

    async fn offer_snapshot(&self, offer: pb::SnapshotOffer) -> Result<pb::SnapshotProgress, PeerError> {
        self.check(offer.to)?;
        self.member.receiver().offer(offer).await
    }

    async fn send_snapshot(&self, part: pb::SendSnapshotRequest) -> Result<pb::SnapshotProgress, PeerError> {
        self.check(part.offer.as_ref().and_then(|offer| offer.to))?;
        self.member.receiver().take(part).await
    }

    async fn install_snapshot(&self, offer: pb::SnapshotOffer) -> Result<pb::SnapshotProgress, PeerError> {
        self.check(offer.to)?;
        self.member.receiver().install(offer).await
    }

    async fn transfer_leader(
        &self,
        request: pb::TransferLeaderRequest,
    ) -> Result<pb::TransferLeaderResponse, PeerError> {
        self.check(request.to)?;
        let request = wire::read_transfer(request).map_err(|e| self.invalid(e))?;
        let answer = self.member.raft().handle_transfer_leader(request).await.map_err(|e| self.stopped(&e))?;
        Ok(pb::TransferLeaderResponse { refused: answer.err().map(|e| e.to_string()).unwrap_or_default() })
    }

    async fn submit(&self, request: pb::SubmitRequest) -> Result<pb::SubmitResponse, PeerError> {
        use pb::submit_response::{Applied, Broken, Full, NotLeader, Outcome, TooLarge, Unknown};
        self.check(request.to)?;
        let outcome = match self.member.submit_here(request.command).await {
            Ok(applied) => Outcome::Applied(Applied { index: applied.index, answer: applied.answer.into() }),
            Err(SubmitError::NotLeader { leader }) => Outcome::NotLeader(NotLeader { leader: leader.unwrap_or(0) }),
            Err(SubmitError::TooLarge { bytes, max }) => {
                Outcome::TooLarge(TooLarge { bytes: bytes as u64, max: max as u64 })
            }
            Err(SubmitError::Full { full, unsure }) => Outcome::Full(Full {
                directory: full.directory.display().to_string(),
                free_bytes: full.free,
                wanted_bytes: full.wanted,
                unsure,
            }),
            Err(SubmitError::Broken(broken)) => {
                Outcome::Broken(Broken { directory: broken.directory.display().to_string(), reason: broken.reason })
            }
            Err(other) => Outcome::Unknown(Unknown { reason: other.to_string() }),
        };
        Ok(pb::SubmitResponse { outcome: Some(outcome) })
    }

    async fn read_index(&self, request: pb::ReadIndexRequest) -> Result<pb::ReadIndexResponse, PeerError> {
        use pb::read_index_response::{NotLeader, Outcome};
        self.check(request.to)?;
        let outcome = match self.member.confirm_leadership().await {
            Ok(index) => Outcome::Reached(index),
            Err(crate::ReadError::NotLeader { leader }) => {
                Outcome::NotLeader(NotLeader { leader: leader.unwrap_or(0) })
            }
            Err(other) => Outcome::Unconfirmed(other.to_string()),
        };
        Ok(pb::ReadIndexResponse { outcome: Some(outcome) })
    }
}
