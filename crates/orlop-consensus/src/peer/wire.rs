//! The protocol's own types and those of `orlop.peer.v1`, converted into each other. What comes from a peer is checked.

use crate::types::{self, Command, Payload, StoredMembership, Types};
use openraft::impls::BasicNode;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};
use orlop_proto::peer::v1 as pb;
use std::collections::{BTreeMap, BTreeSet};

/// A message that no member sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Invalid(String);

type Read<T> = Result<T, Invalid>;

fn absent<T>(value: Option<T>, what: &str) -> Read<T> {
    value.ok_or_else(|| Invalid(format!("{what} is missing")))
}

pub(crate) fn vote(vote: &types::Vote) -> pb::Vote {
    pb::Vote { term: vote.leader_id.term, member: vote.leader_id.node_id, committed: vote.committed }
}

pub(crate) fn read_vote(vote: Option<pb::Vote>) -> Read<types::Vote> {
    let pb::Vote { term, member, committed } = absent(vote, "the vote")?;
    let leader_id = openraft::impls::leader_id_adv::LeaderId { term, node_id: member };
    Ok(types::Vote { leader_id, committed })
}

pub(crate) fn log_id(id: &types::LogId) -> pb::LogId {
    let leader = id.committed_leader_id();
    pb::LogId { term: leader.term, leader: leader.node_id, index: id.index() }
}

pub(crate) fn read_log_id(id: pb::LogId) -> types::LogId {
    types::log_id(id.term, id.leader, id.index)
}

fn membership(membership: &types::Membership) -> pb::Membership {
    let voters = |set: &BTreeSet<u64>| pb::membership::Voters { members: set.iter().copied().collect() };
    pb::Membership {
        configs: membership.get_joint_config().iter().map(voters).collect(),
        members: membership.nodes().map(|(id, node)| pb::Member { id: *id, address: node.addr.clone() }).collect(),
    }
}

fn read_membership(membership: pb::Membership) -> Read<types::Membership> {
    let nodes: BTreeMap<u64, BasicNode> =
        membership.members.into_iter().map(|m| (m.id, BasicNode { addr: m.address })).collect();
    let configs: Vec<BTreeSet<u64>> =
        membership.configs.into_iter().map(|voters| voters.members.into_iter().collect()).collect();
    if configs.is_empty() && nodes.is_empty() {
        return Ok(types::Membership::default());
    }
    types::Membership::new(configs, nodes).map_err(|e| Invalid(format!("the members: {e}")))
}

fn entry(entry: types::Entry) -> pb::Entry {
    let payload = match entry.payload {
        Payload::Blank => None,
        Payload::Normal(Command(bytes)) => Some(pb::entry::Payload::Command(bytes)),
        Payload::Membership(members) => Some(pb::entry::Payload::Membership(membership(&members))),
    };
    pb::Entry { id: Some(log_id(&entry.log_id)), payload }
}

fn read_entry(entry: pb::Entry) -> Read<types::Entry> {
    let payload = match entry.payload {
        None => Payload::Blank,
        Some(pb::entry::Payload::Command(bytes)) => Payload::Normal(Command(bytes)),
        Some(pb::entry::Payload::Membership(members)) => Payload::Membership(read_membership(members)?),
    };
    Ok(types::Entry { log_id: read_log_id(absent(entry.id, "the place of an entry")?), payload })
}

pub(crate) fn append(to: pb::Addressee, request: AppendEntriesRequest<Types>) -> pb::AppendRequest {
    pb::AppendRequest {
        to: Some(to),
        vote: Some(vote(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id),
        entries: request.entries.into_iter().map(entry).collect(),
        committed: request.leader_commit.as_ref().map(log_id),
    }
}

pub(crate) fn read_append(request: pb::AppendRequest) -> Read<AppendEntriesRequest<Types>> {
    let previous = request.previous.map(read_log_id);
    let mut next = previous.map_or(0, |id| id.index().saturating_add(1));
    let mut entries = Vec::with_capacity(request.entries.len());
    for entry in request.entries {
        let entry = read_entry(entry)?;
        if entry.log_id.index() != next {
            return Err(Invalid(format!("entry {} came where {next} belongs", entry.log_id.index())));
        }
        next = next.saturating_add(1);
        entries.push(entry);
    }
    Ok(AppendEntriesRequest {
        vote: read_vote(request.vote)?,
        prev_log_id: previous,
        entries,
        leader_commit: request.committed.map(read_log_id),
    })
}

/// The last entry that a request is about: what a success confirms.
pub(crate) fn last_of(request: &AppendEntriesRequest<Types>) -> Option<types::LogId> {
    request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id)
}

pub(crate) fn append_result(result: StreamAppendResult<Types>) -> pb::AppendResponse {
    use pb::append_response::{Matched, Outcome};
    let outcome = match result {
        Ok(last) => Outcome::Matched(Matched { last: last.as_ref().map(log_id) }),
        Err(StreamAppendError::Conflict(id)) => Outcome::Conflict(log_id(&id)),
        Err(StreamAppendError::HigherVote(higher)) => Outcome::Higher(vote(&higher)),
    };
    pb::AppendResponse { outcome: Some(outcome) }
}

pub(crate) fn read_append_result(response: pb::AppendResponse) -> Read<StreamAppendResult<Types>> {
    use pb::append_response::Outcome;
    Ok(match absent(response.outcome, "the outcome")? {
        Outcome::Matched(matched) => Ok(matched.last.map(read_log_id)),
        Outcome::Conflict(id) => Err(StreamAppendError::Conflict(read_log_id(id))),
        Outcome::Higher(vote) => Err(StreamAppendError::HigherVote(read_vote(Some(vote))?)),
    })
}

pub(crate) fn read_append_response(response: pb::AppendResponse) -> Read<AppendEntriesResponse<Types>> {
    Ok(match read_append_result(response)? {
        Ok(last) => AppendEntriesResponse::PartialSuccess(last),
        Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
        Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
    })
}

pub(crate) fn vote_request(to: pb::Addressee, request: &VoteRequest<Types>, pre: bool) -> pb::VoteRequest {
    pb::VoteRequest {
        to: Some(to),
        vote: Some(vote(&request.vote)),
        last: request.last_log_id.as_ref().map(log_id),
        hand_over: request.leadership_transfer,
        pre,
    }
}

pub(crate) fn read_vote_request(request: pb::VoteRequest) -> Read<VoteRequest<Types>> {
    let mut read = VoteRequest::new(read_vote(request.vote)?, request.last.map(read_log_id));
    read.leadership_transfer = request.hand_over;
    Ok(read)
}

pub(crate) fn vote_response(response: &VoteResponse<Types>) -> pb::VoteResponse {
    pb::VoteResponse {
        vote: Some(vote(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(log_id),
    }
}

pub(crate) fn read_vote_response(response: pb::VoteResponse) -> Read<VoteResponse<Types>> {
    let vote = read_vote(response.vote)?;
    Ok(VoteResponse::new(vote, response.last.map(read_log_id), response.granted))
}

pub(crate) fn transfer(to: pb::Addressee, request: &TransferLeaderRequest<Types>) -> pb::TransferLeaderRequest {
    pb::TransferLeaderRequest {
        to: Some(to),
        from: Some(vote(request.from_leader())),
        member: *request.to_node_id(),
        last: request.last_log_id().map(log_id),
    }
}

pub(crate) fn read_transfer(request: pb::TransferLeaderRequest) -> Read<TransferLeaderRequest<Types>> {
    Ok(TransferLeaderRequest::new(read_vote(request.from)?, request.member, request.last.map(read_log_id)))
}

pub(crate) fn snapshot_head(meta: &types::SnapshotMeta, bytes: u64, crc32: u32) -> pb::SnapshotHead {
    pb::SnapshotHead {
        last: meta.last_log_id.as_ref().map(log_id),
        membership_at: meta.last_membership.log_id().as_ref().map(log_id),
        membership: Some(membership(meta.last_membership.membership())),
        bytes,
        crc32,
    }
}

/// The snapshot's place, and the length and checksum of its state.
pub(crate) fn read_snapshot_head(head: Option<pb::SnapshotHead>) -> Read<(types::SnapshotMeta, u64, u32)> {
    let head = absent(head, "the head of the snapshot")?;
    let members = read_membership(absent(head.membership, "the members")?)?;
    let meta = types::SnapshotMeta {
        last_log_id: head.last.map(read_log_id),
        last_membership: StoredMembership::new(head.membership_at.map(read_log_id), members),
    };
    Ok((meta, head.bytes, head.crc32))
}
