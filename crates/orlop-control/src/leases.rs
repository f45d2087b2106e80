//! When a node's agent is silent, and when its node is lost: a pure function of how long it was not heard.
//!
//! Every agent has a lease that its connection renews. Only the leader's monotonic clock measures it, and nothing of that is
//! kept: whoever begins to lead, or starts anew, gives every agent a fresh lease, with some more time to find the way.

use orlop_model::Liveness;
use orlop_state::command::Verdict;
use std::time::{Duration, Instant};

/// Agents that were not heard yet since the judging began get so many times the usual while to come: they try again with
/// pauses.
const FIRST: u32 = 3;

/// How long an agent may be silent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Then its node is suspect.
    pub(crate) suspect_after: Duration,
    /// Then its node is lost.
    pub(crate) lost_after: Duration,
}

/// When an agent was heard.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Heard {
    /// It holds a connection.
    Now,
    /// Its connection ended then.
    Until(Instant),
    /// Not since the judging began.
    Never {
        /// When that was.
        began: Instant,
    },
}

impl Terms {
    /// What is to be said of a node that is recorded as `liveness`, if anything, and when to ask again without news.
    pub(crate) fn judge(&self, liveness: Liveness, heard: Heard, now: Instant) -> (Option<Verdict>, Option<Instant>) {
        let (silent_since, first) = match heard {
            Heard::Now => return ((liveness != Liveness::Alive).then_some(Verdict::Alive), None),
            Heard::Until(end) => (end, Duration::ZERO),
            Heard::Never { began } => (began, self.suspect_after * (FIRST - 1)),
        };
        let suspect_at = silent_since + first + self.suspect_after;
        let lost_at = silent_since + first + self.lost_after.max(self.suspect_after);
        match liveness {
            Liveness::Lost(_) => (None, None),
            _ if lost_at <= now => (Some(Verdict::Lost), None),
            Liveness::Alive if suspect_at <= now => (Some(Verdict::Suspect), Some(lost_at)),
            Liveness::Alive => (None, Some(suspect_at)),
            Liveness::Suspect(_) => (None, Some(lost_at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_model::Timestamp;

    const TERMS: Terms = Terms { suspect_after: Duration::from_secs(5), lost_after: Duration::from_secs(30) };

    #[test]
    fn a_lease_runs_out_twice_and_is_renewed_by_a_connection() {
        let zero = Instant::now();
        let at = |seconds: u64| zero + Duration::from_secs(seconds);
        let (alive, suspect, lost) = (Liveness::Alive, Liveness::Suspect(Timestamp(9)), Liveness::Lost(Timestamp(9)));
        let (gone, never) = (Heard::Until(zero), Heard::Never { began: zero });
        for (liveness, heard, now, verdict, next) in [
            (alive, Heard::Now, 0, None, None),
            (suspect, Heard::Now, 0, Some(Verdict::Alive), None),
            (lost, Heard::Now, 0, Some(Verdict::Alive), None),
            (alive, gone, 4, None, Some(5)),
            (alive, gone, 5, Some(Verdict::Suspect), Some(30)),
            (suspect, gone, 5, None, Some(30)),
            (suspect, gone, 29, None, Some(30)),
            (suspect, gone, 30, Some(Verdict::Lost), None),
            // Whoever could not write for long says the last word only.
            (alive, gone, 31, Some(Verdict::Lost), None),
            (lost, gone, 31, None, None),
            // A new leader knows of no silence before its own time.
            (alive, never, 14, None, Some(15)),
            (alive, never, 15, Some(Verdict::Suspect), Some(40)),
            (suspect, never, 39, None, Some(40)),
            (suspect, never, 40, Some(Verdict::Lost), None),
            (lost, never, 0, None, None),
        ] {
            let found = TERMS.judge(liveness, heard, at(now));
            assert_eq!(found, (verdict, next.map(at)), "{liveness:?} {heard:?} after {now} s");
        }
    }

    #[test]
    fn who_asks_again_when_told_to_and_not_before_hears_everything_in_time() {
        let zero = Instant::now();
        let (mut liveness, mut now, mut said) = (Liveness::Alive, zero, Vec::new());
        while let (verdict, Some(next)) = TERMS.judge(liveness, Heard::Until(zero), now) {
            said.extend(verdict.map(|verdict| (verdict, now - zero)));
            if verdict == Some(Verdict::Suspect) {
                liveness = Liveness::Suspect(Timestamp(0));
            }
            assert!(next > now);
            now = next;
        }
        said.extend(TERMS.judge(liveness, Heard::Until(zero), now).0.map(|verdict| (verdict, now - zero)));
        assert_eq!(said, [(Verdict::Suspect, TERMS.suspect_after), (Verdict::Lost, TERMS.lost_after)]);
    }
}
