//! Answers, as members pass them on.

use super::{list, parsed, required};
use crate::answer::{Answer, Refusal, RefusalKind, RefusedStep};
use crate::state::Lease;
use orlop_model::{Generation, MemberId, ReplicaId, Timestamp};
use orlop_proto::InvalidWire;
use orlop_proto::store::v1 as pb;

macro_rules! enums {
    ($($wire:ty = $domain:ty { $($variant:ident),* $(,)? })*) => {$(
        impl From<$domain> for $wire {
            fn from(value: $domain) -> Self {
                match value {
                    $(<$domain>::$variant => <$wire>::$variant,)*
                }
            }
        }

        impl TryFrom<$wire> for $domain {
            type Error = InvalidWire;

            fn try_from(wire: $wire) -> Result<Self, InvalidWire> {
                match wire {
                    $(<$wire>::$variant => Ok(<$domain>::$variant),)*
                    <$wire>::Unspecified => Err(InvalidWire::missing("")),
                }
            }
        }
    )*};
}

enums! {
    pb::RefusalKind = RefusalKind { NotFound, Conflict, Precondition, Invalid, Exhausted }
}

impl From<&Answer> for pb::Answer {
    fn from(answer: &Answer) -> Self {
        use pb::answer::Kind as Wire;
        let kind = match answer {
            Answer::Done => Wire::Done(pb::Done {}),
            Answer::Refused(refusal) => Wire::Refused(pb::Refused {
                kind: pb::RefusalKind::from(refusal.kind).into(),
                reason: Some((&refusal.reason).into()),
            }),
            Answer::Deployed { generation, changes } => Wire::Deployed(pb::Deployed {
                generation: generation.0,
                changes: changes.iter().map(Into::into).collect(),
            }),
            Answer::Scaled { previous } => Wire::Scaled(pb::Scaled { previous: *previous }),
            Answer::Registered { subnet } => Wire::Registered(pb::Registered { subnet: subnet.to_string() }),
            Answer::Reported { unknown, stale } => Wire::Reported(pb::Reported {
                unknown: unknown.iter().map(ToString::to_string).collect(),
                stale: stale.iter().map(ToString::to_string).collect(),
            }),
            Answer::PlanTaken { refused } => {
                Wire::PlanTaken(pb::PlanTaken { refused: refused.iter().map(Into::into).collect() })
            }
            Answer::Lease { held, lease } => Wire::Lease(pb::LeaseAnswer { held: *held, lease: Some(lease.into()) }),
            Answer::MemberAdded { member } => Wire::MemberAdded(pb::MemberAdded { member: member.0 }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::Answer> for Answer {
    type Error = InvalidWire;

    fn try_from(wire: pb::Answer) -> Result<Self, InvalidWire> {
        use pb::answer::Kind as Wire;
        Ok(match wire.kind.ok_or_else(|| InvalidWire::new("answer", "is not known to this version"))? {
            Wire::Done(pb::Done {}) => Answer::Done,
            Wire::Refused(refused) => Answer::Refused(Refusal {
                kind: pb::RefusalKind::try_from(refused.kind)
                    .map_err(|e| InvalidWire::new("refused.kind", e.to_string()))?
                    .try_into()?,
                reason: required("refused.reason", refused.reason)?,
            }),
            Wire::Deployed(deployed) => Answer::Deployed {
                generation: Generation(deployed.generation),
                changes: list("deployed.changes", deployed.changes)?,
            },
            Wire::Scaled(scaled) => Answer::Scaled { previous: scaled.previous },
            Wire::Registered(registered) => {
                Answer::Registered { subnet: parsed("registered.subnet", &registered.subnet)? }
            }
            Wire::Reported(reported) => {
                let ids = |field, ids: Vec<String>| -> Result<Vec<ReplicaId>, InvalidWire> {
                    ids.iter().map(|id| parsed(field, id)).collect()
                };
                Answer::Reported {
                    unknown: ids("reported.unknown", reported.unknown)?,
                    stale: ids("reported.stale", reported.stale)?,
                }
            }
            Wire::PlanTaken(taken) => Answer::PlanTaken { refused: list("plan_taken.refused", taken.refused)? },
            Wire::Lease(answer) => Answer::Lease { held: answer.held, lease: required("lease.lease", answer.lease)? },
            Wire::MemberAdded(added) => Answer::MemberAdded { member: MemberId(added.member) },
        })
    }
}

impl From<&RefusedStep> for pb::RefusedStep {
    fn from(refused: &RefusedStep) -> Self {
        Self { step: refused.step, reason: Some((&refused.reason).into()) }
    }
}

impl TryFrom<pb::RefusedStep> for RefusedStep {
    type Error = InvalidWire;

    fn try_from(wire: pb::RefusedStep) -> Result<Self, InvalidWire> {
        Ok(Self { step: wire.step, reason: required("reason", wire.reason)? })
    }
}

impl From<&Lease> for pb::Lease {
    fn from(lease: &Lease) -> Self {
        Self { holder: lease.holder.clone(), fence: lease.fence, expires_at_ms: lease.expires_at.0 }
    }
}

impl TryFrom<pb::Lease> for Lease {
    type Error = InvalidWire;

    fn try_from(wire: pb::Lease) -> Result<Self, InvalidWire> {
        Ok(Self { holder: wire.holder, fence: wire.fence, expires_at: Timestamp(wire.expires_at_ms) })
    }
}
