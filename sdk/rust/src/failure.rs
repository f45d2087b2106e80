//! Why something did not succeed, made so that `?` works on every error.

use crate::payload;
use orlop_model::durable::{self, FailureCause, Outcome};
use serde::Serialize;
use std::fmt;
use std::ops::Deref;

/// Why a step, a task or a workflow did not succeed; what all user code returns.
///
/// Every [`std::error::Error`] turns into one with `?`: its message is the chain of its causes. For that it is itself no
/// `Error`. The fields of what is written to the journal are read through [`Deref`].
#[derive(Clone, PartialEq, Eq)]
pub struct Failure(Box<durable::Failure>);

impl Failure {
    /// A failure with nothing but a message.
    pub fn new(message: impl Into<String>) -> Self {
        Self::from_domain(durable::Failure::new(FailureCause::Returned, message))
    }

    /// What was asked to end early.
    pub fn cancelled(reason: impl Into<String>) -> Self {
        Self::from_domain(durable::Failure::cancelled(reason))
    }

    /// What nobody could read or write: another attempt ends the same way.
    pub fn unreadable(message: impl Into<String>) -> Self {
        let failure = durable::Failure::new(FailureCause::Unreadable, message);
        Self::from_domain(durable::Failure { is_final: true, ..failure })
    }

    pub(crate) fn panicked(message: String) -> Self {
        Self::from_domain(durable::Failure::new(FailureCause::Panicked, message))
    }

    /// What retry policies go by.
    #[must_use]
    pub fn category(mut self, category: impl Into<String>) -> Self {
        self.0.category = category.into();
        self
    }

    /// Another attempt would end the same way: there is none.
    #[must_use]
    pub fn is_final(mut self) -> Self {
        self.0.is_final = true;
        self
    }

    /// What the caller is to know besides; left out, with a word in the message, if it cannot be encoded.
    #[must_use]
    pub fn details<T: Serialize + ?Sized>(mut self, details: &T) -> Self {
        match payload::encode(details) {
            Ok(details) => self.0.details = Some(details),
            Err(error) => self.0.message = format!("{} (its details cannot be encoded: {error})", self.0.message),
        }
        self
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.cause == FailureCause::Cancelled
    }

    pub(crate) fn into_domain(self) -> durable::Failure {
        *self.0
    }

    pub(crate) fn from_domain(failure: durable::Failure) -> Self {
        Self(Box::new(failure))
    }
}

impl Deref for Failure {
    type Target = durable::Failure;

    fn deref(&self) -> &durable::Failure {
        &self.0
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(next) = cause {
            message = format!("{message}: {next}");
            cause = next.source();
        }
        let trace = format!("{error:?}");
        let failure = durable::Failure::new(FailureCause::Returned, message);
        Self::from_domain(durable::Failure { trace, ..failure })
    }
}

/// What a call ended with, for the journal.
pub(crate) fn outcome(result: Result<durable::Payload, Failure>) -> Outcome {
    match result {
        Ok(payload) => Outcome::Ok(payload),
        Err(failure) => Outcome::Failed(failure.into_domain()),
    }
}

/// What a call ended with, for user code.
pub(crate) fn result(outcome: Outcome) -> Result<durable::Payload, Failure> {
    match outcome {
        Outcome::Ok(payload) => Ok(payload),
        Outcome::Failed(failure) => Err(Failure::from_domain(failure)),
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked without a word".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::num::ParseIntError);

    #[test]
    fn any_error_is_a_failure_with_all_its_causes() {
        fn parse() -> Result<u8, Failure> {
            Ok("x".parse::<u8>().map_err(Outer)?)
        }
        let failure = parse().unwrap_err();
        assert_eq!(failure.message, "outer: invalid digit found in string");
        assert!(failure.trace.contains("Outer"));
        assert!(!failure.is_final && failure.cause == FailureCause::Returned);
    }

    #[test]
    fn details_that_cannot_be_encoded_are_said_and_left_out() {
        let failure = Failure::new("no").category("declined").is_final().details(&f64::NAN);
        assert!(failure.details.is_none() && failure.is_final && failure.category == "declined");
        assert!(failure.message.contains("NaN"), "{failure}");
    }
}
