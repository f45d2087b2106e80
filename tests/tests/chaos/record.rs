//! What clients asked and heard, and what must hold of it.

use orlop_history::history::{Doubt, History, Operation};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// So many services whose scale is a register each.
pub(crate) const KEYS: usize = 16;
/// The largest number of replicas that a service may have.
const VALUE_MAX: u64 = 10_000;
/// How long the judge may take, for all keys.
const PATIENCE: Duration = Duration::from_secs(120);

/// Something that a client did.
#[derive(Debug, Clone)]
pub(crate) struct Did {
    pub(crate) key: usize,
    /// None for a read.
    pub(crate) write: Option<u64>,
    /// Nanoseconds since the beginning.
    pub(crate) called: u64,
    pub(crate) heard: Option<Heard>,
    /// How often it was asked for, under one id.
    pub(crate) attempts: u32,
}

/// The answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    pub(crate) at: u64,
    /// What was read, or what was there before the write.
    pub(crate) told: u64,
    pub(crate) revision: u64,
}

impl Did {
    /// A write of which it is known where in the log it is. One that was asked for again may be where it was asked for first.
    fn placed(&self) -> Option<(u64, u64)> {
        let heard = self.heard.filter(|_| self.attempts == 1)?;
        Some((heard.revision, self.write?))
    }
}

/// Of all clients together.
pub(crate) struct Record {
    began: Instant,
    done: Mutex<Vec<Did>>,
    written: AtomicU64,
    next: [AtomicU64; KEYS],
    noes: Mutex<BTreeMap<String, (u64, String)>>,
}

impl Record {
    pub(crate) fn new() -> Self {
        let next = std::array::from_fn(|_| AtomicU64::new(1));
        Self { began: Instant::now(), done: Mutex::default(), written: AtomicU64::new(0), next, noes: Mutex::default() }
    }

    /// Nanoseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).expect("less than centuries")
    }

    /// A value that was not written to a key yet, if there is one left.
    pub(crate) fn value(&self, key: usize) -> Option<u64> {
        Some(self.next[key].fetch_add(1, Ordering::Relaxed)).filter(|value| *value <= VALUE_MAX)
    }

    pub(crate) fn push(&self, did: Did) {
        if did.write.is_some() && did.heard.is_some() {
            self.written.fetch_add(1, Ordering::Relaxed);
        }
        self.done.lock().expect("no panic").push(did);
    }

    /// How many writes were acknowledged so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// An answer that was no.
    pub(crate) fn no(&self, code: &str, message: &str) {
        let mut noes = self.noes.lock().expect("no panic");
        noes.entry(code.to_owned()).or_insert_with(|| (0, message.to_owned())).0 += 1;
    }

    /// Answers that were no: how many of each code, and the first of them.
    pub(crate) fn noes(&self) -> BTreeMap<String, (u64, String)> {
        self.noes.lock().expect("no panic").clone()
    }

    pub(crate) fn all(&self) -> Vec<Did> {
        self.done.lock().expect("no panic").clone()
    }
}

/// The longest that no write was acknowledged between two points, and how much of the longest lies after `healed`.
pub(crate) fn silence(acknowledged: &[u64], from: u64, healed: u64, to: u64) -> (Duration, Duration) {
    let within = acknowledged.iter().copied().filter(|at| (from..=to).contains(at));
    let points: Vec<u64> = std::iter::once(from).chain(within).chain([to]).collect();
    let longest = |since: u64| {
        points.windows(2).map(|pair| pair[1].saturating_sub(pair[0].max(since).min(pair[1]))).max().unwrap_or(0)
    };
    (Duration::from_nanos(longest(from)), Duration::from_nanos(longest(healed)))
}

/// When writes were acknowledged, in order.
pub(crate) fn acknowledged(all: &[Did]) -> Vec<u64> {
    let mut at: Vec<u64> = all.iter().filter(|did| did.write.is_some()).filter_map(|did| Some(did.heard?.at)).collect();
    at.sort_unstable();
    at
}

/// Is each key's history linearizable?
pub(crate) fn judge(all: &[Did]) -> Result<(), Doubt> {
    let mut history = History::default();
    for Did { key, write, called, heard, .. } in all {
        let (operation, returned) = match (write, heard) {
            (Some(to), Some(heard)) => (Operation::Swap { found: heard.told, to: *to }, Some(heard.at)),
            (Some(to), None) => (Operation::Write(*to), None),
            (None, Some(heard)) => (Operation::Read(heard.told), Some(heard.at)),
            (None, None) => continue,
        };
        history.push(*key as u64, operation, *called, returned);
    }
    let until = Instant::now() + PATIENCE;
    history.judge(|| Instant::now() < until)
}

/// An answer is never of an older revision than one that was heard before it was asked for.
pub(crate) fn revisions_follow_time(all: &[Did]) -> Result<(), String> {
    let mut heard: Vec<(u64, u64)> = all.iter().filter_map(|did| Some((did.heard?.at, did.heard?.revision))).collect();
    heard.sort_unstable();
    let mut asked: Vec<&Did> = all.iter().filter(|did| did.heard.is_some()).collect();
    asked.sort_by_key(|did| did.called);
    let (mut at, mut known) = (0, 0);
    for did in asked {
        while heard.get(at).is_some_and(|(returned, _)| *returned < did.called) {
            known = known.max(heard[at].1);
            at += 1;
        }
        let told = did.heard.map_or(u64::MAX, |heard| heard.revision);
        if told < known {
            return Err(format!("revision {known} had been answered, and then {told} was to {did:?}"));
        }
    }
    Ok(())
}

/// What each key's value may be at a revision, as far as clients know.
pub(crate) struct Known {
    /// By key: what was written, by where in the log.
    placed: Vec<BTreeMap<u64, u64>>,
    /// By key: what may have been written anywhere.
    loose: Vec<BTreeSet<u64>>,
}

impl Known {
    /// An error names two writes that were acknowledged at one place.
    pub(crate) fn of(all: &[Did]) -> Result<Self, String> {
        let mut known = Self { placed: vec![BTreeMap::new(); KEYS], loose: vec![BTreeSet::new(); KEYS] };
        let mut taken = BTreeMap::new();
        for did in all {
            match (did.placed(), did.write) {
                (Some((revision, value)), _) => {
                    if let Some(other) = taken.insert(revision, (did.key, value)) {
                        return Err(format!("revision {revision} is that of two writes: {other:?} and {did:?}"));
                    }
                    known.placed[did.key].insert(revision, value);
                }
                (None, Some(value)) => drop(known.loose[did.key].insert(value)),
                (None, None) => {}
            }
        }
        Ok(known)
    }

    /// May a key have a value at a revision? If not: what it should be.
    pub(crate) fn allows(&self, key: usize, revision: u64, value: u64) -> Result<(), u64> {
        let last = self.placed[key].range(..=revision).next_back().map_or(0, |(_, value)| *value);
        if value == last || self.loose[key].contains(&value) { Ok(()) } else { Err(last) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn did(write: Option<u64>, called: u64, heard: Option<(u64, u64, u64)>, attempts: u32) -> Did {
        let heard = heard.map(|(at, told, revision)| Heard { at, told, revision });
        Did { key: 3, write, called, heard, attempts }
    }

    #[test]
    fn a_lost_write_a_write_done_twice_and_a_stale_read_are_found() {
        let write = did(Some(5), 0, Some((1, 0, 10)), 1);
        assert_eq!(judge(&[write.clone(), did(None, 2, Some((3, 5, 10)), 1)]), Ok(()));
        for wrong in [
            // Lost.
            vec![did(Some(6), 2, Some((3, 0, 11)), 1)],
            vec![did(None, 2, Some((3, 0, 10)), 1)],
            // Done again after another.
            vec![did(Some(6), 2, Some((3, 5, 11)), 1), did(None, 4, Some((5, 5, 12)), 1)],
            // Nobody wrote that.
            vec![did(None, 2, Some((3, 7, 11)), 1)],
        ] {
            let all: Vec<Did> = std::iter::once(write.clone()).chain(wrong).collect();
            assert!(matches!(judge(&all), Err(Doubt::Unexplained(_))), "{all:?}");
        }
    }

    #[test]
    fn a_revision_that_goes_back_is_found() {
        let (first, later) = (did(Some(5), 0, Some((1, 0, 10)), 1), did(None, 2, Some((3, 5, 10)), 1));
        assert_eq!(revisions_follow_time(&[later, first.clone()]), Ok(()));
        let back = did(None, 2, Some((3, 5, 9)), 1);
        assert!(revisions_follow_time(&[first.clone(), back]).is_err_and(|what| what.contains("revision 10")));
        let beside = did(None, 1, Some((3, 5, 9)), 1);
        assert_eq!(revisions_follow_time(&[first, beside]), Ok(()), "it was asked for before the other was answered");
    }

    #[test]
    fn a_value_is_known_where_its_place_is() {
        let all = [
            did(Some(5), 0, Some((1, 0, 10)), 1),
            did(Some(6), 2, Some((3, 5, 20)), 1),
            did(Some(7), 4, Some((9, 6, 30)), 2),
            did(Some(8), 9, None, 3),
        ];
        let known = Known::of(&all).expect("places");
        for (revision, value, expected) in
            [(9, 0, Ok(())), (10, 5, Ok(())), (19, 5, Ok(())), (20, 6, Ok(())), (19, 0, Err(5)), (20, 5, Err(6))]
        {
            assert_eq!(known.allows(3, revision, value), expected, "{value} at {revision}");
        }
        assert_eq!((known.allows(3, 25, 7), known.allows(3, 40, 8)), (Ok(()), Ok(())));
        let twice = [did(Some(5), 0, Some((1, 0, 10)), 1), did(Some(6), 0, Some((1, 0, 10)), 1)];
        assert!(Known::of(&twice).is_err());
    }

    #[test]
    fn silence_is_measured_over_the_fault_and_after_it() {
        let second = 1_000_000_000;
        let at: Vec<u64> = [1, 2, 7, 9].map(|at| at * second).to_vec();
        let seconds = Duration::from_secs;
        assert_eq!(silence(&at, second, 4 * second, 10 * second), (seconds(5), seconds(3)));
        assert_eq!(silence(&[], second, 4 * second, 10 * second), (seconds(9), seconds(6)));
    }
}
