//! What goes wrong, as gRPC statuses: the one place where they are chosen.

use orlop_consensus::{MembersError, SubmitError};
use orlop_identity::access::Denied;
use orlop_state::{Answer, Refusal, RefusalKind};
use tonic::{Code, Status};

pub(crate) fn of_refusal(refusal: Refusal) -> Status {
    let code = match refusal.kind {
        RefusalKind::NotFound => Code::NotFound,
        RefusalKind::Conflict => Code::Aborted,
        RefusalKind::Precondition => Code::FailedPrecondition,
        RefusalKind::Invalid => Code::InvalidArgument,
        RefusalKind::Exhausted => Code::ResourceExhausted,
    };
    Status::new(code, refusal.reason.message)
}

pub(crate) fn of_submit(error: SubmitError) -> Status {
    let message = error.to_string();
    match error {
        SubmitError::NotLeader { .. } | SubmitError::NoLeader { .. } | SubmitError::ShuttingDown => {
            Status::unavailable(message)
        }
        SubmitError::TooLarge { .. } | SubmitError::Full { .. } => Status::resource_exhausted(message),
        // It may have been done: whoever gave the change an id asks again.
        SubmitError::Unknown { .. } => Status::deadline_exceeded(message),
        // Another member takes over, where there is one.
        SubmitError::Broken(_) => Status::unavailable(message),
        _ => Status::internal(message),
    }
}

/// A call that the table of callers does not allow.
pub(crate) fn of_denial(denied: Denied) -> Status {
    let message = denied.to_string();
    match denied {
        Denied::NoSuchMethod(_) => Status::unimplemented(message),
        Denied::Unauthenticated { .. } => Status::unauthenticated(message),
        _ => Status::permission_denied(message),
    }
}

/// A change of the members that was not made.
pub(crate) fn of_membership(error: MembersError) -> Status {
    Status::failed_precondition(error.to_string())
}

/// Is it for want of room on the disk, and so may be done later?
pub(crate) fn is_for_later(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted
}

/// An answer that does not fit its command, which is a defect.
pub(crate) fn unexpected(answer: &Answer) -> Status {
    Status::internal(format!("the state machine answered something else than it was asked: {answer:?}"))
}

pub(crate) fn stopping() -> Status {
    Status::unavailable("the control plane is stopping; connect again")
}
