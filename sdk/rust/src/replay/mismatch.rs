//! What is said when code and journal are apart.

use super::state::{Recorded, Source};
use orlop_model::durable::CommandKind;

/// `task "orders.ship"`
pub(super) fn said(word: &str, name: &str) -> String {
    if name.is_empty() { format!("a {word}") } else { format!("{word} {name:?}") }
}

fn at(source: &str) -> String {
    if source.is_empty() { "at an unknown place".to_owned() } else { format!("at {source}") }
}

/// The code issued another command than the journal has.
pub(super) fn other(number: u32, recorded: &Recorded, kind: &CommandKind, source: Source) -> String {
    format!(
        "command {number} is {} in the journal (issued {}), and {} in this code (issued at {source}). Code that open runs \
         have passed must stay as it was; put what is new behind ctx.patched(\"…\")",
        said(recorded.word, &recorded.name),
        at(&recorded.source),
        said(kind.word(), kind.name()),
    )
}

/// The code did not issue what the journal has.
pub(super) fn missing(number: u32, recorded: &Recorded, last: Option<(u32, &str)>, has_ended: bool) -> String {
    let did = match (last, has_ended) {
        (None, false) => "waits, and issued no command".to_owned(),
        (None, true) => "ended without any command".to_owned(),
        (Some((last, source)), false) => format!("waits, and issued {last} last (at {source})"),
        (Some((last, source)), true) => format!("ended after {last} (issued at {source})"),
    };
    format!(
        "command {number} is {} in the journal (issued {}), and this code {did}. Code that open runs have passed must stay \
         as it was; put what is new behind ctx.patched(\"…\")",
        said(recorded.word, &recorded.name),
        at(&recorded.source),
    )
}

/// What woke the workflow is not in the journal.
pub(super) const FOREIGN: &str = "the workflow was woken by something that is not in its journal: a timer, a channel, a spawned \
    task or IO that it awaits itself. A workflow may await what its context gives (steps, tasks, children, sleeps, signals), \
    and combinations and channels of these; everything else belongs into a step: ctx.step(\"name\", || async { … })";

/// The context was used where the workflow does not run.
pub(super) fn elsewhere(source: Source) -> String {
    format!(
        "the workflow's context was used at {source} while the workflow did not run: inside a step or a spawned task, say. \
         Commands are numbered in the order of the workflow's own code, so only that may issue them"
    )
}
