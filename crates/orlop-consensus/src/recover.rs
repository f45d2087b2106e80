//! The way out when a majority of the members is lost for good: one that is left goes on alone.

use crate::disk::{Disk, Real};
use crate::log::LogStore;
use crate::member::{io_error, lock};
use crate::snapshot::Snapshots;
use crate::types::{Entry, Membership, Payload, Vote, log_id};
use crate::{Encode, InvalidSnapshot, Options, StartError, StateMachine};
use openraft::entry::RaftEntry;
use openraft::impls::BasicNode;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// So many entries are looked through at once.
const CHUNK: u64 = 1024;

/// What a recovery does, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The member that is left.
    pub member: u64,
    /// The term of its last entry. Of several members that are left, the one with the greatest term, and with the greatest
    /// index among those, has lost least.
    pub term: u64,
    /// The index of its last entry.
    pub last: u64,
    /// Up to this index it is known that entries were committed; those after it may have been answered or not.
    pub committed: u64,
    /// The voters of before, with their addresses.
    pub voters: BTreeMap<u64, String>,
    /// Nothing was changed.
    pub dry_run: bool,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { member, term, last, committed, voters, dry_run } = self;
        let others: Vec<String> =
            voters.iter().filter(|(id, _)| *id != member).map(|(id, address)| format!("{id} ({address})")).collect();
        write!(
            f,
            "member {member} {} on alone with what it has: up to entry {last} of term {term}, of which {committed} are known \
             to be committed. Commands that were answered by a majority without this member, if there were any after entry \
             {last}, are lost. Members {} leave the cluster; do not start them again on the directories they have",
            if *dry_run { "would go" } else { "goes" },
            others.join(", ")
        )
    }
}

/// Makes a member the only one of its cluster, with everything that it has. For a cluster whose majority is lost for good:
/// what only the lost members had is gone, and [`Recovery`] says so. The member must not run. `address` is where it will be
/// reached. With `dry_run` nothing is changed.
pub async fn recover(options: &Options, address: &str, dry_run: bool) -> Result<Recovery, StartError> {
    let disk: Arc<dyn Disk> = Arc::new(Real);
    let directory = &options.directory;
    if !directory.join("log").is_dir() && !directory.join("snapshots").is_dir() {
        let path = directory.clone();
        return Err(StartError::Io { path, source: std::io::Error::other("there is no member here") });
    }
    let _lock = lock(&*disk, directory)?;
    let keep_from = Arc::new(AtomicU64::new(0));
    let mut log = LogStore::open(&disk, &directory.join("log"), keep_from.clone())?;
    let done = work(options, address, dry_run, &disk, &mut log, keep_from).await;
    log.close().await;
    done
}

async fn work(
    options: &Options,
    address: &str,
    dry_run: bool,
    disk: &Arc<dyn Disk>,
    log: &mut LogStore,
    keep_from: Arc<AtomicU64>,
) -> Result<Recovery, StartError> {
    let path = options.directory.join("snapshots");
    let failed = |source| StartError::io(options.directory.join("log"), source);
    let snapshots = Snapshots::open(disk.clone(), &path, keep_from).map_err(io_error(&path))?;
    let snapshot = snapshots.restore(&Unread, log.purged())?;
    let state = log.get_log_state().await.map_err(failed)?;
    let snapshot_last = snapshot.as_ref().and_then(|meta| meta.last_log_id);
    let last = state.last_log_id.max(snapshot_last);
    let first = state.last_purged_log_id.map_or(0, |purged| purged.index() + 1);
    let known = match last_membership(log, first).await.map_err(failed)? {
        Some(membership) => Some(membership),
        None => snapshot.as_ref().map(|meta| meta.last_membership.membership().clone()),
    };
    let Some((last, known)) = last.zip(known) else {
        return Err(StartError::Protocol(
            "this member has never belonged to a cluster; there is nothing to recover".into(),
        ));
    };
    let voters: BTreeSet<u64> = known.voter_ids().collect();
    let address_of = |id: &u64| known.get_node(id).map_or_else(String::new, |node| node.addr.clone());
    let committed = log.read_committed().await.map_err(failed)?.max(snapshot_last);
    let recovery = Recovery {
        member: options.member,
        term: last.committed_leader_id().term,
        last: last.index(),
        committed: committed.map_or(0, |committed| committed.index()),
        voters: voters.iter().map(|id| (*id, address_of(id))).collect(),
        dry_run,
    };
    if dry_run {
        return Ok(recovery);
    }
    let vote = log.get_log_reader().await.read_vote().await.map_err(failed)?;
    let term = vote.map_or(0, |vote| vote.leader_id.term).max(last.committed_leader_id().term) + 1;
    let node = BasicNode { addr: address.to_owned() };
    let membership = Membership::new(vec![BTreeSet::from([options.member])], BTreeMap::from([(options.member, node)]))
        .map_err(|e| StartError::Protocol(e.to_string()))?;
    if state.last_log_id < Some(last) {
        // The log was put aside: it goes on after the snapshot.
        log.purge(last).await.map_err(failed)?;
    }
    let entry =
        Entry { log_id: log_id(term, options.member, last.index() + 1), payload: Payload::Membership(membership) };
    let leader_id = LeaderId { term, node_id: options.member };
    log.save_vote(&Vote { leader_id, committed: false }).await.map_err(failed)?;
    log.blocking_append([entry]).await.map_err(|e| StartError::Protocol(e.to_string()))?;
    Ok(recovery)
}

/// The newest members in the log.
async fn last_membership(log: &mut LogStore, first: u64) -> std::io::Result<Option<Membership>> {
    let mut reader = log.get_log_reader().await;
    let mut end = log.get_log_state().await?.last_log_id.map_or(0, |last| last.index() + 1);
    while end > first {
        let begin = first.max(end.saturating_sub(CHUNK));
        for entry in reader.try_get_log_entries(begin..end).await?.into_iter().rev() {
            if let Some(membership) = entry.get_membership() {
                return Ok(Some(membership));
            }
        }
        end = begin;
    }
    Ok(None)
}

/// The state is not looked at, only whether it is whole.
struct Unread;

impl StateMachine for Unread {
    fn apply(&self, _index: u64, _command: &[u8]) -> Vec<u8> {
        Vec::new()
    }

    fn snapshot(&self) -> Encode {
        Box::new(Vec::new)
    }

    fn restore(&self, _index: u64, _snapshot: &[u8]) -> Result<(), InvalidSnapshot> {
        Ok(())
    }
}
