//! The two calls that a scheduler makes.

use orlop_model::plan::Plan;
use orlop_model::{Reason, Revision};
use orlop_proto::scheduler::v1 as pb;
use pb::scheduler_service_client::SchedulerServiceClient;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// How long a submission may take; one that is lost costs nothing, the next pass plans again.
const SUBMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// The control plane, as schedulers know it.
#[derive(Clone)]
pub(crate) struct Control(SchedulerServiceClient<Channel>);

/// The answer to asking for the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LeaseAnswer {
    Held { fence: u64 },
    HeldByOther { holder: String, expires_at_ms: u64 },
}

/// The answer to a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The revision at which it was applied.
    pub(crate) revision: Revision,
    /// The steps that did not hold any more, by their index.
    pub(crate) refused: Vec<(usize, Reason)>,
}

impl Control {
    pub(crate) fn new(channel: Channel) -> Self {
        let limit = orlop_client::MESSAGE_BYTES_MAX;
        Self(SchedulerServiceClient::new(channel).max_decoding_message_size(limit).max_encoding_message_size(limit))
    }

    /// Takes or renews the lease; a `ttl` of zero gives it back.
    pub(crate) async fn acquire_lease(mut self, holder: String, ttl: Duration) -> Result<LeaseAnswer, Status> {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let mut request = Request::new(pb::AcquireLeaseRequest { holder, ttl_ms });
        request.set_timeout(ttl.max(Duration::from_secs(1)));
        let answer = self.0.acquire_lease(request).await?.into_inner();
        Ok(match answer.held {
            true => LeaseAnswer::Held { fence: answer.fence },
            false => LeaseAnswer::HeldByOther { holder: answer.holder, expires_at_ms: answer.expires_at_ms },
        })
    }

    pub(crate) async fn submit(mut self, fence: u64, plan: Plan) -> Result<Taken, Status> {
        let mut request = Request::new(pb::SubmitPlanRequest { fence, plan: Some((&plan).into()) });
        request.set_timeout(SUBMIT_TIMEOUT);
        let answer = self.0.submit_plan(request).await?.into_inner();
        let refused = answer.refused.into_iter().map(|refused| {
            let reason = refused.reason.unwrap_or_default();
            (refused.step as usize, Reason::new(reason.code, reason.message))
        });
        Ok(Taken { revision: Revision(answer.revision), refused: refused.collect() })
    }
}
