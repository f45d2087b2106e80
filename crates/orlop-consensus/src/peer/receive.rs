//! A snapshot that another member sends, on its way to the disk and into the state machine.

use super::{PeerError, wire};
use crate::disk::{Disk, off_the_runtime};
use crate::snapshot::Snapshots;
use crate::snapshot::receive::Receiving;
use crate::types::{Raft, Snapshot, SnapshotMeta, Vote};
use orlop_proto::peer::v1 as pb;
use std::io;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Takes snapshots, one at a time.
pub(crate) struct Receiver {
    pub(crate) member: u64,
    pub(crate) raft: Raft,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) disk: Arc<dyn Disk>,
    /// What is arriving. Behind an asynchronous lock, because the disk is waited for with it.
    pub(crate) arriving: Mutex<Option<Arriving>>,
}

pub(crate) struct Arriving {
    meta: SnapshotMeta,
    bytes: u64,
    crc: u32,
    parts: Receiving,
}

impl Receiver {
    /// Says how much of the snapshot is here, and prepares for the rest.
    pub(crate) async fn offer(&self, offer: pb::SnapshotOffer) -> Result<pb::SnapshotProgress, PeerError> {
        let (vote, meta, bytes, crc) = self.read(offer)?;
        if let Some(higher) = self.higher(vote).await? {
            return Ok(higher);
        }
        let mut arriving = self.arriving.lock().await;
        if !arriving.as_ref().is_some_and(|a| a.meta == meta && a.bytes == bytes && a.crc == crc) {
            *arriving = None;
            let (snapshots, wanted) = (self.snapshots.clone(), meta.clone());
            let parts = self.work(move || snapshots.receive(&wanted, bytes, crc)).await?;
            *arriving = Some(Arriving { meta, bytes, crc, parts });
        }
        let held = arriving.as_ref().map_or(0, |arriving| arriving.parts.held());
        Ok(pb::SnapshotProgress { vote: Some(wire::vote(&vote)), held })
    }

    /// Takes the next part of what was offered.
    pub(crate) async fn take(&self, part: pb::SendSnapshotRequest) -> Result<pb::SnapshotProgress, PeerError> {
        let offer = part.offer.ok_or_else(|| self.refused("a part of a snapshot without its offer"))?;
        let (vote, meta, bytes, crc) = self.read(offer)?;
        let mut arriving = self.arriving.lock().await;
        let Some(mut current) = arriving.take_if(|a| a.meta == meta && a.bytes == bytes && a.crc == crc) else {
            return Err(self.refused("another snapshot is arriving; offer this one again"));
        };
        let (data, offset, checksum) = (part.data, part.offset, part.crc32);
        let current = self
            .work(move || {
                current.parts.take(offset, &data, checksum)?;
                Ok(current)
            })
            .await?;
        let held = current.parts.held();
        *arriving = Some(current);
        Ok(pb::SnapshotProgress { vote: Some(wire::vote(&vote)), held })
    }

    /// Installs what has arrived.
    pub(crate) async fn install(&self, offer: pb::SnapshotOffer) -> Result<pb::SnapshotProgress, PeerError> {
        let (vote, meta, bytes, crc) = self.read(offer)?;
        let mut arriving = self.arriving.lock().await;
        let Some(current) = arriving.take_if(|a| a.meta == meta && a.bytes == bytes && a.crc == crc) else {
            return Err(self.refused("another snapshot is arriving; offer this one again"));
        };
        let snapshot = self.work(move || current.parts.finish()).await?;
        let installed = self.raft.install_full_snapshot(vote, Snapshot { meta, snapshot }).await;
        let answer = installed.map_err(|e| self.refused(format!("the snapshot could not be installed: {e}")))?;
        Ok(pb::SnapshotProgress { vote: Some(wire::vote(&answer.vote)), held: bytes })
    }

    fn read(&self, offer: pb::SnapshotOffer) -> Result<(Vote, SnapshotMeta, u64, u32), PeerError> {
        let read = wire::read_vote(offer.vote)
            .and_then(|vote| wire::read_snapshot_head(offer.head).map(|(meta, bytes, crc)| (vote, meta, bytes, crc)));
        read.map_err(|error| self.refused(format!("the offer of a snapshot makes no sense: {error}")))
    }

    /// This member's vote, when it is in a later term than the sender's.
    async fn higher(&self, vote: Vote) -> Result<Option<pb::SnapshotProgress>, PeerError> {
        let own = self.raft.with_raft_state(|state| *state.vote_ref()).await;
        let own = own.map_err(|e| PeerError::Lost { member: self.member, reason: e.to_string() })?;
        let higher = own.leader_id.term > vote.leader_id.term;
        Ok(higher.then(|| pb::SnapshotProgress { vote: Some(wire::vote(&own)), held: 0 }))
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, PeerError> {
        off_the_runtime(&self.disk, work).await.flatten().map_err(|error| self.refused(error.to_string()))
    }

    fn refused(&self, reason: impl Into<String>) -> PeerError {
        PeerError::Refused { member: self.member, reason: reason.into() }
    }
}
