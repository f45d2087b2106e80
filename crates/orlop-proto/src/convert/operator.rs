//! `orlop.operator.v1`: what a deploy changes, and deployments.

use super::enums;
use crate::InvalidWire;
use crate::invalid::{choice, counted, parsed, text};
use crate::operator::v1 as pb;
use orlop_model::{ChangeKind, DeploymentState, Generation, ServiceChange, Timestamp, limit};

enums! {
    pb::ChangeKind = ChangeKind { Unchanged, Added, Removed, Replaced, Updated, Retried }
}

impl From<&ServiceChange> for pb::ServiceChange {
    fn from(change: &ServiceChange) -> Self {
        Self {
            service: change.service.to_string(),
            kind: pb::ChangeKind::from(change.kind).into(),
            fields: change.fields.clone(),
        }
    }
}

impl TryFrom<pb::ServiceChange> for ServiceChange {
    type Error = InvalidWire;

    fn try_from(wire: pb::ServiceChange) -> Result<Self, InvalidWire> {
        // Every item of every list of a service may differ.
        counted("fields", wire.fields.len(), 10 * limit::ITEMS_MAX)?;
        Ok(Self {
            service: parsed("service", &wire.service)?,
            kind: choice::<pb::ChangeKind, _>("kind", wire.kind)?,
            fields: wire
                .fields
                .into_iter()
                .enumerate()
                .map(|(i, field)| text(&format!("fields[{i}]"), field, 2 * limit::MESSAGE_BYTES_MAX))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl From<&DeploymentState> for pb::DeploymentState {
    fn from(deployment: &DeploymentState) -> Self {
        Self {
            name: deployment.name.to_string(),
            generation: deployment.generation.0,
            changed_at_ms: deployment.changed_at.0,
            stopping: deployment.stopping,
        }
    }
}

impl TryFrom<pb::DeploymentState> for DeploymentState {
    type Error = InvalidWire;

    fn try_from(wire: pb::DeploymentState) -> Result<Self, InvalidWire> {
        Ok(Self {
            name: parsed("name", &wire.name)?,
            generation: Generation(wire.generation),
            changed_at: Timestamp(wire.changed_at_ms),
            stopping: wire.stopping,
        })
    }
}
