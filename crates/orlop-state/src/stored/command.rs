//! Commands, as entries of the log.

use super::trust::bytes;
use super::trust_command::{add_member, stored_add_member, trust_command};
use super::{list, parsed, required};
use crate::command::*;
use crate::requests::RequestId;
use orlop_model::plan::Plan;
use orlop_model::{Cpu, Generation, MemberId, Memory, Millis, RouteKey, StopOrder, Timestamp};
use orlop_proto::cluster::v1 as cluster;
use orlop_proto::store::v1 as pb;
use orlop_proto::{InvalidWire, Within, address_of, labels_of, scheduling_of};
use std::collections::BTreeMap;

impl From<&Command> for pb::Command {
    fn from(command: &Command) -> Self {
        use pb::command::Kind as Wire;
        let kind = match &command.kind {
            Kind::InitCluster(c) => Some(Wire::InitCluster(pb::InitCluster {
                cluster: c.cluster.to_string(),
                range: c.range.to_string(),
                trust: c.trust.as_ref().map(Into::into),
            })),
            Kind::Deploy(c) => Some(Wire::Deploy(pb::Deploy {
                deployment: Some((&c.deployment).into()),
                expected_generation: c.expected_generation.map(|g| g.0),
                retry: c.retry,
            })),
            Kind::Scale(c) => Some(Wire::Scale(pb::Scale { service: Some((&c.service).into()), replicas: c.replicas })),
            Kind::Stop(c) => Some(Wire::Stop(pb::Stop {
                deployment: c.deployment.to_string(),
                service: c.service.as_ref().map(ToString::to_string).unwrap_or_default(),
                order: cluster::StopOrder::from(c.order).into(),
            })),
            Kind::RegisterNode(c) => Some(Wire::RegisterNode(pb::RegisterNode {
                node: c.node.to_string(),
                name: c.name.to_string(),
                cpu_millis: c.cpu.0,
                memory_bytes: c.memory.0,
                labels: c.labels.clone(),
                version: c.version.clone(),
                address: c.address.as_ref().map(ToString::to_string).unwrap_or_default(),
            })),
            Kind::JudgeNodes(c) => Some(Wire::JudgeNodes(c.into())),
            Kind::ScheduleNode(c) => Some(Wire::ScheduleNode(pb::ScheduleNode {
                node: c.node.to_string(),
                scheduling: cluster::NodeScheduling::from(c.scheduling).into(),
            })),
            Kind::RemoveNode(c) => {
                Some(Wire::RemoveNode(pb::RemoveNode { node: c.node.to_string(), identity: c.identity.clone() }))
            }
            Kind::ReportReplicas(c) => Some(Wire::ReportReplicas(c.into())),
            Kind::ReportMany(c) => {
                Some(Wire::ReportMany(pb::ReportMany { nodes: c.nodes.iter().map(Into::into).collect() }))
            }
            Kind::SubmitPlan(c) => {
                Some(Wire::SubmitPlan(pb::SubmitPlan { fence: c.fence, plan: Some((&c.plan).into()) }))
            }
            Kind::AcquireLease(c) => {
                Some(Wire::AcquireLease(pb::AcquireLease { holder: c.holder.clone(), ttl_ms: c.ttl.0 }))
            }
            Kind::RecordEvents(c) => {
                Some(Wire::RecordEvents(pb::RecordEvents { events: c.events.iter().map(Into::into).collect() }))
            }
            Kind::ReportEndpoints(c) => Some(Wire::ReportEndpoints(pb::ReportEndpoints {
                node: c.node.to_string(),
                unserved: c.unserved.iter().map(Into::into).collect(),
            })),
            Kind::AddMember(c) => Some(Wire::AddMember(stored_add_member(c))),
            Kind::MoveMember(c) => Some(Wire::MoveMember(pb::MoveMember { id: c.id.0, address: c.address.clone() })),
            Kind::RemoveMember(c) => Some(Wire::RemoveMember(pb::RemoveMember { id: c.id.0 })),
            Kind::Trust(c) => Some(c.into()),
            Kind::Unreadable(_) => None,
        };
        Self {
            at_ms: command.now.0,
            kind,
            caller: command.caller.clone().unwrap_or_default(),
            request: command.request.map(|request| request.0.to_vec()).unwrap_or_default(),
        }
    }
}

impl TryFrom<pb::Command> for Command {
    type Error = InvalidWire;

    fn try_from(wire: pb::Command) -> Result<Self, InvalidWire> {
        use pb::command::Kind as Wire;
        let kind = match wire.kind.ok_or_else(|| InvalidWire::new("kind", "is not known to this version"))? {
            Wire::InitCluster(c) => Kind::InitCluster(InitCluster {
                cluster: parsed("cluster", &c.cluster)?,
                range: parsed("range", &c.range)?,
                trust: c.trust.map(TryInto::try_into).transpose().within("trust")?,
            }),
            Wire::Deploy(c) => Kind::Deploy(Deploy {
                deployment: required("deployment", c.deployment)?,
                expected_generation: c.expected_generation.map(Generation),
                retry: c.retry,
            }),
            Wire::Scale(c) => Kind::Scale(Scale { service: required("service", c.service)?, replicas: c.replicas }),
            Wire::Stop(c) => Kind::Stop(Stop {
                deployment: parsed("deployment", &c.deployment)?,
                service: match c.service.as_str() {
                    "" => None,
                    service => Some(parsed("service", service)?),
                },
                order: stop_order(c.order)?,
            }),
            Wire::RegisterNode(c) => Kind::RegisterNode(RegisterNode {
                node: parsed("node", &c.node)?,
                name: parsed("name", &c.name)?,
                cpu: Cpu(c.cpu_millis),
                memory: Memory(c.memory_bytes),
                labels: labels_of(c.labels).within("labels")?,
                version: c.version,
                address: address_of("address", &c.address)?,
            }),
            Wire::NodeSilent(c) => Kind::JudgeNodes(JudgeNodes::one(parsed("node", &c.node)?, Verdict::Suspect)),
            Wire::NodeAlive(c) => Kind::JudgeNodes(JudgeNodes::one(parsed("node", &c.node)?, Verdict::Alive)),
            Wire::JudgeNodes(c) => Kind::JudgeNodes(c.try_into()?),
            Wire::ScheduleNode(c) => Kind::ScheduleNode(ScheduleNode {
                node: parsed("node", &c.node)?,
                scheduling: scheduling_of("scheduling", c.scheduling)?,
            }),
            Wire::RemoveNode(c) => {
                Kind::RemoveNode(RemoveNode { node: parsed("node", &c.node)?, identity: c.identity })
            }
            Wire::ReportReplicas(c) => Kind::ReportReplicas(c.try_into()?),
            Wire::ReportMany(c) => Kind::ReportMany(ReportMany { nodes: list("nodes", c.nodes)? }),
            Wire::SubmitPlan(c) => {
                Kind::SubmitPlan(SubmitPlan { fence: c.fence, plan: required::<_, Plan>("plan", c.plan)? })
            }
            Wire::AcquireLease(c) => Kind::AcquireLease(AcquireLease { holder: c.holder, ttl: Millis(c.ttl_ms) }),
            Wire::RecordEvents(c) => Kind::RecordEvents(RecordEvents { events: list("events", c.events)? }),
            Wire::ReportEndpoints(c) => Kind::ReportEndpoints(ReportEndpoints {
                node: parsed("node", &c.node)?,
                unserved: list("unserved", c.unserved)?,
            }),
            Wire::AddMember(c) => Kind::AddMember(add_member(c)?),
            Wire::MoveMember(c) => Kind::MoveMember(MoveMember { id: MemberId(c.id), address: c.address }),
            Wire::RemoveMember(c) => Kind::RemoveMember(RemoveMember { id: MemberId(c.id) }),
            about_trust => Kind::Trust(
                trust_command(about_trust)?.ok_or_else(|| InvalidWire::new("kind", "is not known to this version"))?,
            ),
        };
        Ok(Self {
            now: Timestamp(wire.at_ms),
            kind,
            caller: Some(wire.caller).filter(|caller| !caller.is_empty()),
            request: match wire.request.is_empty() {
                true => None,
                false => Some(RequestId(bytes("request", &wire.request)?)),
            },
        })
    }
}

fn stop_order(wire: i32) -> Result<StopOrder, InvalidWire> {
    cluster::StopOrder::try_from(wire)
        .map_err(|_| InvalidWire::new("order", format!("found {wire}, which this version does not know")))
        .and_then(|order| StopOrder::try_from(order).within("order"))
}

impl From<&JudgeNodes> for pb::JudgeNodes {
    fn from(judge: &JudgeNodes) -> Self {
        let with = |verdict: Verdict| {
            judge.verdicts.iter().filter(|(_, v)| **v == verdict).map(|(node, _)| node.to_string()).collect()
        };
        Self { alive: with(Verdict::Alive), suspect: with(Verdict::Suspect), lost: with(Verdict::Lost) }
    }
}

impl TryFrom<pb::JudgeNodes> for JudgeNodes {
    type Error = InvalidWire;

    fn try_from(wire: pb::JudgeNodes) -> Result<Self, InvalidWire> {
        let mut verdicts = BTreeMap::new();
        for (field, nodes, verdict) in [
            ("alive", wire.alive, Verdict::Alive),
            ("suspect", wire.suspect, Verdict::Suspect),
            ("lost", wire.lost, Verdict::Lost),
        ] {
            for node in nodes {
                verdicts.insert(parsed(field, &node)?, verdict);
            }
        }
        Ok(Self { verdicts })
    }
}

impl From<&ReportReplicas> for pb::ReportReplicas {
    fn from(report: &ReportReplicas) -> Self {
        Self { node: report.node.to_string(), reports: report.reports.iter().map(Into::into).collect() }
    }
}

impl TryFrom<pb::ReportReplicas> for ReportReplicas {
    type Error = InvalidWire;

    fn try_from(wire: pb::ReportReplicas) -> Result<Self, InvalidWire> {
        Ok(Self { node: parsed("node", &wire.node)?, reports: list("reports", wire.reports)? })
    }
}

impl From<&ReplicaReport> for pb::ReplicaReport {
    fn from(report: &ReplicaReport) -> Self {
        Self {
            replica: report.replica.to_string(),
            generation: report.generation.0,
            status: Some((&report.status).into()),
        }
    }
}

impl TryFrom<pb::ReplicaReport> for ReplicaReport {
    type Error = InvalidWire;

    fn try_from(wire: pb::ReplicaReport) -> Result<Self, InvalidWire> {
        Ok(Self {
            replica: parsed("replica", &wire.replica)?,
            generation: Generation(wire.generation),
            status: required("status", wire.status)?,
        })
    }
}

impl From<&UnservedEndpoint> for pb::UnservedEndpoint {
    fn from(unserved: &UnservedEndpoint) -> Self {
        Self {
            service: Some((&unserved.route.service).into()),
            endpoint: unserved.route.endpoint.to_string(),
            reason: Some((&unserved.reason).into()),
        }
    }
}

impl TryFrom<pb::UnservedEndpoint> for UnservedEndpoint {
    type Error = InvalidWire;

    fn try_from(wire: pb::UnservedEndpoint) -> Result<Self, InvalidWire> {
        Ok(Self {
            route: RouteKey {
                service: required("service", wire.service)?,
                endpoint: parsed("endpoint", &wire.endpoint)?,
            },
            reason: required("reason", wire.reason)?,
        })
    }
}

impl From<&EventRecord> for pb::EventRecord {
    fn from(event: &EventRecord) -> Self {
        Self {
            at_ms: event.at.0,
            level: cluster::Level::from(event.level).into(),
            subject: Some((&event.subject).into()),
            reason: Some((&event.reason).into()),
        }
    }
}

impl TryFrom<pb::EventRecord> for EventRecord {
    type Error = InvalidWire;

    fn try_from(wire: pb::EventRecord) -> Result<Self, InvalidWire> {
        let level = cluster::Level::try_from(wire.level).map_err(|_| {
            InvalidWire::new("level", format!("found {}, which this version does not know", wire.level))
        })?;
        Ok(Self {
            at: Timestamp(wire.at_ms),
            level: level.try_into().within("level")?,
            subject: required("subject", wire.subject)?,
            reason: required("reason", wire.reason)?,
        })
    }
}
