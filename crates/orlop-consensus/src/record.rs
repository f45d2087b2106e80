//! What lies on disk: keys, records, and the messages in them.
//!
//! Everything is kept as records under keys of one ordered store: `e`, the index and the part's number (both big-endian)
//! for a part of a log entry; `m` and a word for the rest. A record is
//!
//! ```text
//! version (1 byte) · crc32 of key and what follows (4, little-endian) · number of parts (2, little-endian) · bytes
//! ```
//!
//! An entry is cut into parts of [`PART_BYTES`], because the store keeps large values in files that it never syncs. Small
//! ones that are appended together share a record, of version 2, under the key of the first: what the store does for a key
//! costs more than what it does for some bytes. The bytes are protobuf, so that fields can be added and a reader skips those it does not know; golden bytes in the tests
//! hold the form in place. None of it is a type of openraft, whose shape changes from release to release.

use crate::types::{self, Command, Payload};
use bytes::Bytes;
use openraft::impls::BasicNode;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

/// The newest version of records that is read.
pub(crate) const VERSION: u8 = PACKED;
/// The version of records with one thing in them.
const SINGLE: u8 = 1;
/// The version of records with several entries in them, which follow one another.
const PACKED: u8 = 2;
/// At most so many entries share a record.
const PACKED_MAX: usize = 64;
/// The most bytes of an entry in one record. A page of the store holds up to some twenty records, and pages of 128 KiB and
/// more go to files of their own.
pub(crate) const PART_BYTES: usize = 4096;
const HEAD_BYTES: usize = 7;

/// Keys of records that are no entries.
pub(crate) const VOTE: &[u8] = b"mvote";
/// How far the log was known to be committed, at least.
pub(crate) const COMMITTED: &[u8] = b"mcommitted";
/// The last entry that was removed from the log's beginning.
pub(crate) const PURGED: &[u8] = b"mpurged";

/// Why a record or a message in it cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// It was written by a newer version of Orlop.
    #[error("written in format {0}, and this version of Orlop knows formats up to {VERSION}")]
    Newer(u8),
    /// It is not what was written.
    #[error("{0}")]
    Damaged(String),
}

fn damaged(problem: impl Into<String>) -> Unreadable {
    Unreadable::Damaged(problem.into())
}

pub(crate) fn entry_key(index: u64, part: u16) -> Vec<u8> {
    let mut key = Vec::with_capacity(11);
    key.push(b'e');
    key.extend_from_slice(&index.to_be_bytes());
    key.extend_from_slice(&part.to_be_bytes());
    key
}

/// The index and the part's number, if it is a key of an entry.
pub(crate) fn parse_entry_key(key: &[u8]) -> Option<(u64, u16)> {
    let (tag, rest) = key.split_first()?;
    let (index, part) = rest.split_first_chunk::<8>()?;
    let part: &[u8; 2] = part.try_into().ok()?;
    (*tag == b'e').then(|| (u64::from_be_bytes(*index), u16::from_be_bytes(*part)))
}

fn checksum(key: &[u8], rest: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(rest);
    crc.finalize()
}

fn frame(key: &[u8], parts: u16, bytes: &[u8]) -> Vec<u8> {
    frame_as(SINGLE, key, parts, bytes)
}

fn frame_as(version: u8, key: &[u8], parts: u16, bytes: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEAD_BYTES + bytes.len());
    record.push(version);
    record.extend_from_slice(&[0; 4]);
    record.extend_from_slice(&parts.to_le_bytes());
    record.extend_from_slice(bytes);
    let crc = checksum(key, &record[5..]);
    record[1..5].copy_from_slice(&crc.to_le_bytes());
    record
}

/// The number of parts and the bytes of a record with one thing in it.
fn unframe<'a>(key: &[u8], record: &'a [u8]) -> Result<(u16, &'a [u8]), Unreadable> {
    match unframe_any(key, record)? {
        (SINGLE, parts, bytes) => Ok((parts, bytes)),
        (version, ..) => Err(damaged(format!("a record of this kind has no version {version}"))),
    }
}

fn unframe_any<'a>(key: &[u8], record: &'a [u8]) -> Result<(u8, u16, &'a [u8]), Unreadable> {
    let (Some((version, rest)), true) = (record.split_first(), record.len() >= HEAD_BYTES) else {
        return Err(damaged(format!("a record of {} bytes is too short", record.len())));
    };
    let (crc, rest) = rest.split_first_chunk::<4>().ok_or_else(|| damaged("a record is too short"))?;
    if checksum(key, rest) != u32::from_le_bytes(*crc) {
        return Err(damaged("the checksum of a record is wrong"));
    }
    if *version > VERSION {
        return Err(Unreadable::Newer(*version));
    }
    if *version == 0 {
        return Err(damaged("a record has version 0"));
    }
    let (parts, bytes) = rest.split_first_chunk::<2>().ok_or_else(|| damaged("a record is too short"))?;
    Ok((*version, u16::from_le_bytes(*parts), bytes))
}

/// The records of entries that follow one another, as keys and values.
pub(crate) fn encode_entries(entries: &[types::Entry]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut records = Vec::new();
    let mut rest = entries;
    while !rest.is_empty() {
        let (mut pack, mut bytes) = (Pack::default(), 0);
        for entry in rest.iter().take(PACKED_MAX) {
            let message = Entry::from(entry);
            bytes += message.encoded_len() + 4;
            if bytes > PART_BYTES {
                break;
            }
            pack.entries.push(message);
        }
        let taken = pack.entries.len().max(1);
        match (taken, &rest[0]) {
            (1, entry) => records.extend(encode_entry(entry)),
            (_, first) => {
                let key = entry_key(first.log_id.index(), 0);
                let record = frame_as(PACKED, &key, 1, &pack.encode_to_vec());
                records.push((key, record));
            }
        }
        rest = &rest[taken..];
    }
    records
}

/// The entries from an index on that are in the records of its parts, in order.
pub(crate) fn decode_entries<R: AsRef<[u8]>>(index: u64, parts: &[(u16, R)]) -> Result<Vec<types::Entry>, Unreadable> {
    if let [(0, record)] = parts
        && let (PACKED, count, bytes) = unframe_any(&entry_key(index, 0), record.as_ref())?
    {
        let pack = Pack::decode(Bytes::copy_from_slice(bytes)).map_err(|e| damaged(format!("entry {index}: {e}")))?;
        if count != 1 || pack.entries.is_empty() {
            return Err(damaged(format!("the record of entry {index} has {} in {count} parts", pack.entries.len())));
        }
        return (index..).zip(pack.entries).map(|(index, entry)| entry.at(index)).collect();
    }
    decode_entry(index, parts).map(|entry| vec![entry])
}

/// The records of an entry, as keys and values.
pub(crate) fn encode_entry(entry: &types::Entry) -> Vec<(Vec<u8>, Vec<u8>)> {
    let bytes = Entry::from(entry).encode_to_vec();
    let index = entry.log_id.index();
    let chunks: Vec<&[u8]> = if bytes.is_empty() { vec![&[]] } else { bytes.chunks(PART_BYTES).collect() };
    let parts = u16::try_from(chunks.len()).unwrap_or(u16::MAX);
    (0..parts)
        .zip(chunks)
        .map(|(part, chunk)| {
            let key = entry_key(index, part);
            let record = frame(&key, parts, chunk);
            (key, record)
        })
        .collect()
}

/// The entry at an index from the records of its parts, in order.
fn decode_entry<R: AsRef<[u8]>>(index: u64, parts: &[(u16, R)]) -> Result<types::Entry, Unreadable> {
    let mut bytes = Vec::new();
    for (place, (part, record)) in parts.iter().enumerate() {
        let (count, chunk) = unframe(&entry_key(index, *part), record.as_ref())?;
        if place != usize::from(*part) || usize::from(count) != parts.len() {
            return Err(damaged(format!("entry {index} has {} of {count} parts", parts.len())));
        }
        bytes.extend_from_slice(chunk);
    }
    let entry = Entry::decode(Bytes::from(bytes)).map_err(|e| damaged(format!("entry {index}: {e}")))?;
    entry.at(index)
}

pub(crate) fn encode_vote(vote: &types::Vote) -> Vec<u8> {
    let message = Vote { term: vote.leader_id.term, member: vote.leader_id.node_id, committed: vote.committed };
    frame(VOTE, 1, &message.encode_to_vec())
}

pub(crate) fn decode_vote(record: &[u8]) -> Result<types::Vote, Unreadable> {
    let vote = Vote::decode(unframe(VOTE, record)?.1).map_err(|e| damaged(format!("the vote: {e}")))?;
    let leader_id = openraft::impls::leader_id_adv::LeaderId { term: vote.term, node_id: vote.member };
    Ok(types::Vote { leader_id, committed: vote.committed })
}

/// A record of a place in the log, under one of the keys above.
pub(crate) fn encode_log_id(key: &[u8], log_id: &types::LogId) -> Vec<u8> {
    frame(key, 1, &LogId::from(log_id).encode_to_vec())
}

pub(crate) fn decode_log_id(key: &[u8], record: &[u8]) -> Result<types::LogId, Unreadable> {
    let log_id = LogId::decode(unframe(key, record)?.1).map_err(|e| damaged(format!("a place in the log: {e}")))?;
    Ok(log_id.into())
}

/// What a snapshot file says of itself before the state: protobuf.
pub(crate) fn encode_snapshot_head(meta: &types::SnapshotMeta, payload_bytes: u64, payload_crc: u32) -> Vec<u8> {
    SnapshotHead {
        last: meta.last_log_id.as_ref().map(LogId::from),
        membership_at: meta.last_membership.log_id().as_ref().map(LogId::from),
        membership: Some(meta.last_membership.membership().into()),
        payload_bytes,
        payload_crc,
    }
    .encode_to_vec()
}

/// The snapshot's place, and the length and checksum of the state that follows.
pub(crate) fn decode_snapshot_head(bytes: &[u8]) -> Result<(types::SnapshotMeta, u64, u32), Unreadable> {
    let head = SnapshotHead::decode(bytes).map_err(|e| damaged(format!("its head: {e}")))?;
    let membership = head.membership.ok_or_else(|| damaged("it names no members"))?.read()?;
    let meta = types::SnapshotMeta {
        last_log_id: head.last.map(Into::into),
        last_membership: types::StoredMembership::new(head.membership_at.map(Into::into), membership),
    };
    Ok((meta, head.payload_bytes, head.payload_crc))
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    leader: u64,
    #[prost(oneof = "Kind", tags = "3, 4")]
    kind: Option<Kind>,
}

/// Entries that follow one another.
#[derive(Clone, PartialEq, Message)]
struct Pack {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
}

/// Unset: an entry that a new leader begins its term with.
#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(bytes = "bytes", tag = "3")]
    Command(Bytes),
    #[prost(message, tag = "4")]
    Membership(Membership),
}

#[derive(Clone, PartialEq, Message)]
struct Membership {
    /// More than one while the members change.
    #[prost(message, repeated, tag = "1")]
    configs: Vec<Voters>,
    #[prost(message, repeated, tag = "2")]
    members: Vec<Member>,
}

#[derive(Clone, PartialEq, Message)]
struct Voters {
    #[prost(uint64, repeated, tag = "1")]
    members: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Member {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    address: String,
}

#[derive(Clone, PartialEq, Message)]
struct Vote {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    member: u64,
    #[prost(bool, tag = "3")]
    committed: bool,
}

#[derive(Clone, PartialEq, Message)]
struct LogId {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    leader: u64,
    #[prost(uint64, tag = "3")]
    index: u64,
}

#[derive(Clone, PartialEq, Message)]
struct SnapshotHead {
    #[prost(message, optional, tag = "1")]
    last: Option<LogId>,
    #[prost(message, optional, tag = "2")]
    membership_at: Option<LogId>,
    #[prost(message, optional, tag = "3")]
    membership: Option<Membership>,
    #[prost(uint64, tag = "4")]
    payload_bytes: u64,
    #[prost(fixed32, tag = "5")]
    payload_crc: u32,
}

impl From<&types::LogId> for LogId {
    fn from(log_id: &types::LogId) -> Self {
        let leader = log_id.committed_leader_id();
        Self { term: leader.term, leader: leader.node_id, index: log_id.index() }
    }
}

impl From<LogId> for types::LogId {
    fn from(log_id: LogId) -> Self {
        types::log_id(log_id.term, log_id.leader, log_id.index)
    }
}

impl From<&types::Membership> for Membership {
    fn from(membership: &types::Membership) -> Self {
        let voters = |set: &BTreeSet<u64>| Voters { members: set.iter().copied().collect() };
        Self {
            configs: membership.get_joint_config().iter().map(voters).collect(),
            members: membership.nodes().map(|(id, node)| Member { id: *id, address: node.addr.clone() }).collect(),
        }
    }
}

impl Membership {
    fn read(self) -> Result<types::Membership, Unreadable> {
        let nodes: BTreeMap<u64, BasicNode> =
            self.members.into_iter().map(|m| (m.id, BasicNode { addr: m.address })).collect();
        let configs: Vec<BTreeSet<u64>> =
            self.configs.into_iter().map(|voters| voters.members.into_iter().collect()).collect();
        if configs.is_empty() && nodes.is_empty() {
            return Ok(types::Membership::default());
        }
        types::Membership::new(configs, nodes).map_err(|e| damaged(format!("the members: {e}")))
    }
}

impl From<&types::Entry> for Entry {
    fn from(entry: &types::Entry) -> Self {
        let leader = entry.log_id.committed_leader_id();
        let kind = match &entry.payload {
            Payload::Blank => None,
            Payload::Normal(Command(bytes)) => Some(Kind::Command(bytes.clone())),
            Payload::Membership(membership) => Some(Kind::Membership(membership.into())),
        };
        Self { term: leader.term, leader: leader.node_id, kind }
    }
}

impl Entry {
    fn at(self, index: u64) -> Result<types::Entry, Unreadable> {
        let payload = match self.kind {
            None => Payload::Blank,
            Some(Kind::Command(bytes)) => Payload::Normal(Command(bytes)),
            Some(Kind::Membership(membership)) => Payload::Membership(membership.read()?),
        };
        Ok(types::Entry { log_id: types::log_id(self.term, self.leader, index), payload })
    }
}

#[cfg(test)]
mod tests;
