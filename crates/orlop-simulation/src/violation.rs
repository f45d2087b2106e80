//! What a run may find.

use std::fmt;

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Check {
    /// A process of a member leads in a term once, and terms grow. (Terms may pass from a member to one with a higher
    /// number: the protocol orders votes by both.)
    OneLeader,
    /// All members apply the same commands at the same indexes, in order, with the same answers.
    SameLog,
    /// All members know the same members.
    SameMembers,
    /// What was acknowledged is in the log, at the index that was said.
    Acknowledged,
    /// Reads and writes of each key are linearizable.
    Linearizable,
    /// A member that was stopped, in whatever way, starts again.
    Starts,
    /// A member whose disk works does not give up.
    Runs,
    /// Once nothing is broken any more, the cluster takes writes and all members catch up.
    Progress,
    /// A watcher sees every change, once, and never goes back.
    Watch,
    /// A plan of a scheduler whose lease passed to another changes nothing.
    OneWriter,
    /// A slot of a service never has two replicas that run, but for nodes that are believed lost.
    OneReplica,
    /// What is reported of a workload of another generation is not taken.
    Generation,
}

/// Something that must hold and did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What.
    pub check: Check,
    /// How it showed.
    pub what: String,
}

impl Violation {
    pub(crate) fn new(check: Check, what: impl Into<String>) -> Self {
        Self { check, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.check, self.what)
    }
}
