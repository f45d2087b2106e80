//! Records on disk.
//!
//! Written aside and renamed, without a flush to the disk: the kernel keeps what a dead agent has written, and a flush
//! would cost more than all else between an order and a running process. After a power cut a record may be old or gone;
//! [`orlop_agent_core::Record`] says why that does no harm. A record that cannot be read counts as gone.

use crate::node::{Layout, write_file};
use orlop_agent_core::Record;
use orlop_model::spec::Signal;
use orlop_model::{Generation, Millis, ReplicaId, Timestamp};
use orlop_proto::cluster::v1 as pb;
use prost::Message;
use std::collections::BTreeMap;
use std::io;

/// The stored form. Fields are only ever added.
#[derive(Clone, PartialEq, Message)]
struct Stored {
    #[prost(uint64, tag = "1")]
    generation: u64,
    #[prost(uint32, tag = "2")]
    attempt: u32,
    #[prost(uint32, tag = "3")]
    started_attempt: u32,
    #[prost(uint32, tag = "4")]
    ended_attempt: u32,
    #[prost(uint32, tag = "5")]
    starts: u32,
    #[prost(uint32, tag = "6")]
    failures: u32,
    #[prost(uint32, tag = "7")]
    init_next: u32,
    #[prost(uint64, optional, tag = "8")]
    ready_since_ms: Option<u64>,
    #[prost(uint32, tag = "9")]
    stop_signal: u32,
    #[prost(uint64, tag = "10")]
    stop_grace_ms: u64,
    #[prost(message, optional, tag = "11")]
    status: Option<pb::ReplicaStatus>,
}

fn encode(record: &Record) -> Vec<u8> {
    Stored {
        generation: record.generation.0,
        attempt: record.attempt,
        started_attempt: record.started_attempt,
        ended_attempt: record.ended_attempt,
        starts: record.starts,
        failures: record.failures,
        init_next: u32::try_from(record.init_next).unwrap_or(u32::MAX),
        ready_since_ms: record.ready_since.map(|at| at.0),
        stop_signal: u32::from(record.stop_signal.number()),
        stop_grace_ms: record.stop_grace.0,
        status: Some((&record.status).into()),
    }
    .encode_to_vec()
}

fn decode(replica: ReplicaId, bytes: &[u8]) -> Result<Record, String> {
    let stored = Stored::decode(bytes).map_err(|e| e.to_string())?;
    let status = stored.status.ok_or("it has no status")?;
    Ok(Record {
        replica,
        generation: Generation(stored.generation),
        attempt: stored.attempt,
        started_attempt: stored.started_attempt,
        ended_attempt: stored.ended_attempt,
        starts: stored.starts,
        failures: stored.failures,
        init_next: stored.init_next as usize,
        ready_since: stored.ready_since_ms.map(Timestamp),
        stop_signal: Signal::from_number(stored.stop_signal).ok_or("it has no signal")?,
        stop_grace: Millis(stored.stop_grace_ms),
        status: status.try_into().map_err(|e: orlop_proto::InvalidWire| e.to_string())?,
    })
}

pub(crate) fn store_record(layout: &Layout, record: &Record) -> io::Result<()> {
    let directory = layout.replica(record.replica);
    let path = directory.join("record");
    match write_file(&path, &encode(record), false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(&directory)?;
            write_file(&path, &encode(record), false)
        }
        result => result,
    }
}

/// All replicas that have a directory, with their records where those can be read.
pub(crate) fn load_records(layout: &Layout) -> io::Result<BTreeMap<ReplicaId, Option<Record>>> {
    let mut records = BTreeMap::new();
    for entry in std::fs::read_dir(layout.replicas())? {
        let entry = entry?;
        let Some(replica) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let path = entry.path().join("record");
        let record = match std::fs::read(&path) {
            Ok(bytes) => match decode(replica, &bytes) {
                Ok(record) => Some(record),
                Err(problem) => {
                    tracing::warn!(%replica, problem, "its record cannot be read; going by its containers");
                    None
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        records.insert(replica, record);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_model::{Exit, Phase, Reason};

    fn record() -> Record {
        let mut record = Record::new(ReplicaId::from_u128(7), None, Timestamp(5));
        record.generation = Generation(3);
        record.attempt = 4;
        record.starts = 2;
        record.init_next = 1;
        record.ready_since = Some(Timestamp(9));
        record.status.phase = Phase::BackingOff(Timestamp(1000));
        record.status.reason = Some(Reason::new("exited", "its process exited with code 1"));
        record.status.last_exit = Some(Exit { code: 1, out_of_memory: false, at: Timestamp(8) });
        record
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_a_broken_one_counts_as_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        let (layout, _lock) = Layout::claim(dir.path()).expect("claimed");
        let record = record();
        store_record(&layout, &record).expect("stored");
        store_record(&layout, &record).expect("stored again");
        let broken = ReplicaId::from_u128(8);
        std::fs::create_dir(layout.replica(broken)).expect("made");
        std::fs::write(layout.replica(broken).join("record"), b"\xff\xff").expect("written");
        let records = load_records(&layout).expect("read");
        assert_eq!(records, BTreeMap::from([(record.replica, Some(record)), (broken, None)]));
    }
}
