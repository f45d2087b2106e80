//! Which numbers of commands a journal has.

use orlop_model::durable::CommandNumber;
use std::collections::BTreeSet;

/// A set of numbers that are used about in their order: all up to some number, and a few above it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Numbers {
    through: u32,
    above: BTreeSet<u32>,
}

impl Numbers {
    /// Adds a number; whether it was not there.
    pub(crate) fn insert(&mut self, number: CommandNumber) -> bool {
        if self.contains(number) || !self.above.insert(number.0) {
            return false;
        }
        while self.above.remove(&self.through.saturating_add(1)) {
            self.through += 1;
        }
        true
    }

    pub(crate) fn contains(&self, number: CommandNumber) -> bool {
        number.0 <= self.through || self.above.contains(&number.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_taken_once_in_any_order() {
        let mut numbers = Numbers::default();
        for number in [2, 1, 5, 3, 4] {
            assert!(!numbers.contains(CommandNumber(number)));
            assert!(numbers.insert(CommandNumber(number)));
            assert!(!numbers.insert(CommandNumber(number)));
        }
        assert_eq!((numbers.through, numbers.above.len()), (5, 0));
        assert!(!numbers.insert(CommandNumber(0)), "no command has it");
    }
}
