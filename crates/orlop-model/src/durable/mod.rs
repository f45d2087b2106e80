//! Durable work: what tasks and workflows are made of.
//!
//! A workflow's run is its [journal](Entry): commands, which the workflow issued, and notices, which came of them or from
//! outside, in one total order. The workflow is a function of the notices in that order; that is all that replay needs.

mod frame;
mod journal;
mod outcome;
mod retry;
mod task;

pub use frame::{AssignedTask, BlockCause, EngineFrame, Fence, Hello, TaskLog, TaskReport, Waiting, WorkerFrame};
pub use journal::{Command, CommandKind, CommandNumber, Entry, Record, Seq, Signal, Started};
pub use outcome::{Failure, FailureCause, Outcome, Payload};
pub use retry::RetryPolicy;
pub use task::{CallId, InvalidQueueName, Owner, Priority, QueueName, TaskOptions};
