//! What schedulers say.

use crate::control::Control;
use crate::front::Connection;
use crate::service::required;
use crate::{lease, status};
use orlop_proto::scheduler::v1 as pb;
use orlop_state::command::SubmitPlan;
use orlop_state::{Answer, Kind};
use tonic::{Request, Response, Status};

pub(crate) struct Service(pub(crate) Control);

#[tonic::async_trait]
impl pb::scheduler_service_server::SchedulerService for Service {
    async fn acquire_lease(
        &self,
        request: Request<pb::AcquireLeaseRequest>,
    ) -> Result<Response<pb::AcquireLeaseResponse>, Status> {
        let connection = request.extensions().get::<Connection>().cloned();
        let pb::AcquireLeaseRequest { holder, ttl_ms } = request.into_inner();
        let (held, lease) = lease::acquire(&self.0, holder, ttl_ms).await?;
        if let (true, Some(connection)) = (held, connection) {
            lease::tie(&self.0, &lease, connection);
        }
        Ok(Response::new(pb::AcquireLeaseResponse {
            fence: lease.fence,
            held,
            holder: lease.holder,
            expires_at_ms: lease.expires_at.0,
        }))
    }

    async fn submit_plan(
        &self,
        request: Request<pb::SubmitPlanRequest>,
    ) -> Result<Response<pb::SubmitPlanResponse>, Status> {
        let pb::SubmitPlanRequest { fence, plan } = request.into_inner();
        let plan = SubmitPlan { fence, plan: required("plan", plan)? };
        match self.0.submit(Kind::SubmitPlan(plan)).await? {
            (revision, Answer::PlanTaken { refused }) => Ok(Response::new(pb::SubmitPlanResponse {
                revision: revision.0,
                refused: refused
                    .iter()
                    .map(|r| pb::RefusedStep { step: r.step, reason: Some((&r.reason).into()) })
                    .collect(),
            })),
            (_, answer) => Err(status::unexpected(&answer)),
        }
    }
}
