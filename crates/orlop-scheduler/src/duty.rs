//! What a scheduler has to do next, decided without waiting for anything.
//!
//! [`Duty`] is told what happened and asked what is to be done; the loop around it makes the calls. Its promises:
//!
//! - one plan is under way at a time;
//! - nothing is planned without a lease that is valid by this process's own clock, counted from before it was asked for;
//! - nothing is planned from a view that lags behind the scheduler's own last plan, or that is not live: such a plan would
//!   repeat steps that were taken already. (The state machine would refuse them; this saves the noise.)

use crate::control::{LeaseAnswer, Taken};
use orlop_follower::{Backoff, ViewState};
use orlop_model::{ClusterId, Revision};
use std::time::Duration;
use tokio::time::Instant;

/// Between a plan of which no step was taken, or whose fate is not known, and the next without a change of the view.
const AGAIN: Duration = Duration::from_secs(1);

/// What a scheduler knows about its own situation.
pub(crate) struct Duty {
    lease_ttl: Duration,
    sweep: Duration,
    lease: Option<Lease>,
    ask_lease_at: Instant,
    asking: Option<Instant>,
    lease_failures: Backoff,
    /// The last question about the lease found nobody.
    unanswered: bool,
    submitting: bool,
    /// The view has changed since it was last planned from.
    changed: bool,
    /// When to plan although it has not.
    plan_at: Instant,
    /// No plan before this.
    not_before: Instant,
    /// The revision of the view that shows what the last plan did, and until when to wait for it: what promised it may
    /// be gone, as when a control plane was restored from a backup.
    awaited: Option<(Revision, Instant)>,
    cluster: Option<ClusterId>,
}

#[derive(Clone, Copy)]
struct Lease {
    fence: u64,
    until: Instant,
}

/// What became of the lease.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LeaseChange {
    Gained { fence: u64 },
    Lost,
    Same,
}

impl Duty {
    pub(crate) fn new(lease_ttl: Duration, sweep: Duration, seed: u64, now: Instant) -> Self {
        Self {
            lease_ttl,
            sweep,
            lease: None,
            ask_lease_at: now,
            asking: None,
            lease_failures: Backoff::new(Duration::from_millis(50), lease_ttl / 3, seed),
            unanswered: false,
            submitting: false,
            changed: false,
            plan_at: now,
            not_before: now,
            awaited: None,
            cluster: None,
        }
    }

    /// Must the lease be asked for now? If so, that counts as done.
    pub(crate) fn asks_lease(&mut self, now: Instant) -> bool {
        let asks = self.asking.is_none() && self.ask_lease_at <= now;
        if asks {
            self.asking = Some(now);
        }
        asks
    }

    /// Must a plan be made of this view now? If so, under which fence; and that counts as done.
    pub(crate) fn plans(&mut self, view: &ViewState, now: Instant) -> Option<u64> {
        let lease = self.lease.filter(|lease| now < lease.until)?;
        if view.cluster != self.cluster {
            (self.cluster, self.awaited) = (view.cluster, None);
        }
        let seen = self.awaited.is_none_or(|(revision, until)| view.revision >= revision || until <= now);
        let due = self.changed || self.plan_at <= now;
        if self.submitting || !view.live || !seen || !due || now < self.not_before {
            return None;
        }
        (self.changed, self.awaited) = (false, None);
        self.plan_at = now + self.sweep;
        Some(lease.fence)
    }

    /// Does it hold the lease?
    pub(crate) fn holds_lease(&self, now: Instant) -> bool {
        self.lease.is_some_and(|lease| now < lease.until)
    }

    /// When to ask again if nothing happens before.
    pub(crate) fn due(&self, now: Instant) -> Instant {
        let lease = if self.asking.is_none() { self.ask_lease_at } else { now + self.sweep };
        let plan = if self.submitting || self.lease.is_none() { now + self.sweep } else { self.plan_at };
        // A plan that is due but held up is not asked for again and again: what holds it up will be an event, or ends at
        // one of these times.
        let held_until = [Some(self.not_before), self.awaited.map(|(_, until)| until)];
        let held_until = held_until.into_iter().flatten().filter(|at| *at > now).min();
        lease.min(if plan > now { plan } else { held_until.unwrap_or(now + AGAIN) })
    }

    /// The view is another one.
    pub(crate) fn view_changed(&mut self, view: &ViewState, now: Instant) {
        self.changed = true;
        if view.live && self.unanswered {
            // Whoever can be watched can be asked: no need to wait out a back-off.
            self.unanswered = false;
            self.ask_lease_at = self.ask_lease_at.min(now);
        }
    }

    /// The lease was answered for; `wall_ms` is the time of day.
    pub(crate) fn lease_answered(&mut self, answer: Option<&LeaseAnswer>, now: Instant, wall_ms: u64) -> LeaseChange {
        let asked = self.asking.take().unwrap_or(now);
        let before = self.lease.map(|lease| lease.fence);
        self.unanswered = answer.is_none();
        match answer {
            Some(LeaseAnswer::Held { fence }) => {
                self.lease_failures.reset();
                self.lease = Some(Lease { fence: *fence, until: asked + self.lease_ttl });
                self.ask_lease_at = asked + self.lease_ttl / 3;
                if before == Some(*fence) {
                    return LeaseChange::Same;
                }
                self.plan_at = self.plan_at.min(now);
                return LeaseChange::Gained { fence: *fence };
            }
            Some(LeaseAnswer::HeldByOther { expires_at_ms, .. }) => {
                self.lease = None;
                let left = Duration::from_millis(expires_at_ms.saturating_sub(wall_ms));
                self.ask_lease_at = now + left.clamp(Duration::from_millis(50), self.lease_ttl / 3);
            }
            None => {
                self.ask_lease_at = now + self.lease_failures.delay();
                if self.lease.is_some_and(|lease| lease.until <= now) {
                    self.lease = None;
                }
            }
        }
        if before.is_some() && self.lease.is_none() { LeaseChange::Lost } else { LeaseChange::Same }
    }

    /// A plan was submitted; `wakes_in` is how soon it asks for another.
    pub(crate) fn planned(&mut self, submitted: bool, cut: bool, wakes_in: Option<Duration>, now: Instant) {
        self.submitting = submitted;
        self.changed |= cut;
        if let Some(wakes_in) = wakes_in {
            self.plan_at = self.plan_at.min(now + wakes_in);
        }
    }

    /// The plan of so many steps was answered for.
    pub(crate) fn plan_answered(&mut self, steps: usize, answer: Result<&Taken, Refusal>, now: Instant) {
        self.submitting = false;
        match answer {
            Ok(taken) if taken.refused.len() < steps => self.awaited = Some((taken.revision, now + self.sweep)),
            Ok(_) => self.plan_at = self.plan_at.min(now + AGAIN),
            Err(Refusal::Fenced) => {
                self.lease = None;
                self.ask_lease_at = now;
                self.plan_at = now;
                self.not_before = now + Duration::from_millis(100);
            }
            Err(Refusal::Unknown) => {
                // Time for the view to show it, if it was taken.
                self.not_before = now + AGAIN;
                self.plan_at = self.plan_at.min(now + AGAIN);
            }
        }
    }
}

/// Why a plan was not answered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Another scheduler holds the lease by now.
    Fenced,
    /// It may have been taken or not.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_model::Reason;

    const TTL: Duration = Duration::from_secs(6);
    const SWEEP: Duration = Duration::from_secs(30);
    const HELD: LeaseAnswer = LeaseAnswer::Held { fence: 4 };

    fn view(revision: u64, live: bool) -> ViewState {
        ViewState { revision: Revision(revision), cluster: Some(ClusterId::from_u128(1)), live, ..ViewState::default() }
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// A duty that holds the lease and has planned the view at revision 10.
    fn at_rest(now: Instant) -> Duty {
        let mut duty = Duty::new(TTL, SWEEP, 1, now);
        assert!(duty.asks_lease(now));
        assert_eq!(duty.lease_answered(Some(&HELD), now, 0), LeaseChange::Gained { fence: 4 });
        duty.view_changed(&view(10, true), now);
        assert_eq!(duty.plans(&view(10, true), now), Some(4));
        duty.planned(false, false, None, now);
        duty
    }

    fn taken(revision: u64, refused: usize) -> Taken {
        let refused = (0..refused).map(|step| (step, Reason::new("gone", "it is gone"))).collect();
        Taken { revision: Revision(revision), refused }
    }

    #[test]
    fn the_lease_is_asked_for_at_once_and_renewed_at_a_third() {
        let now = Instant::now();
        let mut duty = at_rest(now);
        assert!(!duty.asks_lease(now + seconds(1)));
        assert_eq!(duty.due(now), now + seconds(2));
        assert!(duty.asks_lease(now + seconds(2)));
        assert!(!duty.asks_lease(now + seconds(3)), "one call at a time");
        assert_eq!(duty.lease_answered(Some(&HELD), now + seconds(3), 0), LeaseChange::Same);
        assert_eq!(duty.due(now + seconds(3)), now + seconds(4), "counted from the question");
    }

    #[test]
    fn nothing_is_planned_when_the_lease_has_run_out() {
        let now = Instant::now();
        let mut duty = at_rest(now);
        duty.view_changed(&view(11, true), now);
        assert_eq!(duty.plans(&view(11, true), now + TTL), None);
        assert!(duty.asks_lease(now + TTL));
        assert_eq!(duty.lease_answered(None, now + TTL, 0), LeaseChange::Lost);
    }

    #[test]
    fn a_lease_that_another_holds_is_asked_for_when_it_ends_but_at_least_as_often_as_it_is_renewed() {
        let now = Instant::now();
        for (expires_at_ms, asked_after) in [(1_500, 500), (99_000, 2_000), (0, 50)] {
            let mut duty = Duty::new(TTL, SWEEP, 1, now);
            assert!(duty.asks_lease(now));
            let other = LeaseAnswer::HeldByOther { holder: "other".into(), expires_at_ms };
            duty.lease_answered(Some(&other), now, 1_000);
            assert_eq!(duty.due(now), now + Duration::from_millis(asked_after));
            duty.view_changed(&view(10, true), now);
            assert_eq!(duty.plans(&view(10, true), now), None);
            assert!(!duty.asks_lease(now), "a change of the view is no reason to ask");
        }
    }

    #[test]
    fn a_control_plane_that_can_be_watched_again_is_asked_again_at_once() {
        let now = Instant::now();
        let mut duty = Duty::new(TTL, SWEEP, 1, now);
        for _ in 0..20 {
            let at = duty.due(now);
            assert!(duty.asks_lease(at));
            assert_eq!(duty.lease_answered(None, at, 0), LeaseChange::Same);
        }
        assert!(!duty.asks_lease(now));
        duty.view_changed(&view(10, true), now);
        assert!(duty.asks_lease(now));
    }

    #[test]
    fn a_view_that_is_not_live_is_not_planned_from() {
        let now = Instant::now();
        let mut duty = at_rest(now);
        duty.view_changed(&view(11, false), now);
        assert_eq!(duty.plans(&view(11, false), now), None);
        assert!(duty.asks_lease(now + SWEEP));
        assert!(duty.due(now + SWEEP) > now + SWEEP, "and not asked about without pause");
        duty.view_changed(&view(11, true), now);
        assert_eq!(duty.plans(&view(11, true), now), Some(4));
    }

    #[test]
    fn after_a_plan_the_view_must_have_caught_up() {
        let now = Instant::now();
        let mut duty = at_rest(now);
        duty.planned(true, false, None, now);
        duty.view_changed(&view(11, true), now);
        assert_eq!(duty.plans(&view(11, true), now), None, "one plan at a time");
        duty.plan_answered(2, Ok(&taken(13, 1)), now);
        assert_eq!(duty.plans(&view(12, true), now), None);
        assert_eq!(duty.plans(&view(13, true), now), Some(4));
    }

    #[test]
    fn a_view_that_never_catches_up_is_waited_for_only_so_long() {
        let now = Instant::now();
        let mut duty = at_rest(now);
        duty.planned(true, false, None, now);
        duty.plan_answered(1, Ok(&taken(13, 0)), now);
        duty.view_changed(&view(11, true), now);
        let later = now + SWEEP;
        assert!(duty.asks_lease(later - seconds(1)));
        duty.lease_answered(Some(&HELD), later - seconds(1), 0);
        assert_eq!(duty.plans(&view(11, true), later - seconds(1)), None);
        assert_eq!(duty.plans(&view(11, true), later), Some(4));
    }

    #[test]
    fn a_plan_of_which_nothing_was_taken_is_made_again_after_a_while_or_when_the_view_moves() {
        let now = Instant::now();
        let mut duty = at_rest(now);
        duty.planned(true, false, None, now);
        duty.plan_answered(1, Ok(&taken(13, 1)), now);
        assert_eq!(duty.plans(&view(10, true), now), None);
        assert_eq!(duty.due(now), now + AGAIN);
        assert_eq!(duty.plans(&view(10, true), now + AGAIN), Some(4));
    }

    #[test]
    fn a_stale_fence_makes_it_ask_for_the_lease_again() {
        let now = Instant::now();
        let mut duty = at_rest(now);
        duty.planned(true, false, None, now);
        duty.plan_answered(1, Err(Refusal::Fenced), now);
        assert_eq!(duty.plans(&view(11, true), now), None);
        assert!(duty.asks_lease(now));
        duty.lease_answered(Some(&LeaseAnswer::Held { fence: 6 }), now, 0);
        assert_eq!(duty.plans(&view(11, true), now), None, "not without a pause");
        let due = duty.due(now);
        assert!(due > now && due < now + seconds(1));
        assert_eq!(duty.plans(&view(11, true), due), Some(6));
    }

    #[test]
    fn it_plans_again_when_the_plan_asked_for_it_and_at_last_when_the_sweep_is_due() {
        let now = Instant::now();
        let mut duty = at_rest(now);
        duty.planned(false, false, Some(seconds(1)), now);
        assert_eq!(duty.due(now), now + seconds(1));
        assert_eq!(duty.plans(&view(10, true), now + seconds(1)), Some(4));
        duty.planned(false, false, None, now + seconds(1));
        assert_eq!(duty.plans(&view(10, true), now + seconds(2)), None);
    }
}
