//! Is a history of reads and writes of a key linearizable?
//!
//! The search of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory of configurations
//! that were tried ("Testing for Linearizability", 2017), as Porcupine does it; one key at a time, which is enough because
//! linearizability is local (Herlihy and Wing, 1990).

use crate::search::{self, Outcome};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// What is read and written.
pub type Value = u64;

/// What a client did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It wrote this.
    Write(Value),
    /// It wrote `to`, and was told that it took the place of `found`.
    Swap {
        /// What was there.
        found: Value,
        /// What is there now.
        to: Value,
    },
    /// It was told this.
    Read(Value),
}

impl Operation {
    fn told(self) -> Option<Value> {
        match self {
            Operation::Write(_) => None,
            Operation::Swap { found, .. } | Operation::Read(found) => Some(found),
        }
    }

    fn written(self) -> Option<Value> {
        match self {
            Operation::Write(to) | Operation::Swap { to, .. } => Some(to),
            Operation::Read(_) => None,
        }
    }

    /// What the value is after the operation, where it can be at all.
    pub(crate) fn step(self, value: Value) -> Option<Value> {
        match self {
            Operation::Write(to) => Some(to),
            Operation::Swap { found, to } => (found == value).then_some(to),
            Operation::Read(found) => (found == value).then_some(value),
        }
    }
}

/// An operation, and the points of one order of all calls and returns between which it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// What was done.
    pub operation: Operation,
    /// When it was asked for.
    pub called: u64,
    /// When it was answered. None when nobody knows whether it happened, or when it will.
    pub returned: Option<u64>,
}

/// The histories of all keys. The value that a key begins with is 0, and every write writes another value.
#[derive(Debug, Clone, Default)]
pub struct History {
    keys: BTreeMap<u64, Vec<Event>>,
}

/// Why a history was not found to be linearizable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// No order explains what clients were told.
    Unexplained(Unexplained),
    /// It was given up before that was known.
    Undecided {
        /// At this key.
        key: u64,
        /// Of so many operations.
        operations: usize,
    },
}

/// A key whose operations no order explains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unexplained {
    /// The key.
    pub key: u64,
    /// All that was done with it.
    pub operations: usize,
    /// Of the shortest beginning of its history that no order explains, the end: as much as people read.
    pub end: Vec<Event>,
}

/// So many operations before the one that cannot be explained are shown.
const SHOWN: usize = 24;

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::Undecided { key, operations } => {
                write!(
                    f,
                    "whether an order explains the {operations} operations of key {key} was not found out in time"
                )
            }
            Doubt::Unexplained(Unexplained { key, operations, end }) => {
                write!(
                    f,
                    "no order of the {operations} operations of key {key} explains what was told by the last of these:"
                )?;
                for Event { operation, called, returned } in end {
                    match returned {
                        Some(returned) => write!(f, "\n  {called:>12} – {returned:<12} {operation:?}")?,
                        None => write!(f, "\n  {called:>12} – {:<12} {operation:?}", "?")?,
                    }
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Doubt {}

impl History {
    /// An operation that was called and returned at these points of one order of all calls and returns.
    pub fn push(&mut self, key: u64, operation: Operation, called: u64, returned: Option<u64>) {
        self.keys.entry(key).or_default().push(Event { operation, called, returned });
    }

    /// How many operations there are.
    pub fn operations(&self) -> u64 {
        self.keys.values().map(|events| events.len() as u64).sum()
    }

    /// Every key with what was done with it, in the order in which it was pushed.
    pub fn keys(&self) -> impl Iterator<Item = (u64, &[Event])> {
        self.keys.iter().map(|(key, events)| (*key, events.as_slice()))
    }

    /// Looks for an order of each key's operations that explains what everybody was told.
    ///
    /// # Errors
    /// When there is none, or `go_on`, asked now and then, says that it takes too long.
    pub fn judge(&self, mut go_on: impl FnMut() -> bool) -> Result<(), Doubt> {
        for (key, events) in &self.keys {
            match search::search(&relevant(events), &mut go_on) {
                Outcome::Explained => {}
                Outcome::GivenUp => return Err(Doubt::Undecided { key: *key, operations: events.len() }),
                Outcome::Unexplained => {
                    let end = shortest(events, &mut go_on);
                    return Err(Doubt::Unexplained(Unexplained { key: *key, operations: events.len(), end }));
                }
            }
        }
        Ok(())
    }
}

/// Without what says nothing, in the order of the calls.
fn relevant(events: &[Event]) -> Vec<Event> {
    let told: HashSet<Value> = events.iter().filter_map(|event| event.operation.told()).collect();
    // A write that may have happened and that nobody saw changes nothing for anybody.
    let counts = |event: &&Event| {
        event.returned.is_some() || event.operation.written().is_some_and(|written| told.contains(&written))
    };
    let mut events: Vec<Event> = events.iter().filter(counts).copied().collect();
    events.sort_by_key(|event| event.called);
    events
}

/// The end of the shortest beginning that no order explains: what begins a history that can be explained can be too, so it
/// is found by halving.
fn shortest(events: &[Event], go_on: &mut impl FnMut() -> bool) -> Vec<Event> {
    let mut returns: Vec<u64> = events.iter().filter_map(|event| event.returned).collect();
    returns.sort_unstable();
    let until = |end: u64| -> Vec<Event> {
        let open = |event: &Event| Event { returned: event.returned.filter(|returned| *returned <= end), ..*event };
        relevant(&events.iter().filter(|event| event.called <= end).map(open).collect::<Vec<_>>())
    };
    let (mut explained, mut unexplained) = (0, returns.len().saturating_sub(1));
    while explained < unexplained {
        let middle = explained.midpoint(unexplained);
        match search::search(&until(returns[middle]), go_on) {
            Outcome::Unexplained => unexplained = middle,
            Outcome::Explained => explained = middle + 1,
            Outcome::GivenUp => break,
        }
    }
    let Some(end) = returns.get(unexplained) else { return Vec::new() };
    let mut shown = until(*end);
    // An unknown write that the others need may be much older; all the others that count are near the end.
    shown.sort_by_key(|event| (event.returned.unwrap_or(event.called), event.called));
    shown.split_off(shown.len().saturating_sub(SHOWN))
}

#[cfg(test)]
mod tests;
