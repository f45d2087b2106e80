//! What `-o json` and `-o yaml` print. The names of fields are a promise (docs/orlopctl.md): fields are added, never
//! renamed. Times are RFC 3339 in UTC; cpu is in cores, memory in bytes.

use crate::render::Finding;
use orlop_client::{ClusterMembers, ClusterState, Examination, Image, LogLine, MemberState, Source, Suffrage};
use orlop_model::lifecycle::Phase;
use orlop_model::plan::Step;
use orlop_model::{
    ChangeKind, DeploymentState, Desired, Event, Exit, Level, Node, Reason, Replica, Resources, Revision, Scheduling,
    ServiceChange, ServiceState, StopOrder, Timestamp,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// A time as RFC 3339, with milliseconds where there are any.
pub(crate) fn time(at: Timestamp) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| format!("{millis}ms"), |time| time.to_string())
}

#[derive(Debug, Serialize)]
pub(crate) struct StatusOut {
    pub(crate) cluster: Option<String>,
    pub(crate) revision: u64,
    pub(crate) scheduler: Option<String>,
    pub(crate) writes_refused: Option<String>,
    pub(crate) deployments: Vec<DeploymentOut>,
    pub(crate) services: Vec<ServiceOut>,
    pub(crate) replicas: Vec<ReplicaOut>,
    pub(crate) nodes: Vec<NodeOut>,
}

impl StatusOut {
    pub(crate) fn of(state: &ClusterState) -> Self {
        Self {
            cluster: state.cluster.map(|id| id.to_string()),
            revision: state.revision.0,
            scheduler: state.scheduler.clone(),
            writes_refused: state.writes_refused.clone(),
            deployments: state.deployments.values().map(DeploymentOut::of).collect(),
            services: state.services.values().map(|s| ServiceOut::of(state, s)).collect(),
            replicas: replicas(state),
            nodes: state.nodes.values().map(|n| NodeOut::of(state, n)).collect(),
        }
    }
}

/// All replicas by service, slot and age.
pub(crate) fn replicas(state: &ClusterState) -> Vec<ReplicaOut> {
    let mut all: Vec<&Replica> = state.replicas.values().collect();
    all.sort_by_key(|r| (&r.service, r.slot, r.id));
    all.into_iter().map(|r| ReplicaOut::of(state, r)).collect()
}

#[derive(Debug, Serialize)]
pub(crate) struct DeploymentOut {
    pub(crate) name: String,
    pub(crate) generation: u64,
    pub(crate) changed_at: String,
    pub(crate) stopping: bool,
}

impl DeploymentOut {
    pub(crate) fn of(deployment: &DeploymentState) -> Self {
        Self {
            name: deployment.name.to_string(),
            generation: deployment.generation.0,
            changed_at: time(deployment.changed_at),
            stopping: deployment.stopping,
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct ClusterOut {
    pub(crate) cluster: String,
    pub(crate) leader: Option<u64>,
    pub(crate) term: u64,
    pub(crate) revision: u64,
    pub(crate) answered_by: u64,
    pub(crate) members: Vec<MemberOut>,
}

#[derive(Debug, Serialize)]
pub(crate) struct MemberOut {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) suffrage: &'static str,
    pub(crate) matched: Option<u64>,
    pub(crate) silent_ms: Option<u64>,
}

impl ClusterOut {
    pub(crate) fn of(members: &ClusterMembers) -> Self {
        let member = |m: &MemberState| MemberOut {
            id: m.member.id.0,
            name: m.member.name.to_string(),
            address: m.member.address.clone(),
            suffrage: match m.suffrage {
                Suffrage::Invited => "invited",
                Suffrage::Learner => "learner",
                Suffrage::Voter => "voter",
            },
            matched: m.matched,
            silent_ms: m.silent.map(|silent| silent.0),
        };
        Self {
            cluster: members.cluster.to_string(),
            leader: members.leader.map(|id| id.0),
            term: members.term,
            revision: members.revision.0,
            answered_by: members.answering.0,
            members: members.members.iter().map(member).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct DoctorOut {
    pub(crate) members: Vec<ExaminationOut>,
    pub(crate) findings: Vec<FindingOut>,
}

#[derive(Debug, Serialize)]
pub(crate) struct FindingOut {
    pub(crate) bad: bool,
    pub(crate) text: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct ExaminationOut {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) problem: Option<String>,
    pub(crate) health: Option<HealthOut>,
}

#[derive(Debug, Serialize)]
pub(crate) struct HealthOut {
    pub(crate) version: String,
    pub(crate) clock_ahead_ms: i64,
    pub(crate) disk_median_us: u64,
    pub(crate) disk_slowest_us: u64,
    pub(crate) disk_free: u64,
    pub(crate) certificate_not_after: Option<String>,
    pub(crate) authority_not_after: Option<String>,
    pub(crate) revision: u64,
    pub(crate) memory: u64,
    pub(crate) writes_refused: Option<String>,
    pub(crate) backup_at: Option<String>,
    pub(crate) backup_problem: Option<String>,
}

impl ExaminationOut {
    pub(crate) fn all(found: &[Examination], findings: &[Finding]) -> DoctorOut {
        let findings = findings.iter().map(|f| FindingOut { bad: f.is_bad, text: f.text.clone() }).collect();
        DoctorOut { members: found.iter().map(Self::of).collect(), findings }
    }

    fn of(examination: &Examination) -> Self {
        let health = examination.found.as_ref().ok().map(|h| HealthOut {
            version: h.version.clone(),
            clock_ahead_ms: h.clock_ahead_ms,
            disk_median_us: u64::try_from(h.disk_median.as_micros()).unwrap_or(u64::MAX),
            disk_slowest_us: u64::try_from(h.disk_slowest.as_micros()).unwrap_or(u64::MAX),
            disk_free: h.disk_free,
            certificate_not_after: h.certificate_not_after.map(time),
            authority_not_after: h.authority_not_after.map(time),
            revision: h.revision.0,
            memory: h.resident,
            writes_refused: Some(h.writes_refused.clone()).filter(|why| !why.is_empty()),
            backup_at: h.backup.map(time),
            backup_problem: Some(h.backup_problem.clone()).filter(|why| !why.is_empty()),
        });
        Self {
            id: examination.member.0,
            name: examination.name.clone(),
            problem: examination.found.as_ref().err().cloned(),
            health,
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct ReasonOut {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl ReasonOut {
    pub(crate) fn of(reason: &Reason) -> Self {
        Self { code: reason.code.clone(), message: reason.message.clone() }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct ServiceOut {
    /// `deployment/service`.
    pub(crate) name: String,
    pub(crate) deployment: String,
    pub(crate) service: String,
    pub(crate) generation: u64,
    pub(crate) workload_generation: u64,
    pub(crate) image: String,
    pub(crate) replicas_wanted: u32,
    /// Of the present workload generation.
    pub(crate) replicas_ready: u32,
    /// Finished ones not counted.
    pub(crate) replicas_total: u32,
    pub(crate) endpoints: Vec<EndpointOut>,
    pub(crate) changed_at: String,
    /// `graceful` or `forced`.
    pub(crate) stopping: Option<&'static str>,
    pub(crate) blocked: Vec<ReasonOut>,
    pub(crate) dependency_fault: Option<DependencyFaultOut>,
    /// Public endpoints that nodes cannot serve.
    pub(crate) endpoint_faults: Vec<EndpointFaultOut>,
}

#[derive(Debug, Serialize)]
pub(crate) struct EndpointFaultOut {
    pub(crate) endpoint: String,
    pub(crate) node: String,
    pub(crate) node_name: String,
    pub(crate) since: String,
    pub(crate) reason: ReasonOut,
}

#[derive(Debug, Serialize)]
pub(crate) struct EndpointOut {
    pub(crate) name: String,
    /// `http` or `tcp`.
    pub(crate) protocol: &'static str,
    pub(crate) port: u16,
    pub(crate) host: Option<String>,
    pub(crate) path: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct DependencyFaultOut {
    pub(crate) generation: u64,
    pub(crate) failed: bool,
    pub(crate) reason: ReasonOut,
}

impl ServiceOut {
    pub(crate) fn of(state: &ClusterState, service: &ServiceState) -> Self {
        let there = || state.replicas_of(&service.name).filter(|r| !r.status.phase.is_finished());
        let ready = there().filter(|r| r.is_ready() && r.generation == service.workload_generation).count();
        Self {
            name: service.name.to_string(),
            deployment: service.name.deployment.to_string(),
            service: service.name.service.to_string(),
            generation: service.generation.0,
            workload_generation: service.workload_generation.0,
            image: service.spec.workload.image.name.clone(),
            replicas_wanted: service.replicas,
            replicas_ready: u32::try_from(ready).unwrap_or(u32::MAX),
            replicas_total: u32::try_from(there().count()).unwrap_or(u32::MAX),
            endpoints: service
                .spec
                .endpoints
                .iter()
                .map(|endpoint| EndpointOut {
                    name: endpoint.name.to_string(),
                    protocol: match endpoint.protocol {
                        orlop_model::spec::Protocol::Http => "http",
                        orlop_model::spec::Protocol::Tcp => "tcp",
                    },
                    port: endpoint.port,
                    host: endpoint.host.clone(),
                    path: endpoint.path.clone(),
                })
                .collect(),
            changed_at: time(service.changed_at),
            stopping: service.stopping.map(order),
            blocked: service.status.blocked.iter().map(ReasonOut::of).collect(),
            dependency_fault: service.status.dependency_fault.as_ref().map(|fault| DependencyFaultOut {
                generation: fault.generation.0,
                failed: fault.failed,
                reason: ReasonOut::of(&fault.reason),
            }),
            endpoint_faults: service
                .faults
                .iter()
                .map(|fault| EndpointFaultOut {
                    endpoint: fault.endpoint.to_string(),
                    node: fault.node.to_string(),
                    node_name: state.node_name(fault.node),
                    since: time(fault.since),
                    reason: ReasonOut::of(&fault.reason),
                })
                .collect(),
        }
    }
}

fn order(order: StopOrder) -> &'static str {
    match order {
        StopOrder::Graceful => "graceful",
        StopOrder::Forced => "forced",
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct ReplicaOut {
    pub(crate) id: String,
    /// `deployment/service/slot`.
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) slot: u32,
    pub(crate) generation: u64,
    pub(crate) node: String,
    pub(crate) node_name: String,
    /// `pending`, `preparing`, `initializing`, `starting`, `running` (no health check), `healthy`, `unhealthy`,
    /// `backing-off`, `stopping`, `stopped`, `failed`, `isolated`, `lost`.
    pub(crate) phase: &'static str,
    pub(crate) ready: bool,
    /// `run`, `stop` (graceful) or `kill` (forced).
    pub(crate) desired: &'static str,
    pub(crate) since: String,
    /// Only while backing off.
    pub(crate) retry_at: Option<String>,
    pub(crate) restarts: u32,
    pub(crate) address: Option<String>,
    pub(crate) reason: Option<ReasonOut>,
    pub(crate) last_exit: Option<ExitOut>,
    pub(crate) image_digest: Option<String>,
    /// Failures in a row when it failed last.
    pub(crate) failures: u32,
}

#[derive(Debug, Serialize)]
pub(crate) struct ExitOut {
    pub(crate) code: u32,
    pub(crate) out_of_memory: bool,
    pub(crate) at: String,
}

impl ReplicaOut {
    pub(crate) fn of(state: &ClusterState, replica: &Replica) -> Self {
        let status = &replica.status;
        Self {
            id: replica.id.to_string(),
            name: format!("{}/{}", replica.service, replica.slot),
            service: replica.service.to_string(),
            slot: replica.slot,
            generation: replica.generation.0,
            node: replica.node.to_string(),
            node_name: state.node_name(replica.node),
            phase: status.phase.word(),
            ready: replica.is_ready(),
            desired: match replica.desired {
                Desired::Run => "run",
                Desired::Stop(StopOrder::Graceful) => "stop",
                Desired::Stop(StopOrder::Forced) => "kill",
            },
            since: time(status.since),
            retry_at: match status.phase {
                Phase::BackingOff(until) => Some(time(until)),
                _ => None,
            },
            restarts: status.restarts,
            address: status.address.map(|address| address.to_string()),
            reason: status.reason.as_ref().map(ReasonOut::of),
            last_exit: status.last_exit.map(|Exit { code, out_of_memory, at }| ExitOut {
                code,
                out_of_memory,
                at: time(at),
            }),
            image_digest: status.image_digest.clone(),
            failures: status.failures,
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct NodeOut {
    pub(crate) id: String,
    pub(crate) name: String,
    /// `alive`, `suspect` or `lost`.
    pub(crate) state: &'static str,
    pub(crate) silent_since: Option<String>,
    /// `open`, `cordoned` or `draining`.
    pub(crate) scheduling: &'static str,
    pub(crate) address: Option<String>,
    pub(crate) cpu: f64,
    pub(crate) cpu_reserved: f64,
    pub(crate) memory: u64,
    pub(crate) memory_reserved: u64,
    /// Finished ones not counted.
    pub(crate) replicas: usize,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) subnet: String,
    pub(crate) version: String,
    pub(crate) registered_at: String,
}

impl NodeOut {
    pub(crate) fn of(state: &ClusterState, node: &Node) -> Self {
        let (replicas, reserved) = load(state, node);
        Self {
            id: node.id.to_string(),
            name: node.name.to_string(),
            state: node.liveness.word(),
            silent_since: node.liveness.silent_since().map(time),
            scheduling: node.scheduling.word(),
            address: node.address.as_ref().map(ToString::to_string),
            cpu: node.cpu.0 as f64 / 1000.0,
            cpu_reserved: reserved.cpu.map_or(0, |cpu| cpu.0) as f64 / 1000.0,
            memory: node.memory.0,
            memory_reserved: reserved.memory.map_or(0, |memory| memory.0),
            replicas,
            labels: node.labels.clone(),
            subnet: node.subnet.to_string(),
            version: node.version.clone(),
            registered_at: time(node.registered_at),
        }
    }
}

/// What a command did to a node.
#[derive(Debug, Serialize)]
pub(crate) struct NodeChangeOut {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Absent when the node was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scheduling: Option<&'static str>,
    pub(crate) revision: u64,
}

impl NodeChangeOut {
    pub(crate) fn of(node: &Node, scheduling: Option<Scheduling>, revision: Revision) -> Self {
        let scheduling = scheduling.map(Scheduling::word);
        Self { id: node.id.to_string(), name: node.name.to_string(), scheduling, revision: revision.0 }
    }
}

/// How many replicas a node has, and what they reserve.
pub(crate) fn load(state: &ClusterState, node: &Node) -> (usize, Resources) {
    let there = state.replicas.values().filter(|r| r.node == node.id && !r.status.phase.is_finished());
    let (mut count, mut cpu, mut memory) = (0, 0u64, 0u64);
    for replica in there {
        count += 1;
        cpu = cpu.saturating_add(replica.reserved.cpu.unwrap_or_default().0);
        memory = memory.saturating_add(replica.reserved.memory.unwrap_or_default().0);
    }
    (count, Resources { cpu: Some(orlop_model::Cpu(cpu)), memory: Some(orlop_model::Memory(memory)) })
}

#[derive(Debug, Serialize)]
pub(crate) struct EventOut {
    pub(crate) sequence: u64,
    pub(crate) at: String,
    /// `info`, `warning` or `error`.
    pub(crate) level: &'static str,
    pub(crate) deployment: Option<String>,
    pub(crate) service: Option<String>,
    pub(crate) slot: Option<u32>,
    pub(crate) replica: Option<String>,
    pub(crate) node: Option<String>,
    pub(crate) reason: ReasonOut,
}

impl EventOut {
    pub(crate) fn of(event: &Event) -> Self {
        Self {
            sequence: event.sequence,
            at: time(event.at),
            level: level(event.level),
            deployment: event.subject.deployment.as_ref().map(ToString::to_string),
            service: event.subject.service.as_ref().map(ToString::to_string),
            slot: event.subject.slot,
            replica: event.subject.replica.as_ref().map(ToString::to_string),
            node: event.subject.node.as_ref().map(ToString::to_string),
            reason: ReasonOut::of(&event.reason),
        }
    }
}

pub(crate) fn level(level: Level) -> &'static str {
    match level {
        Level::Info => "info",
        Level::Warning => "warning",
        Level::Error => "error",
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct ChangeOut {
    pub(crate) service: String,
    /// `unchanged`, `added`, `removed`, `replaced` or `updated`.
    pub(crate) change: &'static str,
    /// `path: before → after`.
    pub(crate) fields: Vec<String>,
}

impl ChangeOut {
    pub(crate) fn of(change: &ServiceChange) -> Self {
        Self { service: change.service.to_string(), change: kind(change.kind), fields: change.fields.clone() }
    }
}

fn kind(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Unchanged => "unchanged",
        ChangeKind::Added => "added",
        ChangeKind::Removed => "removed",
        ChangeKind::Replaced => "replaced",
        ChangeKind::Updated => "updated",
        ChangeKind::Retried => "retried",
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct DeployOut {
    pub(crate) deployment: String,
    pub(crate) generation: u64,
    pub(crate) revision: u64,
    pub(crate) changes: Vec<ChangeOut>,
}

#[derive(Debug, Serialize)]
pub(crate) struct PlanOut {
    pub(crate) deployment: String,
    /// The generation now; 0 when the deployment does not exist.
    pub(crate) generation: u64,
    pub(crate) changes: Vec<ChangeOut>,
    pub(crate) steps: Vec<StepOut>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "step", rename_all = "lowercase")]
pub(crate) enum StepOut {
    Start { service: String, slot: u32, generation: u64, node: String, reason: ReasonOut },
    Stop { replica: String, order: &'static str, reason: ReasonOut },
    Forget { replica: String },
    Note { service: String, blocked: Vec<ReasonOut> },
    Remove { service: String },
}

impl StepOut {
    pub(crate) fn of(step: &Step) -> Self {
        match step {
            Step::Start { service, slot, generation, node, why, .. } => StepOut::Start {
                service: service.to_string(),
                slot: *slot,
                generation: generation.0,
                node: node.to_string(),
                reason: ReasonOut::of(why),
            },
            Step::Stop { replica, order: how, why } => {
                StepOut::Stop { replica: replica.to_string(), order: order(*how), reason: ReasonOut::of(why) }
            }
            Step::Forget { replica } => StepOut::Forget { replica: replica.to_string() },
            Step::Note { service, status, .. } => StepOut::Note {
                service: service.to_string(),
                blocked: status.blocked.iter().map(ReasonOut::of).collect(),
            },
            Step::Remove { service } => StepOut::Remove { service: service.to_string() },
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct ScaleOut {
    pub(crate) service: String,
    pub(crate) replicas: u32,
    pub(crate) previous: u32,
    pub(crate) revision: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct StopOut {
    pub(crate) name: String,
    pub(crate) forced: bool,
    pub(crate) revision: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct WhyOut {
    pub(crate) name: String,
    pub(crate) writes_refused: Option<String>,
    pub(crate) explanation: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct DescribeDeploymentOut {
    #[serde(flatten)]
    pub(crate) deployment: DeploymentOut,
    pub(crate) services: Vec<ServiceOut>,
    pub(crate) replicas: Vec<ReplicaOut>,
    pub(crate) events: Vec<EventOut>,
}

#[derive(Debug, Serialize)]
pub(crate) struct DescribeServiceOut {
    #[serde(flatten)]
    pub(crate) service: ServiceOut,
    pub(crate) replicas: Vec<ReplicaOut>,
    pub(crate) events: Vec<EventOut>,
}

#[derive(Debug, Serialize)]
pub(crate) struct DescribeReplicaOut {
    #[serde(flatten)]
    pub(crate) replica: ReplicaOut,
    pub(crate) events: Vec<EventOut>,
}

#[derive(Debug, Serialize)]
pub(crate) struct DescribeNodeOut {
    #[serde(flatten)]
    pub(crate) node: NodeOut,
    /// Those on the node.
    pub(crate) replica_list: Vec<ReplicaOut>,
    pub(crate) events: Vec<EventOut>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ImageOut {
    pub(crate) name: String,
    pub(crate) digest: String,
    /// Compressed, in bytes.
    pub(crate) size: u64,
    pub(crate) node: Option<String>,
}

impl ImageOut {
    pub(crate) fn of(image: &Image) -> Self {
        Self {
            name: image.name.clone(),
            digest: image.digest.clone(),
            size: image.size,
            node: image.node.map(|node| node.to_string()),
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct LogOut {
    pub(crate) at: String,
    /// `stdout` or `stderr`.
    pub(crate) stream: &'static str,
    pub(crate) slot: u32,
    pub(crate) replica: String,
    /// What is not UTF-8 is replaced by U+FFFD.
    pub(crate) text: String,
}

impl LogOut {
    pub(crate) fn of(line: &LogLine) -> Self {
        Self {
            at: nanos(line.at_ns),
            stream: match line.source {
                Source::Stdout => "stdout",
                Source::Stderr => "stderr",
            },
            slot: line.slot,
            replica: line.replica.to_string(),
            text: String::from_utf8_lossy(&line.text).into_owned(),
        }
    }
}

/// A time in nanoseconds as RFC 3339, always with nine decimals so that columns line up.
pub(crate) fn nanos(at: u64) -> String {
    jiff::Timestamp::from_nanosecond(at.into()).map_or_else(|_| format!("{at}ns"), |time| format!("{time:.9}"))
}

#[derive(Debug, Serialize)]
pub(crate) struct ValidOut {
    pub(crate) file: String,
    pub(crate) valid: bool,
    pub(crate) problems: Vec<ProblemOut>,
    /// How many more problems there are than are listed.
    pub(crate) problems_omitted: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct ProblemOut {
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// `services.api.health.retries`.
    pub(crate) path: String,
    pub(crate) found: String,
    pub(crate) allowed: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct PackOut {
    pub(crate) name: String,
    pub(crate) digest: String,
    pub(crate) file: String,
}
