//! `orlop.cluster.v1`: the objects of a cluster.

use super::enums;
use super::spec::port_of;
use crate::cluster::v1 as pb;
use crate::invalid::{bounded, choice, list, optional, parsed, required, text, word};
use crate::{InvalidWire, Within};
use orlop_model::lifecycle::{Desired, Health, Outcome, Phase};
use orlop_model::trust::{SECRET_BYTES_MAX, SecretName, SecretValue};
use orlop_model::*;
use std::sync::Arc;

enums! {
    pb::StopOrder = StopOrder { Graceful, Forced }
    pb::Level = Level { Info, Warning, Error }
}

impl From<&ServiceRef> for pb::ServiceRef {
    fn from(name: &ServiceRef) -> Self {
        Self { deployment: name.deployment.to_string(), service: name.service.to_string() }
    }
}

impl TryFrom<pb::ServiceRef> for ServiceRef {
    type Error = InvalidWire;

    fn try_from(wire: pb::ServiceRef) -> Result<Self, InvalidWire> {
        Ok(Self { deployment: parsed("deployment", &wire.deployment)?, service: parsed("service", &wire.service)? })
    }
}

/// Cuts a message that is too long, so that a talkative error cannot keep a report from being taken.
impl From<&Reason> for pb::Reason {
    fn from(reason: &Reason) -> Self {
        Self { code: cut(&reason.code, limit::WORD_BYTES_MAX), message: cut(&reason.message, limit::MESSAGE_BYTES_MAX) }
    }
}

impl TryFrom<pb::Reason> for Reason {
    type Error = InvalidWire;

    fn try_from(wire: pb::Reason) -> Result<Self, InvalidWire> {
        Ok(Self {
            code: word("code", wire.code, limit::WORD_BYTES_MAX)?,
            message: text("message", wire.message, limit::MESSAGE_BYTES_MAX)?,
        })
    }
}

impl From<&ServiceState> for pb::ServiceState {
    fn from(service: &ServiceState) -> Self {
        Self {
            name: Some((&service.name).into()),
            generation: service.generation.0,
            workload_generation: service.workload_generation.0,
            spec: Some((&*service.spec).into()),
            replicas: service.replicas,
            changed_at_ms: service.changed_at.0,
            stopping: order(service.stopping),
            status: Some((&service.status).into()),
            faults: service.faults.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::ServiceState> for ServiceState {
    type Error = InvalidWire;

    fn try_from(wire: pb::ServiceState) -> Result<Self, InvalidWire> {
        Ok(Self {
            name: required("name", wire.name)?,
            generation: Generation(wire.generation),
            workload_generation: Generation(wire.workload_generation),
            spec: Arc::new(required("spec", wire.spec)?),
            replicas: bounded("replicas", wire.replicas, 0..=check::REPLICAS_MAX)?,
            changed_at: Timestamp(wire.changed_at_ms),
            stopping: order_of("stopping", wire.stopping)?,
            status: required("status", wire.status)?,
            faults: list("faults", wire.faults, limit::ITEMS_MAX)?,
        })
    }
}

impl From<&EndpointFault> for pb::EndpointFault {
    fn from(fault: &EndpointFault) -> Self {
        Self {
            endpoint: fault.endpoint.to_string(),
            node: fault.node.to_string(),
            since_ms: fault.since.0,
            reason: Some((&fault.reason).into()),
        }
    }
}

impl TryFrom<pb::EndpointFault> for EndpointFault {
    type Error = InvalidWire;

    fn try_from(wire: pb::EndpointFault) -> Result<Self, InvalidWire> {
        Ok(Self {
            endpoint: parsed("endpoint", &wire.endpoint)?,
            node: parsed("node", &wire.node)?,
            since: Timestamp(wire.since_ms),
            reason: required("reason", wire.reason)?,
        })
    }
}

impl From<&ServiceStatus> for pb::ServiceStatus {
    fn from(status: &ServiceStatus) -> Self {
        Self {
            blocked: status.blocked.iter().map(Into::into).collect(),
            dependency_fault: status.dependency_fault.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<pb::ServiceStatus> for ServiceStatus {
    type Error = InvalidWire;

    fn try_from(wire: pb::ServiceStatus) -> Result<Self, InvalidWire> {
        Ok(Self {
            blocked: list("blocked", wire.blocked, limit::ITEMS_MAX)?,
            dependency_fault: optional("dependency_fault", wire.dependency_fault)?,
        })
    }
}

impl From<&DependencyFault> for pb::DependencyFault {
    fn from(fault: &DependencyFault) -> Self {
        Self { generation: fault.generation.0, failed: fault.failed, reason: Some((&fault.reason).into()) }
    }
}

impl TryFrom<pb::DependencyFault> for DependencyFault {
    type Error = InvalidWire;

    fn try_from(wire: pb::DependencyFault) -> Result<Self, InvalidWire> {
        Ok(Self {
            generation: Generation(wire.generation),
            failed: wire.failed,
            reason: required("reason", wire.reason)?,
        })
    }
}

impl From<&Replica> for pb::Replica {
    fn from(replica: &Replica) -> Self {
        Self {
            id: replica.id.to_string(),
            service: Some((&replica.service).into()),
            slot: replica.slot,
            generation: replica.generation.0,
            node: replica.node.to_string(),
            stop: order(match replica.desired {
                Desired::Run => None,
                Desired::Stop(order) => Some(order),
            }),
            status: Some((&replica.status).into()),
            reserved_cpu_millis: replica.reserved.cpu.map(|cpu| cpu.0),
            reserved_memory_bytes: replica.reserved.memory.map(|memory| memory.0),
        }
    }
}

impl TryFrom<pb::Replica> for Replica {
    type Error = InvalidWire;

    fn try_from(wire: pb::Replica) -> Result<Self, InvalidWire> {
        Ok(Self {
            id: parsed("id", &wire.id)?,
            service: required("service", wire.service)?,
            slot: wire.slot,
            generation: Generation(wire.generation),
            node: parsed("node", &wire.node)?,
            desired: order_of("stop", wire.stop)?.map_or(Desired::Run, Desired::Stop),
            status: required("status", wire.status)?,
            reserved: Resources {
                cpu: wire.reserved_cpu_millis.map(Cpu),
                memory: wire.reserved_memory_bytes.map(Memory),
            },
        })
    }
}

impl From<&ReplicaStatus> for pb::ReplicaStatus {
    fn from(status: &ReplicaStatus) -> Self {
        let (phase, retry_at) = match status.phase {
            Phase::Pending => (pb::Phase::Pending, None),
            Phase::Preparing => (pb::Phase::Preparing, None),
            Phase::Initializing => (pb::Phase::Initializing, None),
            Phase::Starting => (pb::Phase::Starting, None),
            Phase::Running(Health::Unchecked) => (pb::Phase::RunningUnchecked, None),
            Phase::Running(Health::Healthy) => (pb::Phase::RunningHealthy, None),
            Phase::Running(Health::Unhealthy) => (pb::Phase::RunningUnhealthy, None),
            Phase::BackingOff(until) => (pb::Phase::BackingOff, Some(until)),
            Phase::Stopping => (pb::Phase::Stopping, None),
            Phase::Finished(Outcome::Stopped) => (pb::Phase::FinishedStopped, None),
            Phase::Finished(Outcome::Failed) => (pb::Phase::FinishedFailed, None),
            Phase::Finished(Outcome::Isolated) => (pb::Phase::FinishedIsolated, None),
            Phase::Finished(Outcome::Lost) => (pb::Phase::FinishedLost, None),
        };
        Self {
            phase: phase.into(),
            since_ms: status.since.0,
            restarts: status.restarts,
            address: status.address.map(|a| a.to_string()).unwrap_or_default(),
            reason: status.reason.as_ref().map(Into::into),
            last_exit: status.last_exit.as_ref().map(Into::into),
            image_digest: status.image_digest.clone(),
            retry_at_ms: retry_at.unwrap_or_default().0,
            failures: status.failures,
        }
    }
}

impl TryFrom<pb::ReplicaStatus> for ReplicaStatus {
    type Error = InvalidWire;

    fn try_from(wire: pb::ReplicaStatus) -> Result<Self, InvalidWire> {
        let retry_at = Timestamp(wire.retry_at_ms);
        let phase = match pb::Phase::try_from(wire.phase) {
            Ok(pb::Phase::Pending) => Phase::Pending,
            Ok(pb::Phase::Preparing) => Phase::Preparing,
            Ok(pb::Phase::Initializing) => Phase::Initializing,
            Ok(pb::Phase::Starting) => Phase::Starting,
            Ok(pb::Phase::RunningUnchecked) => Phase::Running(Health::Unchecked),
            Ok(pb::Phase::RunningHealthy) => Phase::Running(Health::Healthy),
            Ok(pb::Phase::RunningUnhealthy) => Phase::Running(Health::Unhealthy),
            Ok(pb::Phase::BackingOff) => Phase::BackingOff(retry_at),
            Ok(pb::Phase::Stopping) => Phase::Stopping,
            Ok(pb::Phase::FinishedStopped) => Phase::Finished(Outcome::Stopped),
            Ok(pb::Phase::FinishedFailed) => Phase::Finished(Outcome::Failed),
            Ok(pb::Phase::FinishedIsolated) => Phase::Finished(Outcome::Isolated),
            Ok(pb::Phase::FinishedLost) => Phase::Finished(Outcome::Lost),
            Ok(pb::Phase::Unspecified) => return Err(InvalidWire::missing("phase")),
            Err(_) => {
                return Err(InvalidWire::new(
                    "phase",
                    format!("found {}, which this version does not know; is the sender newer?", wire.phase),
                ));
            }
        };
        if wire.retry_at_ms != 0 && !matches!(phase, Phase::BackingOff(_)) {
            return Err(InvalidWire::new("retry_at_ms", format!("is set, but the phase is {}", phase.word())));
        }
        Ok(Self {
            phase,
            since: Timestamp(wire.since_ms),
            restarts: wire.restarts,
            failures: wire.failures,
            address: match wire.address.as_str() {
                "" => None,
                address => Some(parsed("address", address)?),
            },
            reason: optional("reason", wire.reason)?,
            last_exit: optional("last_exit", wire.last_exit)?,
            image_digest: wire.image_digest.map(|d| word("image_digest", d, limit::WORD_BYTES_MAX)).transpose()?,
        })
    }
}

impl From<&Exit> for pb::Exit {
    fn from(exit: &Exit) -> Self {
        Self { code: exit.code, out_of_memory: exit.out_of_memory, at_ms: exit.at.0 }
    }
}

impl TryFrom<pb::Exit> for Exit {
    type Error = InvalidWire;

    fn try_from(wire: pb::Exit) -> Result<Self, InvalidWire> {
        Ok(Self { code: wire.code, out_of_memory: wire.out_of_memory, at: Timestamp(wire.at_ms) })
    }
}

impl From<&Event> for pb::Event {
    fn from(event: &Event) -> Self {
        Self {
            sequence: event.sequence,
            at_ms: event.at.0,
            level: pb::Level::from(event.level).into(),
            subject: Some((&event.subject).into()),
            reason: Some((&event.reason).into()),
        }
    }
}

impl TryFrom<pb::Event> for Event {
    type Error = InvalidWire;

    fn try_from(wire: pb::Event) -> Result<Self, InvalidWire> {
        Ok(Self {
            sequence: wire.sequence,
            at: Timestamp(wire.at_ms),
            level: choice::<pb::Level, _>("level", wire.level)?,
            subject: required("subject", wire.subject)?,
            reason: required("reason", wire.reason)?,
        })
    }
}

impl From<&Subject> for pb::Subject {
    fn from(subject: &Subject) -> Self {
        Self {
            deployment: subject.deployment.as_ref().map(ToString::to_string),
            service: subject.service.as_ref().map(ToString::to_string),
            replica: subject.replica.as_ref().map(ToString::to_string),
            slot: subject.slot,
            node: subject.node.as_ref().map(ToString::to_string),
        }
    }
}

impl TryFrom<pb::Subject> for Subject {
    type Error = InvalidWire;

    fn try_from(wire: pb::Subject) -> Result<Self, InvalidWire> {
        Ok(Self {
            deployment: wire.deployment.map(|d| parsed("deployment", &d)).transpose()?,
            service: wire.service.map(|s| parsed("service", &s)).transpose()?,
            replica: wire.replica.map(|r| parsed("replica", &r)).transpose()?,
            slot: wire.slot,
            node: wire.node.map(|n| parsed("node", &n)).transpose()?,
        })
    }
}

impl From<&Route> for pb::Route {
    fn from(route: &Route) -> Self {
        Self {
            service: Some((&route.service).into()),
            endpoint: Some((&route.endpoint).into()),
            backends: route.backends.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::Route> for Route {
    type Error = InvalidWire;

    fn try_from(wire: pb::Route) -> Result<Self, InvalidWire> {
        Ok(Self {
            service: required("service", wire.service)?,
            endpoint: required("endpoint", wire.endpoint)?,
            // An update may have old and new replicas ready side by side.
            backends: list("backends", wire.backends, 2 * check::REPLICAS_MAX as usize)?,
        })
    }
}

impl From<&Backend> for pb::Backend {
    fn from(backend: &Backend) -> Self {
        Self {
            replica: backend.replica.to_string(),
            slot: backend.slot,
            address: backend.address.to_string(),
            port: backend.port.into(),
            node: backend.node.to_string(),
        }
    }
}

impl TryFrom<pb::Backend> for Backend {
    type Error = InvalidWire;

    fn try_from(wire: pb::Backend) -> Result<Self, InvalidWire> {
        Ok(Self {
            replica: parsed("replica", &wire.replica)?,
            slot: wire.slot,
            address: parsed("address", &wire.address)?,
            port: port_of("port", wire.port)?,
            node: parsed("node", &wire.node)?,
        })
    }
}

impl From<&Assignment> for pb::Assignment {
    fn from(assignment: &Assignment) -> Self {
        let secrets = assignment.secrets.iter().map(|(name, value)| (name.to_string(), value.0.to_vec()));
        Self {
            replica: Some((&assignment.replica).into()),
            workload: Some((&*assignment.workload).into()),
            secrets: secrets.collect(),
        }
    }
}

impl TryFrom<pb::Assignment> for Assignment {
    type Error = InvalidWire;

    fn try_from(wire: pb::Assignment) -> Result<Self, InvalidWire> {
        Ok(Self {
            replica: required("replica", wire.replica)?,
            workload: Arc::new(required("workload", wire.workload)?),
            secrets: wire.secrets.into_iter().map(secret).collect::<Result<_, _>>().within("secrets")?,
        })
    }
}

fn secret((name, value): (String, Vec<u8>)) -> Result<(SecretName, SecretValue), InvalidWire> {
    if value.len() > SECRET_BYTES_MAX {
        let problem = format!("has {} bytes; a secret has at most {SECRET_BYTES_MAX}", value.len());
        return Err(InvalidWire::new(name, problem));
    }
    Ok((parsed("name", &name)?, SecretValue(value.into())))
}

/// A stop order where "none" is the wire's "unspecified".
fn order(order: Option<StopOrder>) -> i32 {
    order.map_or(pb::StopOrder::Unspecified, pb::StopOrder::from).into()
}

fn order_of(field: &str, wire: i32) -> Result<Option<StopOrder>, InvalidWire> {
    if wire == pb::StopOrder::Unspecified as i32 {
        return Ok(None);
    }
    choice::<pb::StopOrder, _>(field, wire).map(Some)
}

/// The text, or its beginning and an ellipsis when it has more than `max` bytes.
fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(max - '…'.len_utf8());
    format!("{}…", &text[..end])
}
