//! Asking for a change, and again when its answer was lost: under an id by which it is made once.

use crate::address::Address;
use crate::error::Error;
use orlop_proto::metadata::REQUEST_ID;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tonic::{Request, Response, Status};

/// How long a change is asked for again while members go away.
const RETRY_FOR: Duration = Duration::from_secs(10);
const RETRY_EVERY: Duration = Duration::from_millis(100);

/// Asks for a change. It is asked for again when a member went away meanwhile and there are others, or when another took
/// over; for a while and under the same id: what was done already is answered, not done twice.
pub(crate) async fn change<Q: Clone, A>(
    address: &Address,
    request: &Q,
    ask: impl AsyncFn(Request<Q>) -> Result<Response<A>, Status>,
) -> Result<A, Error> {
    let id = uuid::Uuid::new_v4().to_string();
    let until = Instant::now() + RETRY_FOR;
    loop {
        let mut call = Request::new(request.clone());
        if let Ok(id) = id.parse() {
            call.metadata_mut().insert(REQUEST_ID, id);
        }
        match ask(call).await.map_err(|status| Error::from_status(&status, address)) {
            Err(error) if may_come_back(address, &error) && Instant::now() < until => sleep(RETRY_EVERY).await,
            answer => return answer.map(Response::into_inner),
        }
    }
}

fn may_come_back(address: &Address, error: &Error) -> bool {
    match error {
        // Whether it was made, nobody knows; asking again under its id tells.
        Error::TimedOut(_) => true,
        error => matches!(address, Address::Members(_) | Address::Joined(_)) && error.is_transient(),
    }
}
