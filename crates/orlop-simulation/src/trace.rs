//! Everything that happens in a run, as one hash: two runs of a seed are the same run if their hashes are.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// So many of the latest events are kept in words.
const KEPT: usize = 200;

/// FNV-1a with 64 bits (Fowler, Noll and Vo).
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

pub(crate) fn hash(bytes: &[u8], before: u64) -> u64 {
    bytes.iter().fold(before, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

pub(crate) fn hash_of(bytes: &[u8]) -> u64 {
    hash(bytes, BASIS)
}

/// Clones note to the same trace.
#[derive(Clone)]
pub(crate) struct Trace(Arc<Mutex<Inner>>);

struct Inner {
    tick: u64,
    hash: u64,
    events: u64,
    latest: VecDeque<String>,
    aloud: bool,
}

impl Trace {
    /// `aloud` prints every event.
    pub(crate) fn new(aloud: bool) -> Self {
        Self(Arc::new(Mutex::new(Inner { tick: 0, hash: BASIS, events: 0, latest: VecDeque::new(), aloud })))
    }

    pub(crate) fn tick(&self, tick: u64) {
        self.0.lock().tick = tick;
    }

    /// An event.
    pub(crate) fn note(&self, event: fmt::Arguments<'_>) {
        let mut inner = self.0.lock();
        let line = format!("{:>6} {event}", inner.tick);
        inner.hash = hash(line.as_bytes(), inner.hash);
        inner.events += 1;
        if inner.aloud {
            eprintln!("{line}");
        }
        if inner.latest.len() == KEPT {
            inner.latest.pop_front();
        }
        inner.latest.push_back(line);
    }

    /// A message: it counts, but is not worth a line that is kept. It arrives at no time if it is
    /// lost.
    pub(crate) fn message(&self, from: u64, to: u64, what: &str, content: u64, at: u64) {
        let mut inner = self.0.lock();
        let mut sum = hash(what.as_bytes(), inner.hash);
        for number in [inner.tick, from, to, content, at] {
            sum = hash(&number.to_le_bytes(), sum);
        }
        inner.hash = sum;
        inner.events += 1;
        if inner.aloud {
            eprintln!("{:>6} {from} > {to}: {what}, arrives at {at}", inner.tick);
        }
    }

    pub(crate) fn sum(&self) -> (u64, u64) {
        let inner = self.0.lock();
        (inner.hash, inner.events)
    }

    pub(crate) fn latest(&self) -> Vec<String> {
        self.0.lock().latest.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(hash_of(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash_of(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
