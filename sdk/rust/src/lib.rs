//! Durable tasks and workflows as plain async functions.

pub mod client;
mod failure;
mod options;
pub mod payload;
pub mod replay;
pub mod task;
pub mod worker;
pub mod workflow;

pub use client::Client;
pub use failure::Failure;
pub use orlop_model::durable::RetryPolicy;
pub use task::TaskContext;
pub use worker::{Error, Worker};
pub use workflow::WorkflowContext;
