//! `orlop.scheduler.v1`: plans.

use crate::InvalidWire;
use crate::invalid::{choice, list, parsed, required};
use crate::scheduler::v1 as pb;
use orlop_model::plan::{Plan, Step};
use orlop_model::{Generation, Revision};

/// The most steps of one plan; a planner with more to do sends them in the next one.
pub const STEPS_MAX: usize = 100_000;

/// When to plan again is the scheduler's own business and does not travel.
impl From<&Plan> for pb::Plan {
    fn from(plan: &Plan) -> Self {
        Self { revision: plan.revision.0, steps: plan.steps.iter().map(Into::into).collect() }
    }
}

impl TryFrom<pb::Plan> for Plan {
    type Error = InvalidWire;

    fn try_from(wire: pb::Plan) -> Result<Self, InvalidWire> {
        Ok(Self { revision: Revision(wire.revision), steps: list("steps", wire.steps, STEPS_MAX)?, wake_at: None })
    }
}

impl From<&Step> for pb::Step {
    fn from(step: &Step) -> Self {
        use pb::step::Step as Wire;
        let step = match step {
            Step::Start { replica, service, slot, generation, node, why } => Wire::Start(pb::StartStep {
                replica: replica.to_string(),
                service: Some(service.into()),
                slot: *slot,
                generation: generation.0,
                node: node.to_string(),
                why: Some(why.into()),
            }),
            Step::Stop { replica, order, why } => Wire::Stop(pb::StopStep {
                replica: replica.to_string(),
                order: crate::cluster::v1::StopOrder::from(*order).into(),
                why: Some(why.into()),
            }),
            Step::Forget { replica } => Wire::Forget(pb::ForgetStep { replica: replica.to_string() }),
            Step::Note { service, generation, status } => Wire::Note(pb::NoteStep {
                service: Some(service.into()),
                generation: generation.0,
                status: Some(status.into()),
            }),
            Step::Remove { service } => Wire::Remove(pb::RemoveStep { service: Some(service.into()) }),
        };
        Self { step: Some(step) }
    }
}

impl TryFrom<pb::Step> for Step {
    type Error = InvalidWire;

    fn try_from(wire: pb::Step) -> Result<Self, InvalidWire> {
        use pb::step::Step as Wire;
        match wire.step.ok_or_else(|| InvalidWire::missing("step"))? {
            Wire::Start(start) => Ok(Step::Start {
                replica: parsed("start.replica", &start.replica)?,
                service: required("start.service", start.service)?,
                slot: start.slot,
                generation: Generation(start.generation),
                node: parsed("start.node", &start.node)?,
                why: required("start.why", start.why)?,
            }),
            Wire::Stop(stop) => Ok(Step::Stop {
                replica: parsed("stop.replica", &stop.replica)?,
                order: choice::<crate::cluster::v1::StopOrder, _>("stop.order", stop.order)?,
                why: required("stop.why", stop.why)?,
            }),
            Wire::Forget(forget) => Ok(Step::Forget { replica: parsed("forget.replica", &forget.replica)? }),
            Wire::Note(note) => Ok(Step::Note {
                service: required("note.service", note.service)?,
                generation: Generation(note.generation),
                status: required("note.status", note.status)?,
            }),
            Wire::Remove(remove) => Ok(Step::Remove { service: required("remove.service", remove.service)? }),
        }
    }
}
