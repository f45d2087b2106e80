//! Whether this member leads, and what it does while it does.
//!
//! What lives in the leader's memory (which agents are connected, sessions, renewals of the lease) belongs to one spell of
//! leading: it ends with it, and so do the streams that stand on it. Those who held them come back through another member.

use crate::control::Control;
use orlop_consensus::Leadership;
use parking_lot::Mutex;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// So long without a leader, and a member sends those who watch to another one.
const LOST_SIGHT: Duration = Duration::from_secs(3);

/// Whether this member leads now.
pub(crate) struct Leading {
    spell: Mutex<Option<CancellationToken>>,
    /// False after a while without a leader: others know more then.
    sight: watch::Sender<bool>,
    /// Cancelled when the member stops; every spell ends with it.
    stop: CancellationToken,
}

impl Leading {
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self { spell: Mutex::new(None), sight: watch::Sender::new(true), stop }
    }

    pub(crate) fn leads(&self) -> bool {
        self.spell.lock().is_some()
    }

    /// Does this member know a leader? One that has known none for a while no longer does.
    pub(crate) fn sight(&self) -> watch::Receiver<bool> {
        self.sight.subscribe()
    }

    /// Is cancelled when this spell of leading ends; at once when there is none.
    pub(crate) fn spell(&self) -> CancellationToken {
        self.spell.lock().clone().unwrap_or_else(|| {
            let over = CancellationToken::new();
            over.cancel();
            over
        })
    }

    /// Notes who leads, and says what that changes.
    fn note(&self, leads: bool) -> Turn {
        let mut spell = self.spell.lock();
        match (leads, spell.take()) {
            (true, Some(running)) => {
                *spell = Some(running);
                Turn::None
            }
            (true, None) => {
                let begun = self.stop.child_token();
                *spell = Some(begun.clone());
                Turn::Begun(begun)
            }
            (false, Some(over)) => {
                over.cancel();
                Turn::Over
            }
            (false, None) => Turn::None,
        }
    }
}

/// What becomes of a member's leading.
#[derive(Debug)]
enum Turn {
    None,
    /// A spell, whose duties are to be done.
    Begun(CancellationToken),
    Over,
}

impl Control {
    /// Notes who leads now, and takes up the duties of a leader if it is this member.
    pub(crate) fn note_leader(&self, leader: Option<u64>) {
        let leads = leader == Some(self.consensus.status().member);
        match self.leading.note(leads) {
            Turn::None => {}
            Turn::Begun(spell) => {
                self.attendance.clear();
                let control = self.clone();
                self.tasks.spawn(async move {
                    tokio::join!(control.judge_nodes(spell.clone()), control.hand_over_when_full(spell));
                });
            }
            Turn::Over => self.attendance.clear(),
        }
    }

    /// Follows who leads, until the member stops.
    pub(crate) async fn follow_leadership(self) {
        let mut leadership = self.consensus.leadership();
        let member = self.consensus.status().member;
        let mut announced = None;
        loop {
            let Leadership { leader, term, .. } = leadership.borrow_and_update().clone();
            if announced != Some((leader, term)) {
                match leader {
                    Some(leader) if leader == member => tracing::info!(term, "this member leads"),
                    Some(leader) => tracing::info!(leader, term, "another member leads"),
                    None => tracing::warn!(term, "no member leads; writes wait"),
                }
                announced = Some((leader, term));
            }
            self.note_leader(leader);
            if leader.is_some() {
                self.leading.sight.send_replace(true);
            }
            let lost = async {
                match leader {
                    None => tokio::time::sleep(LOST_SIGHT).await,
                    Some(_) => std::future::pending().await,
                }
            };
            let changed = tokio::select! {
                changed = leadership.changed() => changed.is_ok(),
                () = lost, if *self.leading.sight.borrow() => {
                    self.leading.sight.send_replace(false);
                    continue;
                }
                () = self.stop.cancelled() => false,
            };
            if !changed {
                self.note_leader(None);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spell_ends_when_another_leads_and_a_new_one_is_another() {
        let stop = CancellationToken::new();
        let leading = Leading::new(stop.clone());
        assert!(!leading.leads() && leading.spell().is_cancelled(), "who does not lead has no spell");
        let begun = || match leading.note(true) {
            Turn::Begun(spell) => spell,
            turn => panic!("expected a new spell, found {turn:?}"),
        };
        let first = begun();
        assert!(matches!(leading.note(true), Turn::None), "the same one goes on");
        assert!(leading.leads() && !leading.spell().is_cancelled());
        assert!(matches!(leading.note(false), Turn::Over));
        assert!(first.is_cancelled() && !leading.leads());
        assert!(matches!(leading.note(false), Turn::None));
        let second = begun();
        assert!(!second.is_cancelled());
        stop.cancel();
        assert!(second.is_cancelled(), "it ends with the member");
    }
}
