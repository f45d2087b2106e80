//! Passing a call on to the member that leads.
//!
//! Whole requests are passed on, whatever they carry, so a call means the same at every member. The leader believes the
//! identity in the header [`CALLER`] only when another member's certificate vouches for it.

use super::answer::{Body, refusal};
use super::guard::Guarded;
use http::{HeaderName, HeaderValue, Request, Response, Version, header};
use orlop_client::chain;
use orlop_identity::Caller;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tower::ServiceExt;

/// Who made a call that a member passes on.
pub(crate) const CALLER: HeaderName = HeaderName::from_static("orlop-caller");

/// How long a call waits for the members to have a leader.
const ELECTION: Duration = Duration::from_secs(3);

const NO_LEADER: &str = "the control plane has no leader: fewer than half of its members reach each other, or they are \
                         electing one; `orlopctl cluster status` says which are there";

impl Guarded {
    /// Sends a request to the leader. Gives the request back when this member leads by then. `leave` is cancelled when there
    /// is no leader to be found from here.
    pub(super) async fn forward(
        &self,
        caller: &Caller,
        mut request: Request<Body>,
        leave: &CancellationToken,
    ) -> Result<Response<Body>, Box<Request<Body>>> {
        let unavailable = |message: String| refusal(true, &Status::unavailable(message), Some(Duration::ZERO));
        let mut leadership = self.consensus.leadership();
        let known = leadership.wait_for(|leadership| leadership.leader.is_some());
        let leader = match tokio::time::timeout(ELECTION, known).await {
            Ok(Ok(leadership)) => leadership.clone(),
            _ => {
                leave.cancel();
                return Ok(unavailable(NO_LEADER.into()));
            }
        };
        let Some(id) = leader.leader.filter(|id| *id != self.consensus.status().member) else {
            return Err(Box::new(request));
        };
        let Some(address) = leader.address else {
            return Ok(unavailable(format!("member {id} leads, and its address is not known here yet")));
        };
        let headers = request.headers_mut();
        match HeaderValue::from_str(&caller.to_header()) {
            Ok(value) => headers.insert(CALLER, value),
            Err(_) => return Ok(refusal(true, &Status::internal("the caller cannot be passed on"), None)),
        };
        // What belongs to this connection means nothing on another.
        for name in [header::CONNECTION, header::HOST, header::TRANSFER_ENCODING, header::AUTHORIZATION] {
            headers.remove(name);
        }
        *request.version_mut() = Version::HTTP_2;
        match self.peers.channel(id, &address).oneshot(request).await {
            Ok(response) => Ok(response),
            Err(error) => {
                tracing::debug!(leader = id, error = %chain(&error), "a call could not be passed on");
                Ok(unavailable(format!("the leader, member {id}, cannot be reached; try again in a moment")))
            }
        }
    }
}
