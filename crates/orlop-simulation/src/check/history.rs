//! Is a history of reads and writes of a key linearizable?
//!
//! The search of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory of configurations
//! that were tried ("Testing for Linearizability", 2017), as Porcupine does it; one key at a time, which is enough because
//! linearizability is local (Herlihy and Wing, 1990).

use crate::violation::{Check, Violation};
use std::collections::{BTreeMap, HashSet};

/// What is read and written.
pub(crate) type Value = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Write(Value),
    /// It gave this.
    Read(Value),
}

#[derive(Debug, Clone, Copy)]
struct Event {
    operation: Operation,
    called: u64,
    /// None when nobody knows whether it happened, or when it will.
    returned: Option<u64>,
}

/// The histories of all keys. The value that a key begins with is 0, and every write writes another value.
#[derive(Default)]
pub(crate) struct History {
    keys: BTreeMap<u64, Vec<Event>>,
}

impl History {
    /// An operation that was called and returned at these points of one order of all calls and returns.
    pub(crate) fn push(&mut self, key: u64, operation: Operation, called: u64, returned: Option<u64>) {
        self.keys.entry(key).or_default().push(Event { operation, called, returned });
    }

    pub(crate) fn operations(&self) -> u64 {
        self.keys.values().map(|events| events.len() as u64).sum()
    }

    pub(crate) fn verdict(&self) -> Result<(), Violation> {
        for (key, events) in &self.keys {
            let read: HashSet<Value> = events
                .iter()
                .filter_map(|event| match event.operation {
                    Operation::Read(value) => Some(value),
                    Operation::Write(_) => None,
                })
                .collect();
            // A write that may have happened and that nobody saw changes nothing for anybody.
            let counts = |event: &&Event| match event.operation {
                Operation::Write(value) => event.returned.is_some() || read.contains(&value),
                Operation::Read(_) => event.returned.is_some(),
            };
            let events: Vec<Event> = events.iter().filter(counts).copied().collect();
            if !is_linearizable(&events) {
                let what =
                    format!("no order of its {} operations explains what key {key} gave: {events:?}", events.len());
                return Err(Violation::new(Check::Linearizable, what));
            }
        }
        Ok(())
    }
}

/// Calls and returns in order, as a doubly linked list from which operations can be lifted and put back.
struct List {
    /// Which operation, and whether it is its call.
    entries: Vec<(usize, bool)>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// By operation: where it returns.
    returns: Vec<usize>,
}

const HEAD: usize = 0;

impl List {
    fn new(events: &[Event]) -> Self {
        let mut points: Vec<(u64, usize, bool)> = Vec::with_capacity(events.len() * 2);
        for (operation, event) in events.iter().enumerate() {
            points.push((event.called, operation, true));
            points.push((event.returned.unwrap_or(u64::MAX), operation, false));
        }
        // What is unknown returns at the very end.
        points.sort_by_key(|(at, operation, call)| (*at, !*call, *operation));
        let mut returns = vec![0; events.len()];
        let mut entries = vec![(usize::MAX, false)];
        for (_, operation, call) in points {
            if !call {
                returns[operation] = entries.len();
            }
            entries.push((operation, call));
        }
        let count = entries.len();
        let next = (0..count).map(|place| if place + 1 < count { place + 1 } else { HEAD }).collect();
        let previous = (0..count).map(|place| place.checked_sub(1).unwrap_or(count - 1)).collect();
        Self { entries, next, previous, returns }
    }

    fn unlink(&mut self, place: usize) {
        let (before, after) = (self.previous[place], self.next[place]);
        self.next[before] = after;
        self.previous[after] = before;
    }

    fn relink(&mut self, place: usize) {
        let (before, after) = (self.previous[place], self.next[place]);
        self.next[before] = place;
        self.previous[after] = place;
    }

    fn lift(&mut self, call: usize) {
        self.unlink(call);
        self.unlink(self.returns[self.entries[call].0]);
    }

    fn put_back(&mut self, call: usize) {
        self.relink(self.returns[self.entries[call].0]);
        self.relink(call);
    }
}

fn step(value: Value, operation: Operation) -> Option<Value> {
    match operation {
        Operation::Write(to) => Some(to),
        Operation::Read(found) => (found == value).then_some(value),
    }
}

fn is_linearizable(events: &[Event]) -> bool {
    let mut list = List::new(events);
    let mut done = vec![0_u64; events.len().div_ceil(64)];
    let mut tried: HashSet<(Vec<u64>, Value)> = HashSet::new();
    let mut taken: Vec<(usize, Value)> = Vec::new();
    let mut value: Value = 0;
    let mut place = list.next[HEAD];
    while list.next[HEAD] != HEAD {
        let (operation, call) = list.entries[place];
        if call {
            let bit = 1 << (operation % 64);
            let after = step(value, events[operation].operation).filter(|after| {
                done[operation / 64] |= bit;
                let new = tried.insert((done.clone(), *after));
                done[operation / 64] &= !bit;
                new
            });
            match after {
                Some(after) => {
                    done[operation / 64] |= bit;
                    taken.push((place, value));
                    value = after;
                    list.lift(place);
                    place = list.next[HEAD];
                }
                None => place = list.next[place],
            }
        } else {
            // It returned before anything that is left could come before it: the last choice was wrong.
            let Some((undone, before)) = taken.pop() else { return false };
            let operation = list.entries[undone].0;
            done[operation / 64] &= !(1 << (operation % 64));
            value = before;
            list.put_back(undone);
            place = list.next[undone];
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::Operation::{Read, Write};
    use super::*;
    use crate::chance::Chance;

    fn verdict(events: &[(Operation, u64, Option<u64>)]) -> bool {
        let mut history = History::default();
        events.iter().for_each(|(operation, called, returned)| history.push(7, *operation, *called, *returned));
        history.verdict().is_ok()
    }

    #[test]
    fn histories_are_judged_as_the_definition_says() {
        type Case = (&'static str, bool, &'static [(Operation, u64, Option<u64>)]);
        let cases: [Case; 9] = [
            ("nothing", true, &[]),
            ("the beginning", true, &[(Read(0), 0, Some(1))]),
            ("a write is seen", true, &[(Write(5), 0, Some(1)), (Read(5), 2, Some(3))]),
            ("a write is not seen", false, &[(Write(5), 0, Some(1)), (Read(0), 2, Some(3))]),
            ("a value out of nowhere", false, &[(Read(5), 0, Some(1))]),
            (
                "reads beside a write go either way, but not back",
                false,
                &[(Write(5), 0, Some(9)), (Read(5), 1, Some(2)), (Read(0), 3, Some(4))],
            ),
            (
                "reads beside a write go forward",
                true,
                &[(Write(5), 0, Some(9)), (Read(0), 1, Some(2)), (Read(5), 3, Some(4))],
            ),
            (
                "an unknown write may come late",
                true,
                &[(Write(5), 0, None), (Read(0), 2, Some(3)), (Read(5), 4, Some(5))],
            ),
            (
                "an unknown write comes once",
                false,
                &[
                    (Write(5), 0, None),
                    (Read(5), 1, Some(2)),
                    (Write(6), 3, Some(4)),
                    (Read(6), 5, Some(6)),
                    (Read(5), 7, Some(8)),
                ],
            ),
        ];
        for (name, expected, events) in cases {
            assert_eq!(verdict(events), expected, "{name}");
        }
    }

    /// Tries every order.
    fn by_force(events: &[Event], done: &mut Vec<bool>, value: Value) -> bool {
        if events.iter().zip(&*done).all(|(event, done)| *done || event.returned.is_none()) {
            return true;
        }
        (0..events.len()).any(|next| {
            let must_come_first = |other: usize| {
                !done[other] && events[other].returned.is_some_and(|returned| returned < events[next].called)
            };
            if done[next] || (0..events.len()).any(must_come_first) {
                return false;
            }
            let Some(after) = step(value, events[next].operation) else { return false };
            done[next] = true;
            let found = by_force(events, done, after);
            done[next] = false;
            found
        })
    }

    #[test]
    fn it_judges_as_trying_every_order_does() {
        let mut verdicts = [0, 0];
        for seed in 0..3000 {
            let mut chance = Chance::new(seed);
            let events: Vec<Event> = (0..chance.between(1, 6))
                .map(|number| {
                    let called = chance.between(0, 20);
                    let returned = chance.per_mille(800).then(|| called + chance.between(1, 8));
                    let operation = match chance.below(2) {
                        0 => Write(number + 1),
                        _ => Read(chance.between(0, 6)),
                    };
                    // An unknown read says nothing.
                    let returned =
                        if matches!(operation, Read(_)) { Some(returned.unwrap_or(called + 1)) } else { returned };
                    Event { operation, called: called * 2, returned: returned.map(|at| at * 2 + 1) }
                })
                .collect();
            let expected = by_force(&events, &mut vec![false; events.len()], 0);
            assert_eq!(is_linearizable(&events), expected, "seed {seed}: {events:?}");
            verdicts[usize::from(expected)] += 1;
        }
        assert!(verdicts.iter().all(|count| *count > 300), "{verdicts:?}");
    }
}
