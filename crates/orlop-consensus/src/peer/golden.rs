//! What members say to each other, byte for byte: version N and N+1 of Orlop run together while a cluster is upgraded.

use super::wire;
use crate::types::{Command, Entry, Membership, Payload, SnapshotMeta, StoredMembership, Vote, log_id};
use bytes::Bytes;
use openraft::impls::BasicNode;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, TransferLeaderRequest, VoteRequest, VoteResponse};
use orlop_proto::peer::v1 as pb;
use prost::Message;
use std::collections::BTreeMap;

const TO: pb::Addressee = pb::Addressee { member: 3, voter: true };

fn membership() -> Membership {
    let nodes = [1, 2].map(|id| (id, BasicNode { addr: format!("m{id}:7") })).into_iter().collect::<BTreeMap<_, _>>();
    Membership::new(vec![[1].into(), [1, 2].into()], nodes).unwrap()
}

fn append() -> AppendEntriesRequest<crate::types::Types> {
    let entry = |index, payload| Entry { log_id: log_id(4, 1, index), payload };
    AppendEntriesRequest {
        vote: Vote::new_committed(4, 1),
        prev_log_id: Some(log_id(3, 2, 8)),
        entries: vec![
            entry(9, Payload::Blank),
            entry(10, Payload::Normal(Command(Bytes::from_static(b"hi")))),
            entry(11, Payload::Membership(membership())),
        ],
        leader_commit: Some(log_id(3, 2, 7)),
    }
}

fn vote_request() -> VoteRequest<crate::types::Types> {
    let mut request = VoteRequest::new(Vote::new(5, 2), Some(log_id(4, 1, 11)));
    request.leadership_transfer = true;
    request
}

fn snapshot() -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(log_id(3, 2, 77)),
        last_membership: StoredMembership::new(Some(log_id(1, 1, 5)), membership()),
    }
}

fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let transfer = TransferLeaderRequest::new(Vote::new_committed(4, 1), 2, Some(log_id(4, 1, 11)));
    vec![
        ("append", wire::append(TO, append()).encode_to_vec()),
        ("matched", wire::append_result(Ok(Some(log_id(4, 1, 11)))).encode_to_vec()),
        ("nothing matched", wire::append_result(Ok(None)).encode_to_vec()),
        ("conflict", wire::append_result(Err(StreamAppendError::Conflict(log_id(3, 2, 8)))).encode_to_vec()),
        ("higher", wire::append_result(Err(StreamAppendError::HigherVote(Vote::new(6, 3)))).encode_to_vec()),
        ("vote request", wire::vote_request(TO, &vote_request(), true).encode_to_vec()),
        ("vote", wire::vote_response(&VoteResponse::new(Vote::new(5, 2), None, true)).encode_to_vec()),
        ("snapshot head", wire::snapshot_head(&snapshot(), 5, 0x0102_0304).encode_to_vec()),
        ("transfer", wire::transfer(TO, &transfer).encode_to_vec()),
    ]
}

const GOLDEN: [(&str, &str); 9] = [
    (
        "append",
        "0a040803100112060804100118011a0608031002180822080a06080410011809220c0a0608041001180a1202686922290a0608041001180b1a1f\
         0a030a01010a040a0201021208080112046d313a371208080212046d323a372a06080310021807",
    ),
    ("matched", "0a080a0608041001180b"),
    ("nothing matched", "0a00"),
    ("conflict", "1206080310021808"),
    ("higher", "1a0408061003"),
    ("vote request", "0a04080310011204080510021a0608041001180b20012801"),
    ("vote", "0a04080510021001"),
    (
        "snapshot head",
        "0a0608031002184d12060801100118051a1f0a030a01010a040a0201021208080112046d313a371208080212046d323a3720052d04030201",
    ),
    ("transfer", "0a040803100112060804100118011802220608041001180b"),
];

#[test]
fn messages_have_these_bytes() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let found: Vec<(&str, String)> = messages().into_iter().map(|(name, bytes)| (name, hex(&bytes))).collect();
    let golden: Vec<(&str, String)> = GOLDEN.iter().map(|(name, bytes)| (*name, (*bytes).to_owned())).collect();
    assert_eq!(found, golden, "{found:#?}");
}

#[test]
fn messages_are_read_back() {
    let read = wire::read_append(wire::append(TO, append())).unwrap();
    assert_eq!((read.vote, read.prev_log_id, read.leader_commit), {
        let request = append();
        (request.vote, request.prev_log_id, request.leader_commit)
    });
    assert_eq!(read.entries, append().entries);
    assert_eq!(wire::read_vote_request(wire::vote_request(TO, &vote_request(), false)), Ok(vote_request()));
    let head = wire::snapshot_head(&snapshot(), 5, 6);
    assert_eq!(wire::read_snapshot_head(Some(head)), Ok((snapshot(), 5, 6)));
    for result in [
        Ok(None),
        Ok(Some(log_id(1, 2, 3))),
        Err(StreamAppendError::Conflict(log_id(3, 2, 8))),
        Err(StreamAppendError::HigherVote(Vote::new(6, 3))),
    ] {
        assert_eq!(wire::read_append_result(wire::append_result(result.clone())), Ok(result));
    }
}

#[test]
fn what_no_member_sends_is_refused() {
    let whole = || wire::append(TO, append());
    let spoil: [fn(&mut pb::AppendRequest); 6] = [
        |request| request.vote = None,
        |request| request.entries[0].id = None,
        // A gap, and an entry before the first.
        |request| drop(request.entries.remove(0)),
        |request| request.previous = None,
        |request| request.entries.swap(0, 1),
        // Voters who are no members.
        |request| {
            let Some(pb::entry::Payload::Membership(members)) = &mut request.entries[2].payload else { return };
            members.members.clear();
        },
    ];
    for (number, spoil) in spoil.into_iter().enumerate() {
        let mut request = whole();
        spoil(&mut request);
        assert!(wire::read_append(request).is_err(), "{number}");
    }
    assert!(wire::read_append_result(pb::AppendResponse { outcome: None }).is_err());
    assert!(wire::read_snapshot_head(None).is_err());
    assert!(wire::read_vote_response(pb::VoteResponse::default()).is_err());
}
