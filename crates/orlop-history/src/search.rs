//! The search for an order of the operations of one key.

use crate::history::{Event, Value};
use std::collections::HashSet;

pub(crate) enum Outcome {
    Explained,
    Unexplained,
    GivenUp,
}

/// After so many steps it is asked whether to go on.
const ASK_EVERY: u32 = 1024;

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

/// The operations that are in the order so far. Those are nearly all that were called before some time and few of those
/// that were called later, so it is remembered as the few words between the two.
struct Done {
    words: Vec<u64>,
    /// All words before this one are full.
    low: usize,
    /// All words from this one on are empty.
    high: usize,
}

impl Done {
    fn new(operations: usize) -> Self {
        Self { words: vec![0; operations.div_ceil(64)], low: 0, high: 0 }
    }

    fn put(&mut self, operation: usize) {
        let word = operation / 64;
        self.words[word] |= 1 << (operation % 64);
        self.high = self.high.max(word + 1);
        while self.low < self.high && self.words[self.low] == u64::MAX {
            self.low += 1;
        }
    }

    fn take(&mut self, operation: usize) {
        let word = operation / 64;
        self.words[word] &= !(1 << (operation % 64));
        self.low = self.low.min(word);
        while self.high > self.low && self.words[self.high - 1] == 0 {
            self.high -= 1;
        }
    }

    fn key(&self) -> (usize, Box<[u64]>) {
        (self.low, self.words[self.low..self.high].into())
    }
}

/// Looks for an order, of operations that are sorted by their calls.
pub(crate) fn search(events: &[Event], go_on: &mut impl FnMut() -> bool) -> Outcome {
    let mut list = List::new(events);
    let mut done = Done::new(events.len());
    let mut tried = HashSet::new();
    let mut taken: Vec<(usize, Value)> = Vec::new();
    let mut value: Value = 0;
    let mut place = list.next[HEAD];
    let mut steps = 0_u32;
    while list.next[HEAD] != HEAD {
        steps = steps.wrapping_add(1);
        if steps.is_multiple_of(ASK_EVERY) && !go_on() {
            return Outcome::GivenUp;
        }
        let (operation, call) = list.entries[place];
        if call {
            let after = events[operation].operation.step(value).filter(|after| {
                done.put(operation);
                let new = tried.insert((done.key(), *after));
                done.take(operation);
                new
            });
            match after {
                Some(after) => {
                    done.put(operation);
                    taken.push((place, value));
                    value = after;
                    list.lift(place);
                    place = list.next[HEAD];
                }
                None => place = list.next[place],
            }
        } else {
            // It returned before anything that is left could come before it: the last choice was wrong.
            let Some((undone, before)) = taken.pop() else { return Outcome::Unexplained };
            done.take(list.entries[undone].0);
            value = before;
            list.put_back(undone);
            place = list.next[undone];
        }
    }
    Outcome::Explained
}
