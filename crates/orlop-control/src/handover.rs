//! A leader that takes no writes, because its disk is full, or that stops, hands over to a member that takes them: one full
//! disk of three, or a restart, is no reason for the cluster to stand still.

use crate::control::Control;
use orlop_consensus::{MemberInfo, Suffrage};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

impl Control {
    /// Hands over when this member takes no writes; looks for as long as it leads.
    pub(crate) async fn hand_over_when_full(&self, until: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = until.cancelled() => return,
            }
            let Some(trouble) = self.consensus.trouble() else { continue };
            let Some(to) = self.who_takes_writes().await else { continue };
            tracing::warn!(%trouble, to, "handing over to a member that takes writes");
            if let Err(error) = self.consensus.transfer_leadership(to).await {
                tracing::warn!(%error, to, "could not hand over; trying again");
            }
        }
    }

    /// Hands over when this member is told to stop and leads, instead of leaving the others to find out.
    pub(crate) async fn hand_over_at_stop(self) {
        let member = self.consensus.status().member;
        self.stop.cancelled().await;
        if self.consensus.leadership().borrow().leader != Some(member) {
            return;
        }
        let Some(to) = best_successor(&self.consensus.members(), member) else { return };
        match self.consensus.transfer_leadership(to).await {
            Ok(()) => tracing::info!(to, "handed over, to stop"),
            Err(error) => tracing::warn!(%error, to, "could not hand over; the others elect a leader"),
        }
    }

    /// The best successor of those that say of themselves that they take writes.
    async fn who_takes_writes(&self) -> Option<u64> {
        let examined = self.examine_cluster().await;
        let takes = |id: u64| {
            let found = examined.iter().find(|examination| examination.member == id)?.found.as_ref()?;
            found.writes_refused.is_empty().then_some(())
        };
        let members: Vec<MemberInfo> = self.consensus.members();
        best_successor(members.iter().filter(|member| takes(member.id).is_some()), self.consensus.status().member)
    }
}

/// Of the others that vote, the one that has most of the log and was heard of last.
pub(crate) fn best_successor<'a>(members: impl IntoIterator<Item = &'a MemberInfo>, own: u64) -> Option<u64> {
    let others = members.into_iter().filter(|m| m.suffrage == Suffrage::Voter && m.id != own);
    others.max_by_key(|m| (m.matched, std::cmp::Reverse(m.answered.unwrap_or(Duration::MAX)))).map(|m| m.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voter(id: u64, matched: u64, answered_ms: u64) -> MemberInfo {
        MemberInfo {
            id,
            address: format!("m{id}:7700"),
            suffrage: Suffrage::Voter,
            matched: Some(matched),
            answered: Some(Duration::from_millis(answered_ms)),
        }
    }

    #[test]
    fn the_best_successor_has_most_of_the_log() {
        assert_eq!(best_successor(&[voter(1, 9, 0), voter(2, 7, 1), voter(3, 8, 5)], 1), Some(3));
        assert_eq!(best_successor(&[voter(1, 9, 0), voter(2, 8, 50), voter(3, 8, 5)], 1), Some(3));
        assert_eq!(best_successor(&[voter(1, 9, 0)], 1), None);
    }
}
