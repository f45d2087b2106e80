//! Commands on their way into the log: here, or at the member that leads.

use super::Member;
use crate::peer::{Lane, PeerError};
use crate::types::Command;
use crate::{Applied, Broken, Full, SubmitError, Trouble};
use bytes::Bytes;
use openraft::errors::{ClientWriteError, RaftError};
use orlop_proto::peer::v1 as pb;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// How long is waited before the leader is looked for again, when nobody says that it changed.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Member {
    /// Submits a command wherever the leader is, which is waited for.
    pub(crate) async fn submit(&self, command: Bytes) -> Result<Applied, SubmitError> {
        let began = Instant::now();
        let mut leadership = self.leadership();
        let mut reason = None;
        loop {
            leadership.mark_unchanged();
            let leader = match self.submit_here(command.clone()).await {
                // It may be this one, on its way to hand over, or without a majority.
                Err(SubmitError::NotLeader { leader }) => leader.filter(|leader| *leader != self.id()),
                other => return other,
            };
            if let Some(leader) = leader {
                match self.pass_on(leader, command.clone()).await {
                    Ok(Err(SubmitError::NotLeader { .. })) => {}
                    Ok(outcome) => return outcome,
                    Err(PeerError::Lost { reason, .. }) => {
                        let reason = format!("member {leader}, which led, did not answer: {reason}");
                        return Err(SubmitError::Unknown { reason });
                    }
                    Err(error) => reason = Some(error.to_string()),
                }
            }
            if began.elapsed() >= self.options.leader_wait {
                return Err(SubmitError::NoLeader { waited: self.options.leader_wait, reason });
            }
            tokio::select! {
                biased;
                _ = leadership.changed() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                () = self.stop.cancelled() => return Err(SubmitError::ShuttingDown),
            }
        }
    }

    /// Submits a command to the member that leads. The outer error is that of the way there.
    async fn pass_on(&self, leader: u64, command: Bytes) -> Result<Result<Applied, SubmitError>, PeerError> {
        use pb::submit_response::Outcome;
        let Some(address) = self.address_of(leader) else { return Ok(Err(SubmitError::NotLeader { leader: None })) };
        let to = pb::Addressee { member: leader, voter: true };
        let peer = self.peers.peer(leader, &address, Lane::Bulk);
        // The leader gives up after the same time and says so, if it can.
        let patience = self.options.commit_wait + Duration::from_secs(1);
        let lost = |reason: &str| PeerError::Lost { member: leader, reason: reason.to_owned() };
        let mut leadership = self.leadership();
        let answer = tokio::select! {
            biased;
            answer = peer.submit(pb::SubmitRequest { to: Some(to), command }) => answer?,
            Ok(_) = leadership.wait_for(|now| now.leader.is_some_and(|now| now != leader)) => {
                return Err(lost("another member leads now"));
            }
            () = tokio::time::sleep(patience) => return Err(lost("the time for an answer is over")),
            () = self.stop.cancelled() => return Ok(Err(SubmitError::ShuttingDown)),
        };
        let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(match answer.outcome {
            Some(Outcome::Applied(applied)) => Ok(Applied { index: applied.index, answer: applied.answer.into() }),
            Some(Outcome::NotLeader(not)) => {
                Err(SubmitError::NotLeader { leader: (not.leader != 0).then_some(not.leader) })
            }
            Some(Outcome::Full(full)) => Err(SubmitError::Full {
                unsure: full.unsure,
                full: Full { directory: full.directory.into(), free: full.free_bytes, wanted: full.wanted_bytes },
            }),
            Some(Outcome::Broken(broken)) => {
                Err(Broken { directory: broken.directory.into(), reason: broken.reason }.into())
            }
            Some(Outcome::TooLarge(large)) => {
                Err(SubmitError::TooLarge { bytes: number(large.bytes), max: number(large.max) })
            }
            Some(Outcome::Unknown(unknown)) => Err(SubmitError::Unknown { reason: unknown.reason }),
            None => return Err(lost("its answer is of a newer version of Orlop")),
        })
    }

    /// Submits a command if this member leads.
    pub(crate) async fn submit_here(&self, command: Bytes) -> Result<Applied, SubmitError> {
        if command.len() > self.options.command_bytes_max {
            return Err(SubmitError::TooLarge { bytes: command.len(), max: self.options.command_bytes_max });
        }
        if self.stopping.load(Ordering::Acquire) {
            return Err(SubmitError::ShuttingDown);
        }
        match self.trouble(command.len() as u64) {
            None => {}
            Some(Trouble::Full(full)) => return Err(SubmitError::Full { full, unsure: false }),
            Some(Trouble::Broken(broken)) => return Err(broken.into()),
        }
        let mut held = self.log.condition().held();
        let written = tokio::select! {
            biased;
            written = self.raft.client_write(Command(command)) => written,
            // The disk filled up meanwhile. The log goes on by itself when there is room; who asked is told now.
            Ok(_) = held.wait_for(|held| *held) => {
                return Err(SubmitError::Full { full: self.room.lacks(), unsure: true });
            }
            () = tokio::time::sleep(self.options.commit_wait) => {
                let reason = format!("no majority of the members confirmed it within {:?}", self.options.commit_wait);
                return Err(SubmitError::Unknown { reason });
            }
        };
        match written {
            Ok(written) => Ok(Applied { index: written.log_id.index(), answer: written.data }),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
                Err(SubmitError::NotLeader { leader: to.leader_id })
            }
            Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => {
                Err(SubmitError::Unknown { reason: "another member took over while it was under way".into() })
            }
            Err(RaftError::APIError(other)) => Err(self.broken(other.to_string()).into()),
            Err(RaftError::Fatal(fatal)) => Err(self.fatal(&fatal)),
        }
    }

    /// Why a command of so many bytes is not taken now, if it is not.
    pub(crate) fn trouble(&self, bytes: u64) -> Option<Trouble> {
        let trouble = self.look_for_trouble(bytes);
        self.log_change(trouble.as_ref());
        trouble
    }

    fn look_for_trouble(&self, bytes: u64) -> Option<Trouble> {
        if let Some(reason) = self.log.condition().broken() {
            return Some(self.broken(reason).into());
        }
        if self.log.condition().is_held() {
            return Some(Trouble::Full(self.room.lacks()));
        }
        self.room.lacks_for(bytes).map(Trouble::Full)
    }

    fn log_change(&self, trouble: Option<&Trouble>) {
        if self.refusing.swap(trouble.is_some(), Ordering::AcqRel) != trouble.is_some() {
            match trouble {
                Some(trouble) => tracing::warn!("{trouble}"),
                None => tracing::info!("writes are taken again"),
            }
        }
    }

    pub(super) fn broken(&self, reason: String) -> Broken {
        Broken { directory: self.options.directory.clone(), reason }
    }
}
