//! What members apply, compared with what others applied at the same index.

use crate::violation::{Check, Violation};
use std::collections::BTreeMap;

/// What all members applied, together.
#[derive(Default)]
pub(crate) struct AppliedLog {
    entries: BTreeMap<u64, Entry>,
    states: BTreeMap<u64, (u64, u64)>,
    first: Option<Violation>,
}

#[derive(Clone, Copy)]
struct Entry {
    command: u64,
    answer: u64,
    by: u64,
}

impl AppliedLog {
    /// A member applied a command after the one at `before`: hashes of the command and of the answer.
    pub(crate) fn applied(&mut self, by: u64, before: u64, index: u64, command: u64, answer: u64) {
        if index <= before {
            return self.fail(format!("member {by} applies entry {index} after entry {before}"));
        }
        if let Some((skipped, entry)) = self.entries.range(before + 1..index).next() {
            let what = format!(
                "member {by} goes from entry {before} to {index}, and member {} applied a command at {skipped}",
                entry.by
            );
            return self.fail(what);
        }
        let entry = *self.entries.entry(index).or_insert(Entry { command, answer, by });
        if entry.command != command {
            self.fail(format!("members {by} and {} applied different commands at entry {index}", entry.by));
        } else if entry.answer != answer {
            self.fail(format!("members {by} and {} answer the command at entry {index} differently", entry.by));
        }
    }

    /// The state of a member after an entry, as a hash.
    pub(crate) fn state(&mut self, by: u64, index: u64, state: u64) {
        let (known, first) = *self.states.entry(index).or_insert((state, by));
        if known != state {
            self.fail(format!("members {by} and {first} have different states after entry {index}"));
        }
    }

    /// Somebody was told that a command is at an index.
    pub(crate) fn acknowledged(&mut self, index: u64, command: u64) -> Result<(), Violation> {
        match self.entries.get(&index) {
            Some(entry) if entry.command == command => Ok(()),
            Some(_) => {
                let what = format!("the write that was acknowledged at entry {index} is not what was applied there");
                Err(Violation::new(Check::Acknowledged, what))
            }
            None => {
                let what = format!("a write was acknowledged at entry {index}, and nobody applied it");
                Err(Violation::new(Check::Acknowledged, what))
            }
        }
    }

    fn fail(&mut self, what: String) {
        self.found(Violation::new(Check::SameLog, what));
    }

    /// The first violation counts.
    pub(crate) fn found(&mut self, violation: Violation) {
        self.first.get_or_insert(violation);
    }

    pub(crate) fn verdict(&mut self) -> Result<(), Violation> {
        self.first.take().map_or(Ok(()), Err)
    }
}
