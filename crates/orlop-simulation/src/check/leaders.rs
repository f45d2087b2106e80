//! Who leads in a term.
//!
//! The protocol orders votes by term and then by member, so a term may pass from a member to one with a higher number;
//! that both commit would show as different logs. What must not be is that a member leads in a term again, as another
//! process that has forgotten what it did as a leader, or in two terms in the wrong order.

use crate::violation::{Check, Violation};
use std::collections::BTreeMap;

#[derive(Default)]
pub(crate) struct Leaders {
    /// By term: the members that led, and as which of their processes.
    by_term: BTreeMap<u64, BTreeMap<u64, u64>>,
    /// By member: the last term in which it led.
    last: BTreeMap<u64, u64>,
}

impl Leaders {
    /// A process of a member says that it leads in a term. True when it said so for the first time.
    pub(crate) fn leads(&mut self, term: u64, member: u64, process: u64) -> Result<bool, Violation> {
        let last = self.last.insert(member, term).unwrap_or(0);
        if last > term {
            let what = format!("member {member} leads in term {term}, after it led in {last}");
            return Err(Violation::new(Check::OneLeader, what));
        }
        match self.by_term.entry(term).or_default().insert(member, process) {
            Some(earlier) if earlier != process => {
                let what = format!("member {member} leads in term {term} again, as another process");
                Err(Violation::new(Check::OneLeader, what))
            }
            known => Ok(known.is_none()),
        }
    }

    /// Terms in which somebody led, and those in which more than one did.
    pub(crate) fn terms(&self) -> (u64, u64) {
        let shared = self.by_term.values().filter(|members| members.len() > 1).count();
        (self.by_term.len() as u64, shared as u64)
    }
}
