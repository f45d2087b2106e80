//! How a command fails: one message, one exit code. The codes are a promise to scripts (docs/orlopctl.md).

use orlop_client::{EngineError, Error};
use std::io;

/// It was done.
pub(crate) const OK: u8 = 0;
/// Anything without a code of its own.
pub(crate) const FAILED: u8 = 1;
/// The command line makes no sense.
pub(crate) const USAGE: u8 = 2;
/// The spec file, or what it asks for, is not valid.
pub(crate) const INVALID_SPEC: u8 = 3;
/// What was named does not exist.
pub(crate) const NOT_FOUND: u8 = 4;
/// No control plane answers, or it went away.
pub(crate) const UNREACHABLE: u8 = 5;
/// `--timeout` passed.
pub(crate) const TIMED_OUT: u8 = 6;
/// Somebody else changed it first.
pub(crate) const CONFLICT: u8 = 7;

/// What was waited for does not come up by itself.
pub(crate) const NOT_UP: u8 = 8;

/// The table that `orlopctl help exit-codes` prints.
pub(crate) const EXIT_CODES: &str = "\
orlopctl ends with one of these codes:

  0  it was done
  1  it failed; the message says why
  2  the command line is wrong
  3  the spec file, or what it asks for, is not valid
  4  what was named does not exist
  5  no control plane answers at the address, or it went away
  6  --timeout passed before it was done
  7  somebody else changed it first (between what deploy looked at and what it did, or during --wait)
  8  what --wait waited for does not come up: it failed for good, or again and again

exec ends with the code of the command that it ran: 126 when the program could not be
executed, 127 when there is no such program, 128 + n when signal n ended it.
";

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The process's exit code.
    pub(crate) code: u8,
    /// A sentence with what to do next; empty when everything was said already.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, message)
    }

    /// What failed on this machine, with its causes.
    pub(crate) fn of(error: impl std::error::Error) -> Self {
        Self::new(FAILED, orlop_client::chain(&error))
    }

    /// The same with [`INVALID_SPEC`] where the control plane found the request invalid: it was made from a spec.
    pub(crate) fn of_spec(error: Error) -> Self {
        let code = if matches!(error, Error::Invalid(_)) { INVALID_SPEC } else { code_of(&error) };
        Self::new(code, error.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(code_of(&error), error.to_string())
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let code = match &error {
            EngineError::Address(_) => USAGE,
            EngineError::Unreachable { .. } => UNREACHABLE,
            EngineError::NotFound(_) => NOT_FOUND,
            EngineError::TimedOut(_) => TIMED_OUT,
            EngineError::Refused(_) | EngineError::Failed(_) => FAILED,
        };
        Self::new(code, error.to_string())
    }
}

/// An output that nobody reads any more (`orlopctl logs … | head`) is no failure.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(OK, ""),
            _ => Self::new(FAILED, format!("cannot write the output: {error}")),
        }
    }
}

fn code_of(error: &Error) -> u8 {
    match error {
        Error::Address(_) => USAGE,
        Error::Unreachable { .. } | Error::Lost { .. } => UNREACHABLE,
        Error::NotFound(_) => NOT_FOUND,
        Error::Conflict(_) => CONFLICT,
        Error::TimedOut(_) => TIMED_OUT,
        Error::Invalid(_)
        | Error::Refused(_)
        | Error::Unavailable(_)
        | Error::Unsupported { .. }
        | Error::Answer(_)
        | Error::Failed(_) => FAILED,
    }
}
