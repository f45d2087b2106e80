//! What lies on the disks of clusters, byte for byte.

use super::*;
use crate::types::{Command, StoredMembership, log_id};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn membership() -> types::Membership {
    let nodes = [1, 2].map(|id| (id, BasicNode { addr: format!("m{id}:7") })).into_iter().collect::<BTreeMap<_, _>>();
    types::Membership::new(vec![[1].into(), [1, 2].into()], nodes).unwrap()
}

fn several() -> [types::Entry; 2] {
    let entry = |index, payload| types::Entry { log_id: log_id(3, 2, index), payload };
    [entry(0x0102, Payload::Blank), entry(0x0103, Payload::Normal(Command(Bytes::from_static(b"hello"))))]
}

type Record = (Vec<u8>, Vec<u8>);

fn records() -> Vec<(&'static str, Vec<Record>)> {
    let entry = |payload| types::Entry { log_id: log_id(3, 2, 0x0102), payload };
    let place = log_id(9, 1, 300);
    vec![
        ("a blank entry", encode_entry(&entry(Payload::Blank))),
        ("a command", encode_entry(&entry(Payload::Normal(Command(Bytes::from_static(b"hello")))))),
        ("members", encode_entry(&entry(Payload::Membership(membership())))),
        ("several entries", encode_entries(&several())),
        ("a vote", vec![(VOTE.to_vec(), encode_vote(&types::Vote::new_committed(5, 1)))]),
        ("a commit mark", vec![(COMMITTED.to_vec(), encode_log_id(COMMITTED, &place))]),
        ("a purge mark", vec![(PURGED.to_vec(), encode_log_id(PURGED, &place))]),
    ]
}

/// What is on the disks of clusters: these bytes must be read for ever.
const GOLDEN: [(&str, &str, &str); 7] = [
    ("a blank entry", "6500000000000001020000", "01e93ff227010008031002"),
    ("a command", "6500000000000001020000", "01d01e38920100080310021a0568656c6c6f"),
    (
        "members",
        "6500000000000001020000",
        "01644f2bba010008031002221f0a030a01010a040a0201021208080112046d313a371208080212046d323a37",
    ),
    ("several entries", "6500000000000001020000", "02f24103be01000a04080310020a0b080310021a0568656c6c6f"),
    ("a vote", "6d766f7465", "01a5c378eb0100080510011801"),
    ("a commit mark", "6d636f6d6d6974746564", "013e93f51301000809100118ac02"),
    ("a purge mark", "6d707572676564", "013dca83ee01000809100118ac02"),
];

#[test]
fn records_have_these_bytes() {
    let found: Vec<(&str, String, String)> =
        records().into_iter().map(|(name, pairs)| (name, hex(&pairs[0].0), hex(&pairs[0].1))).collect();
    let golden: Vec<(&str, String, String)> =
        GOLDEN.iter().map(|(name, key, value)| (*name, (*key).to_owned(), (*value).to_owned())).collect();
    assert_eq!(found, golden, "{found:#?}");
}

#[test]
fn records_are_read_back() {
    for (name, pairs) in records() {
        let (key, record) = &pairs[0];
        match name {
            "a vote" => assert_eq!(decode_vote(record), Ok(types::Vote::new_committed(5, 1))),
            "a commit mark" | "a purge mark" => assert_eq!(decode_log_id(key, record), Ok(log_id(9, 1, 300))),
            _ => {
                let entries = decode_entries(0x0102, &[(0, record)]).unwrap();
                assert_eq!(encode_entries(&entries), pairs, "{name}");
                assert_eq!(entries.len(), if name == "several entries" { 2 } else { 1 });
            }
        }
        assert_eq!(parse_entry_key(key), key.starts_with(b"e").then_some((0x0102, 0)), "{name}");
    }
}

#[test]
fn a_record_with_any_bit_changed_or_any_end_cut_is_damaged() {
    let (key, record) = records().remove(1).1.remove(0);
    for bit in 0..record.len() * 8 {
        let mut torn = record.clone();
        torn[bit / 8] ^= 1 << (bit % 8);
        let refused = unframe(&key, &torn).map(|(parts, _)| parts);
        if bit < 8 {
            assert!(refused.is_err(), "bit {bit}");
        } else {
            assert!(matches!(refused, Err(Unreadable::Damaged(_))), "bit {bit}");
        }
    }
    for length in 0..record.len() {
        assert!(matches!(unframe(&key, &record[..length]), Err(Unreadable::Damaged(_))), "{length} bytes");
    }
}

#[test]
fn entries_share_records_up_to_a_size_and_a_number_and_large_ones_have_their_own() {
    let entry = |index, size| types::Entry {
        log_id: log_id(1, 1, index),
        payload: Payload::Normal(Command(vec![7; size].into())),
    };
    for (sizes, records) in [
        (vec![0; 64], 1),
        (vec![0; 65], 2),
        (vec![1000; 9], 3),
        (vec![PART_BYTES; 3], 6),
        (vec![10, 3 * PART_BYTES, 10, 10], 6),
        (vec![10, PART_BYTES - 20, 10], 3),
    ] {
        let entries: Vec<types::Entry> = (5..).zip(&sizes).map(|(index, size)| entry(index, *size)).collect();
        let found = encode_entries(&entries);
        assert_eq!(found.len(), records, "{} entries of {} bytes", sizes.len(), sizes[0]);
        assert!(found.iter().all(|(_, record)| record.len() <= PART_BYTES + HEAD_BYTES));
        let mut read = Vec::new();
        let parts: Vec<(u64, u16, Vec<u8>)> = found
            .into_iter()
            .filter_map(|(key, record)| parse_entry_key(&key).map(|(index, part)| (index, part, record)))
            .collect();
        for parts in parts.chunk_by(|a, b| a.0 == b.0) {
            let records: Vec<(u16, &Vec<u8>)> = parts.iter().map(|(_, part, record)| (*part, record)).collect();
            read.extend(decode_entries(parts[0].0, &records).unwrap());
        }
        assert_eq!(read, entries);
    }
}

#[test]
fn fields_that_a_later_version_adds_are_survived() {
    let mut bytes = Entry { term: 3, leader: 2, kind: Some(Kind::Command(Bytes::from_static(b"x"))) }.encode_to_vec();
    // Field 15, a string.
    bytes.extend_from_slice(&[0x7a, 3, b'n', b'e', b'w']);
    let key = entry_key(8, 0);
    let entry = decode_entries(8, &[(0, frame(&key, 1, &bytes))]).unwrap().remove(0);
    assert_eq!(entry.payload, Payload::Normal(Command(Bytes::from_static(b"x"))));
}

#[test]
fn the_head_of_a_snapshot_has_these_bytes_and_is_read_back() {
    let meta = types::SnapshotMeta {
        last_log_id: Some(log_id(3, 2, 77)),
        last_membership: StoredMembership::new(Some(log_id(1, 1, 5)), membership()),
    };
    let head = encode_snapshot_head(&meta, 5, crc32fast::hash(b"state"));
    assert_eq!(
        hex(&head),
        "0a0608031002184d12060801100118051a1f0a030a01010a040a0201021208080112046d313a371208080212046d323a3720052dfbd293a3"
    );
    assert_eq!(decode_snapshot_head(&head), Ok((meta, 5, crc32fast::hash(b"state"))));
    let empty = types::SnapshotMeta::default();
    assert_eq!(decode_snapshot_head(&encode_snapshot_head(&empty, 0, 0)), Ok((empty, 0, 0)));
}
