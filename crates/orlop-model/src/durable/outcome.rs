//! What calls are given and what comes of them.

use bytes::Bytes;

/// A value of the user, which nobody but the user's code looks into.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Payload {
    /// The value, encoded.
    pub data: Bytes,
    /// How; empty is JSON.
    pub encoding: String,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With a value.
    Ok(Payload),
    /// Without.
    Failed(Failure),
}

/// Why a step, a task or a workflow did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For people.
    pub message: String,
    /// What retry policies go by, chosen by the user's code; empty for unspecified.
    pub category: String,
    /// Another attempt would end the same way, says the user's code.
    pub is_final: bool,
    /// What the user's code wants its caller to know besides.
    pub details: Option<Payload>,
    /// Where it happened, as the language prints it.
    pub trace: String,
    /// What kind of failure it is.
    pub cause: FailureCause,
}

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureCause {
    /// The user's code returned it.
    Returned,
    /// The user's code panicked, or raised what it did not mean to.
    Panicked,
    /// A time-out passed; the message says which.
    TimedOut,
    /// It was cancelled.
    Cancelled,
    /// Its worker was lost, more often than the policy allows.
    WorkerLost,
    /// Nobody could read its input or its result.
    Unreadable,
}

impl Failure {
    /// A failure with nothing but a cause and a message.
    pub fn new(cause: FailureCause, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            category: String::new(),
            is_final: false,
            details: None,
            trace: String::new(),
            cause,
        }
    }

    /// It was asked to end early.
    pub fn cancelled(reason: impl Into<String>) -> Self {
        Self { is_final: true, ..Self::new(FailureCause::Cancelled, reason) }
    }
}

impl Outcome {
    /// Whether it succeeded.
    pub const fn is_ok(&self) -> bool {
        matches!(self, Outcome::Ok(_))
    }
}
