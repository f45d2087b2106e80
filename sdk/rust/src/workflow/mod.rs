//! Workflows: async functions whose progress outlives every process that runs them.
//!
//! A workflow is `async fn(WorkflowContext, I) -> Result<O, Failure>`. What it awaits, it awaits through its context; what
//! touches the world stands in steps and tasks. What is promised: each step that ended never runs again, and the code after
//! it sees the same results, the same [time](WorkflowContext::now) and the same [chance](WorkflowContext::random) however
//! often the run moves to another worker.

mod call;
mod child;
mod combine;
mod context;
mod definition;
mod saga;
mod shield;
mod signal;
mod step;
mod task;
mod timer;

pub use call::Call;
pub use child::Child;
pub use combine::{all, any, race};
pub use context::WorkflowContext;
pub use definition::Definition;
pub use saga::{Saga, Undone};
pub use shield::Shielded;
pub use signal::{Cancelled, NextSignal};
pub use step::Step;
pub use task::TaskCall;
pub use timer::Timer;

pub(crate) use definition::WorkflowBody;
