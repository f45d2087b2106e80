//! What can go wrong between an operator and a cluster, as sentences with what to do next.

use crate::address::{Address, InvalidAddress};
use orlop_proto::InvalidWire;
use std::error::Error as _;
use tonic::{Code, Status};

/// A call that did not succeed. Each variant is something that a caller may treat differently.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The address itself is no good.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// Nobody answers at the address.
    #[error("no control plane answers at {address}: {problem}; {remedy}")]
    Unreachable {
        /// What was dialled.
        address: Address,
        /// What the system said.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The connection broke in the middle of a call, which may or may not have been done.
    #[error(
        "lost the connection to the control plane at {address} ({problem}); look at what was done with `orlopctl status`, then try again"
    )]
    Lost {
        /// What was dialled.
        address: Address,
        /// What the transport said.
        problem: String,
    },
    /// What was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// Somebody else was faster (compare-and-set).
    #[error("{0}")]
    Conflict(String),
    /// The control plane does not take what was sent.
    #[error("{0}")]
    Invalid(String),
    /// It cannot be done as things stand.
    #[error("{0}")]
    Refused(String),
    /// Something behind the control plane is away for now, such as a node's agent.
    #[error("{0}; it may come back, try again in a moment")]
    Unavailable(String),
    /// It took too long.
    #[error("{0}")]
    TimedOut(String),
    /// The control plane is of another version.
    #[error(
        "the control plane at {address} does not know this call: it is older than this program; upgrade it, or use the orlopctl it came with"
    )]
    Unsupported {
        /// What was dialled.
        address: Address,
    },
    /// The answer makes no sense to this version.
    #[error("the control plane's answer cannot be read by this version ({0}); use the orlopctl that came with it")]
    Answer(InvalidWire),
    /// Anything else: a defect, told as the control plane told it.
    #[error("the control plane failed: {0}; its log says more")]
    Failed(String),
}

impl From<InvalidWire> for Error {
    fn from(invalid: InvalidWire) -> Self {
        Error::Answer(invalid)
    }
}

impl Error {
    /// Reads a gRPC status that came from `address`.
    pub fn from_status(status: &Status, address: &Address) -> Self {
        if let Some(io) = dial_error(status) {
            return unreachable(&io, address);
        }
        let message = status.message().to_owned();
        let said = |fallback: &str| if message.is_empty() { fallback.to_owned() } else { message.clone() };
        match status.code() {
            Code::NotFound => Error::NotFound(said("there is no such thing")),
            Code::Aborted => Error::Conflict(said("somebody else changed it first; look at it and try again")),
            Code::InvalidArgument | Code::OutOfRange => Error::Invalid(said("the request is invalid")),
            Code::FailedPrecondition | Code::AlreadyExists | Code::PermissionDenied | Code::ResourceExhausted => {
                Error::Refused(said("the control plane refused"))
            }
            Code::DeadlineExceeded => Error::TimedOut(said("the control plane took too long")),
            Code::Unimplemented => Error::Unsupported { address: address.clone() },
            // A status that the transport made has its cause; one that the control plane sent has not.
            _ if status.source().is_some() => Error::Lost { address: address.clone(), problem: innermost(status) },
            Code::Unavailable => Error::Unavailable(said("the control plane cannot do it now")),
            code => Error::Failed(said(code.description())),
        }
    }

    /// May the same call succeed later without anybody doing anything?
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Unreachable { .. } | Error::Lost { .. } | Error::Unavailable(_))
    }
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The reason a connection could not be made, if that is what the status is about.
fn dial_error(status: &Status) -> Option<String> {
    let mut cause = status.source();
    let mut dialled = false;
    while let Some(error) = cause {
        dialled |= error.is::<tonic::ConnectError>();
        cause = error.source();
    }
    dialled.then(|| innermost(status))
}

fn unreachable(problem: &str, address: &Address) -> Error {
    let remedy = match address {
        Address::Unix(_) if problem.contains("ermission denied") => {
            "run this as root, or as a user who may write to the socket"
        }
        _ => "is it running? Start a cluster with `orlopctl dev`, or give another --address",
    };
    Error::Unreachable { address: address.clone(), problem: problem.to_owned(), remedy }
}

/// The last cause in the chain: what the system said, without the layers that passed it on.
fn innermost(status: &Status) -> String {
    let mut innermost: &dyn std::error::Error = status;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Address {
        "unix:/run/x.sock".parse().expect("an address")
    }

    #[test]
    fn what_the_control_plane_says_is_kept_and_sorted() {
        for (status, expected) in [
            (Status::not_found("no service shop/ap"), Error::NotFound("no service shop/ap".into())),
            (Status::aborted("generation is 4"), Error::Conflict("generation is 4".into())),
            (Status::invalid_argument("services: x"), Error::Invalid("services: x".into())),
            (Status::failed_precondition("full"), Error::Refused("full".into())),
            (Status::unavailable("alpha is away"), Error::Unavailable("alpha is away".into())),
            (Status::unimplemented(""), Error::Unsupported { address: address() }),
            (Status::internal("boom"), Error::Failed("boom".into())),
        ] {
            assert_eq!(Error::from_status(&status, &address()), expected);
        }
    }

    #[tokio::test]
    async fn a_missing_socket_says_how_to_start_a_cluster() {
        let folder = tempfile::tempdir().expect("a folder");
        let address = Address::Unix(folder.path().join("none.sock"));
        let channel = address.channel().expect("a channel");
        let status = orlop_proto::operator::v1::operator_service_client::OperatorServiceClient::new(channel)
            .list_images(orlop_proto::operator::v1::ListImagesRequest {})
            .await
            .expect_err("nobody listens");
        let error = Error::from_status(&status, &address);
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains("orlopctl dev"), "{error}");
        assert!(error.to_string().contains("No such file"), "{error}");
    }
}
