//! Reads that see everything that was answered before them.

use super::Member;
use crate::ReadError;
use crate::peer::Lane;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{LinearizableReadError, RaftError};
use openraft::raft::ReadPolicy;
use orlop_proto::peer::v1 as pb;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long is waited before the leader is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(20);

impl Member {
    pub(crate) async fn read_index(&self) -> Result<u64, ReadError> {
        let deadline = Instant::now() + self.options.leader_wait;
        let reason = loop {
            if self.stopping.load(Ordering::Acquire) {
                return Err(ReadError::ShuttingDown);
            }
            let asked = match self.confirm_leadership().await {
                Err(ReadError::NotLeader { leader: Some(leader) }) if leader != self.id() => {
                    timeout_at(deadline, self.ask_leader(leader)).await.unwrap_or_else(|_| {
                        Err(ReadError::Unconfirmed { reason: format!("member {leader}, which led, does not answer") })
                    })
                }
                other => other,
            };
            let reason = match asked {
                Ok(index) => match self.wait_applied(index, deadline).await {
                    true => return Ok(index),
                    false => format!("this member has not caught up with entry {index} in time"),
                },
                Err(ReadError::ShuttingDown) => return Err(ReadError::ShuttingDown),
                Err(other) => other.to_string(),
            };
            if Instant::now() + ASK_AGAIN >= deadline {
                break reason;
            }
            tokio::time::sleep(ASK_AGAIN).await;
        };
        Err(ReadError::Unconfirmed { reason })
    }

    /// How far the log was committed when this was called, confirmed by a majority that this member leads.
    pub(crate) async fn confirm_leadership(&self) -> Result<u64, ReadError> {
        match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Ok(linearizer.read_log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => {
                Err(ReadError::NotLeader { leader: to.leader_id })
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(ReadError::Unconfirmed { reason: "no majority of the members answers".into() })
            }
            Err(RaftError::Fatal(_)) if self.stopping.load(Ordering::Acquire) => Err(ReadError::ShuttingDown),
            Err(RaftError::Fatal(fatal)) => {
                Err(ReadError::Unconfirmed { reason: format!("the consensus protocol has stopped: {fatal}") })
            }
        }
    }

    async fn ask_leader(&self, leader: u64) -> Result<u64, ReadError> {
        use pb::read_index_response::Outcome;
        let Some(address) = self.address_of(leader) else { return Err(ReadError::NotLeader { leader: None }) };
        let to = pb::Addressee { member: leader, voter: true };
        let peer = self.peers.peer(leader, &address, Lane::Life);
        let answer = peer.read_index(pb::ReadIndexRequest { to: Some(to) }).await;
        let unconfirmed = |reason: String| Err(ReadError::Unconfirmed { reason });
        match answer.map(|answer| answer.outcome) {
            Ok(Some(Outcome::Reached(index))) => Ok(index),
            Ok(Some(Outcome::NotLeader(not))) => {
                Err(ReadError::NotLeader { leader: (not.leader != 0).then_some(not.leader) })
            }
            Ok(Some(Outcome::Unconfirmed(reason))) => unconfirmed(reason),
            Ok(None) => unconfirmed(format!("the answer of member {leader} is of a newer version of Orlop")),
            Err(error) => unconfirmed(error.to_string()),
        }
    }

    /// Waits until the entry is applied here.
    async fn wait_applied(&self, index: u64, deadline: Instant) -> bool {
        let mut metrics = self.raft.data_metrics();
        let applied = async {
            while metrics.borrow_watched().last_applied.map_or(0, |last| last.index()) < index {
                if metrics.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        timeout_at(deadline, applied).await.unwrap_or(false)
    }
}
