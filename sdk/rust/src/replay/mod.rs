//! One run of a workflow over its journal, pure and synchronous.
//!
//! What is promised: the workflow is polled after each entry that can wake it, in the order of the journal, and at no
//! other time. Its commands are numbered in the order in which its code issues them, so the same code over the same journal
//! issues the same commands, wherever and however often it is run; where it does not, the run is [blocked](Blocked) with both
//! sides named, and nothing is written. Nothing here knows clocks, sockets or tokio.

mod check;
mod ids;
mod machine;
mod mismatch;
mod state;
mod step;
mod waker;

pub use check::check;
pub use machine::{Advance, Blocked, Machine};
pub use step::{StepEnd, StepToRun};

pub(crate) use state::{Shared, SlotKind, Source, State};
pub(crate) use step::{StepBody, StepWork};
