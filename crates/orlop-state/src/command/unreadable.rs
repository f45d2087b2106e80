//! A command of the log that this version cannot read.
//!
//! The log holds only what a majority agreed to, so such an entry is no accident of this disk: a newer version wrote it,
//! of a kind or with a value that this one does not know. Refusing to go on would leave the cluster without its state for
//! the sake of one command, after a downgrade perhaps for ever. So it is applied as a refusal that changes nothing but
//! the history, where people find it. Members of different versions must not come to different states by that: a version
//! writes a new kind only when all members can read it.

use crate::answer::{Answer, Refusal};
use crate::command::Change;
use orlop_model::{Level, Subject};

/// A command of the log that this version cannot read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// What was wrong with it.
    pub problem: String,
}

impl Unreadable {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        let message = format!(
            "a command at revision {} was left out: it was written by a newer version ({}); run that version again",
            change.state.revision, self.problem
        );
        change.tell(Level::Error, Subject::default(), "written_by_newer_version", message.clone());
        Err(Refusal::precondition("written_by_newer_version", message))
    }
}
