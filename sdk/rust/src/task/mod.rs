//! Tasks: durable functions that a queue calls, at least once.
//!
//! A task is `async fn(TaskContext, I) -> Result<O, Failure>`. What its context reports is sent in the order in which it was
//! said, and all of it before the task's end; what is said after the end is dropped.

mod code;
mod context;
mod middleware;

pub use context::TaskContext;
pub use middleware::{Invocation, InvocationKind, Middleware, Next};

pub(crate) use code::TaskCode;
pub(crate) use context::TaskNews;
pub(crate) use middleware::Chain;
