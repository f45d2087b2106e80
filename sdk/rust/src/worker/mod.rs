//! The worker: one stream to an engine, and the tasks and runs that come over it.
//!
//! What is promised: it connects again for ever; a task that still runs when a stream breaks is announced on the next one, and
//! its result kept until it is sent; runs are forgotten with their stream and come again with their journal. A worker that is
//! asked to stop takes nothing new, waits for its tasks for the grace, and gives the rest back.

mod backoff;
mod builder;
mod held;
mod opening;
mod outgoing;
mod run;
mod session;

pub(crate) use backoff::Backoff;
pub(crate) use builder::endpoints;
pub use builder::{Worker, WorkerBuilder};

/// Why a worker or a client cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing can be dialled there.
    #[error("{address:?} is no address of an engine, such as http://127.0.0.1:7420: {source}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        source: tonic::transport::Error,
    },
    /// A queue cannot have this name.
    #[error(transparent)]
    Queue(#[from] orlop_model::durable::InvalidQueueName),
    /// The engine cannot be reached.
    #[error("the engine cannot be reached: {0}")]
    Unreachable(#[source] tonic::transport::Error),
    /// The engine refused.
    #[error("the engine says: {} ({:?})", .0.message(), .0.code())]
    Refused(#[source] Box<tonic::Status>),
    /// What came is not what the protocol says.
    #[error("the engine said something that cannot be read: {0}")]
    Unreadable(String),
    /// The stream ended, or nothing came over it.
    #[error("the stream ended: {0}")]
    Lost(&'static str),
    /// A value cannot be encoded, or an option is wrong.
    #[error("{0}")]
    Invalid(String),
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        Error::Refused(Box::new(status))
    }
}

impl From<orlop_proto::InvalidWire> for Error {
    fn from(error: orlop_proto::InvalidWire) -> Self {
        Error::Unreadable(error.to_string())
    }
}
