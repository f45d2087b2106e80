//! What a deploy would do.

use super::deployment::{Change, changes_of};
use super::{Reason, StopOrder};
use orlop_model::plan;
use orlop_proto::InvalidWire;
use orlop_proto::operator::v1 as pb;
use schemars::JsonSchema;
use serde::Serialize;

/// What a deploy would change, and the steps that would follow at once. Nothing was done.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct Plan {
    deployment: String,
    /// The deployment's generation now; 0 when it does not exist. Deploy with `If-Match` to be sure of this plan.
    generation: u64,
    changes: Vec<Change>,
    steps: Vec<Step>,
}

/// One action.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "step", rename_all = "snake_case")]
#[schemars(rename = "PlanStep")]
enum Step {
    /// Place a replica on a node.
    Start {
        /// `deployment/service`.
        service: String,
        slot: u32,
        generation: u64,
        node: String,
        reason: Reason,
    },
    /// End a replica.
    Stop { replica: String, order: StopOrder, reason: Reason },
    /// Forget a replica that is finished.
    Forget { replica: String },
    /// Say of a service what holds it back.
    Note {
        /// `deployment/service`.
        service: String,
        blocked: Vec<Reason>,
    },
    /// Forget a service of which nothing runs.
    Remove {
        /// `deployment/service`.
        service: String,
    },
}

impl Plan {
    pub(in crate::rest) fn of(deployment: String, wire: pb::PlanResponse) -> Result<Self, InvalidWire> {
        let pb::PlanResponse { generation, changes, steps } = wire;
        let steps = steps.into_iter().map(|step| plan::Step::try_from(step).map(|step| Step::from(&step)));
        Ok(Self { deployment, generation, changes: changes_of(changes)?, steps: steps.collect::<Result<_, _>>()? })
    }
}

impl From<&plan::Step> for Step {
    fn from(step: &plan::Step) -> Self {
        match step {
            plan::Step::Start { service, slot, generation, node, why, .. } => Step::Start {
                service: service.to_string(),
                slot: *slot,
                generation: generation.0,
                node: node.to_string(),
                reason: why.into(),
            },
            plan::Step::Stop { replica, order, why } => {
                Step::Stop { replica: replica.to_string(), order: (*order).into(), reason: why.into() }
            }
            plan::Step::Forget { replica } => Step::Forget { replica: replica.to_string() },
            plan::Step::Note { service, status, .. } => {
                Step::Note { service: service.to_string(), blocked: status.blocked.iter().map(Into::into).collect() }
            }
            plan::Step::Remove { service } => Step::Remove { service: service.to_string() },
        }
    }
}
