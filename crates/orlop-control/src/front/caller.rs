//! Who makes a call.

use super::Front;
use super::connection::{Connection, Peer};
use super::forward::CALLER;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use orlop_identity::{Caller, Identity};
use tonic::Status;

/// The longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 4096;

/// Finds out who calls: by the socket, the certificate, or the token; or whom another member says it speaks for. Proof
/// that is no good is an error, not a stranger.
pub(super) fn of(front: &Front, connection: &Connection, headers: &HeaderMap) -> Result<Caller, Status> {
    let certified = match &connection.peer {
        Peer::Socket => return Ok(Caller::LocalAdmin),
        Peer::Tls(_, Some(found)) => {
            front.trust.check(found)?;
            Some(found)
        }
        Peer::Tls(_, None) | Peer::Loopback(_) => None,
    };
    if let Some(found) = certified {
        let Some(passed) = headers.get(CALLER) else { return Ok(Caller::Certificate(found.clone())) };
        if !matches!(found.identity, Identity::Member { .. }) {
            return Err(Status::permission_denied("only members pass on the calls of others"));
        }
        let passed =
            passed.to_str().map_err(|_| Status::invalid_argument("the caller that was passed on is no text"))?;
        return Caller::from_header(passed).map_err(|invalid| Status::invalid_argument(invalid.to_string()));
    }
    match token(headers) {
        None => Ok(Caller::Anonymous),
        Some(token) => front.trust.operator(token?),
    }
}

/// The token that a request presents, if it presents one.
pub(super) fn token(headers: &HeaderMap) -> Option<Result<&str, Status>> {
    let token = headers.get(AUTHORIZATION)?.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let token = token.filter(|token| token.len() <= TOKEN_BYTES_MAX);
    Some(token.ok_or_else(|| Status::unauthenticated("authorization is not of the form: Bearer TOKEN")))
}
