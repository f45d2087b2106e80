//! The store against openraft's own suite, and against damage at every byte.

use super::LogStore;
use crate::disk::{Batch, Disk, Real, Sled, Store};
use crate::machine::{Ending, Machine};
use crate::record::{self, PART_BYTES};
use crate::snapshot::Snapshots;
use crate::types::{Command, Entry, Payload, Types, log_id};
use crate::{Encode, InvalidSnapshot, StartError, StateMachine};
use openraft::entry::RaftEntry;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{StorageError, Vote};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tempfile::TempDir;

/// Nothing: the suite looks at what surrounds the state.
struct Nothing;

impl StateMachine for Nothing {
    fn apply(&self, _index: u64, _command: &[u8]) -> Vec<u8> {
        Vec::new()
    }

    fn snapshot(&self) -> Encode {
        Box::new(|| vec![7; 10])
    }

    fn restore(&self, _index: u64, snapshot: &[u8]) -> Result<(), InvalidSnapshot> {
        if snapshot == [7; 10] { Ok(()) } else { Err(InvalidSnapshot("not seven".into())) }
    }
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(Real)
}

struct Builder;

impl StoreBuilder<Types, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<Types>> {
        let directory = tempfile::tempdir().unwrap();
        let keep_from = Arc::new(AtomicU64::new(0));
        let log = LogStore::open(&disk(), &directory.path().join("log"), keep_from.clone()).unwrap();
        let snapshots = Snapshots::open(disk(), &directory.path().join("snapshots"), keep_from).unwrap();
        let machine = Machine::new(
            Arc::new(Nothing),
            Arc::new(snapshots),
            None,
            log.applied(),
            u64::MAX,
            Arc::default(),
            Ending::default(),
        );
        Ok((directory, log, machine))
    }
}

#[tokio::test]
async fn the_store_does_what_the_protocol_expects() {
    // The suite calls what the protocol's own types need of the command.
    Suite::test_all(Builder).await.unwrap();
}

fn entry(index: u64, size: usize) -> Entry {
    let bytes: Vec<u8> = (0..size).map(|i| (i as u64 * 7 + index) as u8).collect();
    Entry { log_id: log_id(1, 1, index), payload: Payload::Normal(Command(bytes.into())) }
}

fn open(directory: &Path) -> Result<LogStore, StartError> {
    LogStore::open(&disk(), directory, Arc::new(AtomicU64::new(0)))
}

/// A log with these entries, closed.
async fn written(directory: &Path, entries: Vec<Entry>) {
    let mut log = open(directory).unwrap();
    log.save_vote(&Vote::new_committed(1, 1)).await.unwrap();
    // Each for itself: together they would share a record.
    for entry in entries {
        log.blocking_append([entry]).await.unwrap();
    }
    log.close().await;
}

async fn entries(log: &mut LogStore) -> Vec<Entry> {
    log.get_log_reader().await.try_get_log_entries(0..u64::MAX).await.unwrap()
}

/// The log's end as a crash leaves it: nothing of the last entry was acknowledged.
fn forget_that_it_was_durable(directory: &Path, next: u64) {
    crate::reached::Reached::open(&Real, &directory.join("reached")).unwrap().0.note(next).unwrap();
}

fn change(directory: &Path, work: impl FnOnce(&Sled, &mut Batch)) {
    let disk = Sled::open(&directory.join("store")).unwrap();
    let mut batch = Batch::default();
    work(&disk, &mut batch);
    disk.write(batch).unwrap();
}

#[tokio::test]
async fn what_was_appended_is_there_after_a_restart_with_vote_and_commit_mark() {
    let directory = tempfile::tempdir().unwrap();
    let list = vec![entry(0, 0), entry(1, 5), entry(2, 3 * PART_BYTES), entry(3, PART_BYTES), entry(4, 1)];
    let mut log = open(directory.path()).unwrap();
    log.save_vote(&Vote::new_committed(3, 2)).await.unwrap();
    log.blocking_append(list.clone()).await.unwrap();
    log.save_committed(Some(log_id(1, 1, 3))).await.unwrap();
    log.close().await;

    let mut log = open(directory.path()).unwrap();
    assert_eq!(entries(&mut log).await, list);
    assert_eq!(log.get_log_reader().await.read_vote().await.unwrap(), Some(Vote::new_committed(3, 2)));
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(1, 1, 3)));
    log.truncate_after(Some(log_id(1, 1, 1))).await.unwrap();
    let other = Entry { log_id: log_id(2, 2, 2), payload: Payload::Blank };
    log.blocking_append([other.clone()]).await.unwrap();
    log.close().await;

    let mut log = open(directory.path()).unwrap();
    assert_eq!(entries(&mut log).await, [list[0].clone(), list[1].clone(), other]);
    log.close().await;
}

#[tokio::test]
async fn entries_are_read_from_memory_and_disk_alike() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = open(directory.path()).unwrap();
    let list: Vec<Entry> = (0..3000).map(|index| entry(index, 200)).collect();
    for some in list.chunks(97) {
        log.blocking_append(some.to_vec()).await.unwrap();
    }
    assert!(log.shared.memory.lock().recent.len() <= super::RECENT_ENTRIES, "memory grows with the log");
    let mut reader = log.get_log_reader().await;
    for (first, end) in [(0, 3000), (0, 1), (1900, 2100), (2999, 3000), (2500, 9999), (7, 7), (3000, 4000)] {
        let found = reader.try_get_log_entries(first..end).await.unwrap();
        assert_eq!(found, list[(first as usize).min(3000)..(end as usize).min(3000)], "{first}..{end}");
    }
    let some = reader.limited_get_log_entries(0, 3000).await.unwrap();
    assert!(!some.is_empty() && some == list[..some.len()]);
    log.close().await;
}

#[tokio::test]
async fn entries_stay_in_memory_until_they_are_applied() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = open(directory.path()).unwrap();
    let applied = log.applied();
    applied.store(0, std::sync::atomic::Ordering::Release);
    log.blocking_append((0..6).map(|index| entry(index, super::RECENT_BYTES))).await.unwrap();
    assert_eq!(log.shared.memory.lock().recent.len(), 6);
    applied.store(5, std::sync::atomic::Ordering::Release);
    log.blocking_append([entry(6, 1)]).await.unwrap();
    let left: Vec<u64> = log.shared.memory.lock().recent.keys().copied().collect();
    assert_eq!(left, [5, 6]);
    log.close().await;
}

#[tokio::test]
async fn a_torn_last_entry_is_cut_wherever_it_was_torn() {
    let directory = tempfile::tempdir().unwrap();
    let last = entry(3, PART_BYTES + 30);
    let list: Vec<Entry> = (0..3).map(|index| entry(index, 10)).collect();
    written(directory.path(), [list.clone(), vec![last.clone()]].concat()).await;
    let records = record::encode_entry(&last);
    assert_eq!(records.len(), 2);
    // Every byte of the short record, and some of the long one.
    let places =
        (0..records[1].1.len()).map(|byte| (1, byte)).chain((0..records[0].1.len()).step_by(251).map(|b| (0, b)));
    for (count, (part, byte)) in places.enumerate() {
        let (key, value) = &records[part];
        let mut torn = value.clone();
        if count % 2 == 0 {
            torn.truncate(byte);
        } else {
            torn[byte] ^= 0x40;
        }
        change(directory.path(), |_, batch| {
            records.iter().for_each(|(key, value)| batch.put(key.clone(), value.clone()));
            batch.put(key.clone(), torn);
        });
        forget_that_it_was_durable(directory.path(), 3);
        let mut log = open(directory.path()).unwrap_or_else(|e| panic!("part {part} byte {byte}: {e}"));
        assert_eq!(entries(&mut log).await, list, "part {part} byte {byte}");
        log.close().await;
    }
    // What was cut does not come back.
    assert_eq!(entries(&mut open(directory.path()).unwrap()).await, list);
}

#[tokio::test]
async fn a_lost_part_or_entry_at_the_end_is_cut_unless_it_was_acknowledged() {
    for (lost, kept) in
        [(vec![(3, 1)], 3), (vec![(3, 0)], 3), (vec![(3, 0), (3, 1)], 3), (vec![(2, 0), (3, 0), (3, 1)], 2)]
    {
        let directory = tempfile::tempdir().unwrap();
        let list = vec![entry(0, 1), entry(1, 1), entry(2, 1), entry(3, PART_BYTES + 1)];
        written(directory.path(), list.clone()).await;
        change(directory.path(), |_, batch| {
            lost.iter().for_each(|(index, part)| batch.remove(&record::entry_key(*index, *part)));
        });
        let error = open(directory.path()).err().unwrap().to_string();
        assert!(error.contains("durable up to entry 3") && error.contains("backup"), "{error}");
        forget_that_it_was_durable(directory.path(), kept);
        let mut log = open(directory.path()).unwrap();
        assert_eq!(entries(&mut log).await, list[..kept as usize]);
        log.close().await;
    }
}

#[tokio::test]
async fn damage_before_the_end_stops_the_start_and_changes_nothing() {
    type Damage = fn(&mut Batch);
    let cases: [(&str, Damage); 5] = [
        ("entry 1: the checksum", |batch| {
            let (key, mut value) = record::encode_entry(&entry(1, 10)).remove(0);
            value[8] ^= 1;
            batch.put(key, value);
        }),
        ("entry 1 is missing", |batch| batch.remove(&record::entry_key(1, 0))),
        ("entry 1: the checksum", |batch| {
            // A record of another entry in its place.
            batch.put(record::entry_key(1, 0), record::encode_entry(&entry(0, 10)).remove(0).1);
        }),
        ("none of ours", |batch| batch.put(b"ehello".to_vec(), vec![1])),
        ("the vote is damaged", |batch| batch.put(record::VOTE.to_vec(), vec![1, 2, 3])),
    ];
    for (expected, damage) in cases {
        let directory = tempfile::tempdir().unwrap();
        written(directory.path(), (0..4).map(|index| entry(index, 10)).collect()).await;
        change(directory.path(), |_, batch| damage(batch));
        for durable in [4, 0] {
            forget_that_it_was_durable(directory.path(), durable);
            let error = open(directory.path()).err().unwrap_or_else(|| panic!("{expected}")).to_string();
            assert!(error.contains(expected) && error.contains("move this directory away"), "{expected}: {error}");
        }
        let disk = Sled::open(&directory.path().join("store")).unwrap();
        assert!(disk.get(&record::entry_key(3, 0)).unwrap().is_some(), "a refused start removed entries");
    }
}

#[tokio::test]
async fn records_of_a_newer_version_are_refused_by_that_name_also_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path(), vec![entry(0, 1), entry(1, 1)]).await;
    change(directory.path(), |_, batch| {
        let (key, mut value) = record::encode_entry(&entry(1, 1)).remove(0);
        value[0] = 3;
        batch.put(key, value);
    });
    forget_that_it_was_durable(directory.path(), 0);
    let error = open(directory.path()).err().unwrap().to_string();
    assert!(error.contains("format 3") && error.contains("start the version"), "{error}");
}

#[tokio::test]
async fn purging_keeps_what_a_kept_snapshot_needs() {
    let directory = tempfile::tempdir().unwrap();
    let keep_from = Arc::new(AtomicU64::new(4));
    let mut log = LogStore::open(&disk(), directory.path(), keep_from.clone()).unwrap();
    let list: Vec<Entry> = (0..10).map(|index| entry(index, 10)).collect();
    log.blocking_append(list.clone()).await.unwrap();
    log.purge(log_id(1, 1, 7)).await.unwrap();
    assert_eq!(entries(&mut log).await, list[8..]);
    assert_eq!(log.get_log_state().await.unwrap().last_purged_log_id, Some(log_id(1, 1, 7)));
    log.close().await;

    let mut log = LogStore::open(&disk(), directory.path(), keep_from.clone()).unwrap();
    assert_eq!(entries(&mut log).await, list[4..], "entries from 4 on had to stay");
    assert_eq!(log.get_log_state().await.unwrap().last_purged_log_id, Some(log_id(1, 1, 3)));
    // A snapshot from elsewhere reaches beyond the end: nothing here is of use any more.
    log.purge(log_id(2, 3, 50)).await.unwrap();
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(log_id(2, 3, 50)));
    log.blocking_append([Entry { log_id: log_id(2, 3, 51), payload: Payload::Blank }]).await.unwrap();
    log.close().await;
    let mut log = open(directory.path()).unwrap();
    assert_eq!(entries(&mut log).await.iter().map(RaftEntry::index).collect::<Vec<_>>(), [51]);
    log.close().await;
}

#[tokio::test]
async fn entries_that_share_a_record_are_truncated_and_purged_one_by_one() {
    for first in 0..20_u64 {
        let directory = tempfile::tempdir().unwrap();
        let mut log = open(directory.path()).unwrap();
        let list: Vec<Entry> = (0..20).map(|index| entry(index, 300)).collect();
        log.blocking_append(list.clone()).await.unwrap();
        assert!(log.shared.store.keys(vec![b'e']..vec![b'f']).unwrap().len() <= 2, "they share no record");
        log.truncate_after(first.checked_sub(1).map(|last| log_id(1, 1, last))).await.unwrap();
        let other = Entry { log_id: log_id(2, 2, first), payload: Payload::Blank };
        log.blocking_append([other.clone()]).await.unwrap();
        let expected = [&list[..first as usize], &[other]].concat();
        assert_eq!(entries(&mut log).await, expected);
        log.close().await;
        let mut log = open(directory.path()).unwrap();
        assert_eq!(entries(&mut log).await, expected, "truncated at {first}");
        log.close().await;

        // Kept is what a snapshot up to here needs.
        let directory = tempfile::tempdir().unwrap();
        let keep_from = Arc::new(AtomicU64::new(first + 1));
        let mut log = LogStore::open(&disk(), directory.path(), keep_from.clone()).unwrap();
        log.blocking_append(list.clone()).await.unwrap();
        log.purge(log_id(1, 1, first)).await.unwrap();
        log.close().await;
        let mut log = open(directory.path()).unwrap();
        assert_eq!(entries(&mut log).await, list[first as usize + 1..], "purged through {first}");
        assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(log_id(1, 1, 19)));
        log.close().await;
    }
}

#[tokio::test]
async fn a_torn_record_of_several_entries_is_cut_whole() {
    let directory = tempfile::tempdir().unwrap();
    let list: Vec<Entry> = (0..6).map(|index| entry(index, 100)).collect();
    let mut log = open(directory.path()).unwrap();
    log.blocking_append(list[..2].to_vec()).await.unwrap();
    log.blocking_append(list[2..].to_vec()).await.unwrap();
    log.close().await;
    let (key, value) = record::encode_entries(&list[2..]).remove(0);
    for byte in (0..value.len()).step_by(17) {
        let mut torn = value.clone();
        torn.truncate(byte);
        change(directory.path(), |_, batch| batch.put(key.clone(), torn));
        forget_that_it_was_durable(directory.path(), 2);
        let mut log = open(directory.path()).unwrap_or_else(|e| panic!("byte {byte}: {e}"));
        assert_eq!(entries(&mut log).await, list[..2], "byte {byte}");
        log.close().await;
    }
    change(directory.path(), |_, batch| batch.put(key.clone(), vec![1; 9]));
    forget_that_it_was_durable(directory.path(), 4);
    let error = open(directory.path()).err().unwrap().to_string();
    assert!(error.contains("durable up to entry 3"), "{error}");
}

#[tokio::test]
async fn a_store_whose_journal_is_gone_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path(), vec![entry(0, 1)]).await;
    std::fs::remove_file(directory.path().join("store/journal")).unwrap();
    let error = open(directory.path()).err().unwrap().to_string();
    assert!(error.contains("journal is missing"), "{error}");
}
