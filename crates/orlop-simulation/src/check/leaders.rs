//! At most one member leads in a term.

use crate::violation::{Check, Violation};
use std::collections::BTreeMap;

#[derive(Default)]
pub(crate) struct Leaders {
    by_term: BTreeMap<u64, u64>,
}

impl Leaders {
    /// A member says who leads in a term. True when nobody said it before.
    pub(crate) fn note(&mut self, term: u64, leader: u64, said_by: u64) -> Result<bool, Violation> {
        match self.by_term.insert(term, leader) {
            Some(other) if other != leader => {
                let what = format!("member {said_by} says that {leader} leads in term {term}, and {other} did already");
                Err(Violation::new(Check::OneLeader, what))
            }
            known => Ok(known.is_none()),
        }
    }

    pub(crate) fn terms(&self) -> u64 {
        self.by_term.len() as u64
    }
}
