//! Everything that is known of one thing.

use super::status::{event_line, replica_table, replicas, services, size};
use super::table::fields;
use crate::output::{NodeOut, ReplicaOut, ServiceOut};
use orlop_client::ClusterState;
use orlop_client::why::age;
use orlop_model::lifecycle::Phase;
use orlop_model::spec::{Check, Condition, EnvValue, Protocol, Scale, SecretFile, VolumeSource};
use orlop_model::{DeploymentState, Event, Liveness, Node, Replica, Scheduling, ServiceState, Timestamp};

/// A deployment; `state` holds nothing of others.
pub(crate) fn describe_deployment(
    state: &ClusterState,
    deployment: &DeploymentState,
    events: &[Event],
    now: Timestamp,
) -> String {
    let is_ready = |service: &&ServiceState| {
        let out = ServiceOut::of(state, service);
        out.replicas_ready >= out.replicas_wanted
    };
    let ready = state.services.values().filter(is_ready).count();
    let mut text = fields(&[
        ("Deployment", Some(deployment.name.to_string())),
        ("Generation", Some(deployment.generation.to_string())),
        ("Changed", Some(format!("{} ago", age(now, deployment.changed_at)))),
        ("Stopping", deployment.stopping.then(|| "yes".to_owned())),
        ("Services", Some(format!("{}, {ready} of them ready", state.services.len()))),
    ]);
    if !state.services.is_empty() {
        text.push('\n');
        text.push_str(&services(state, now));
    }
    if !state.replicas.is_empty() {
        text.push('\n');
        text.push_str(&replicas(state, now));
    }
    with_events(text, state, events)
}

/// A service.
pub(crate) fn describe_service(
    state: &ClusterState,
    service: &ServiceState,
    events: &[Event],
    now: Timestamp,
) -> String {
    let out = ServiceOut::of(state, service);
    let (spec, workload) = (&service.spec, &service.spec.workload);
    let joined = |lines: Vec<String>| if lines.is_empty() { None } else { Some(lines.join("; ")) };
    let env = workload.env.iter().map(|(name, value)| match value {
        EnvValue::Literal(text) => format!("{name}={text:?}"),
        EnvValue::AgentEnv(variable) => format!("{name}=$E:{variable}"),
        EnvValue::Secret(secret) => format!("{name}=$S:{secret}"),
    });
    let endpoints = spec.endpoints.iter().map(|endpoint| match endpoint.protocol {
        Protocol::Http => {
            let host = endpoint.host.as_deref().unwrap_or("any host");
            format!("{}: http, {host}, {}, to port {}", endpoint.name, endpoint.path, endpoint.port)
        }
        Protocol::Tcp => format!("{}: tcp, port {}", endpoint.name, endpoint.port),
    });
    let unserved = service.faults.iter().map(|fault| {
        format!("on {} for {}: {}", state.node_name(fault.node), age(now, fault.since), fault.reason.message)
    });
    let depends = spec.depends.iter().map(|dependency| {
        let condition = match dependency.condition {
            Condition::Started => "started",
            Condition::Healthy => "healthy",
            Condition::Ready => "ready",
        };
        let timeout = dependency.timeout.map(|t| format!(" within {t}")).unwrap_or_default();
        format!("{} {condition}{timeout}", dependency.service)
    });
    let volumes = workload.volumes.iter().map(|volume| {
        let source = match &volume.source {
            VolumeSource::Named(name) => format!("named {name}"),
            VolumeSource::Bind(path) => format!("bind {path}"),
            VolumeSource::Tmpfs { size: Some(size) } => format!("tmpfs of {size}"),
            VolumeSource::Tmpfs { size: None } => "tmpfs".to_owned(),
        };
        format!("{} ({source}{})", volume.target, if volume.read_only { ", read-only" } else { "" })
    });
    let secrets = workload.secret_files.iter().map(|file| {
        let SecretFile { secret, path, mode, uid, gid, on_change } = file;
        format!("{path} ({secret}, {mode} of {uid}:{gid}, on change {on_change})")
    });
    let health = workload.health.as_ref().map(|health| {
        let check = match &health.check {
            Check::Http { url, expect_status } => format!("GET {url}, expecting {expect_status}"),
            Check::Tcp { port } => format!("tcp port {port}"),
            Check::Command { command } => format!("command {command:?}"),
        };
        format!(
            "{check}; every {}, timeout {}, {} failures, start grace {}",
            health.interval, health.timeout, health.retries, health.start_grace
        )
    });
    let limits = [
        workload.resources.cpu.map(|cpu| format!("{cpu} cpu")),
        workload.resources.memory.map(|memory| format!("{memory} memory")),
    ];
    let stop_signal = workload.stop_signal.map_or_else(|| "the image's signal".to_owned(), |s| s.to_string());
    let update = spec.update;
    let generation = format!("{} (workload: {})", out.generation, out.workload_generation);
    let scale = match spec.scale {
        Scale::Fixed { .. } => "fixed",
        Scale::Manual => "manual",
    };
    let mut text = fields(&[
        ("Service", Some(out.name)),
        ("Generation", Some(generation)),
        ("Changed", Some(format!("{} ago", age(now, service.changed_at)))),
        ("Stopping", out.stopping.map(str::to_owned)),
        (
            "Replicas",
            Some(format!(
                "{} ready, {} wanted ({scale}), {} there",
                out.replicas_ready, out.replicas_wanted, out.replicas_total
            )),
        ),
        ("Blocked", joined(service.status.blocked.iter().map(ToString::to_string).collect())),
        ("Dependencies", service.status.dependency_fault.as_ref().map(|fault| fault.reason.message.clone())),
        ("Image", Some(out.image)),
        ("Command", workload.command.as_ref().map(|command| format!("{command:?}"))),
        ("Arguments", workload.args.as_ref().map(|args| format!("{args:?}"))),
        ("Directory", workload.working_dir.clone()),
        ("User", workload.user.clone()),
        ("Environment", joined(env.collect())),
        ("Resources", joined(limits.into_iter().flatten().collect())),
        ("Volumes", joined(volumes.collect())),
        ("Secrets", joined(secrets.collect())),
        ("Health", health),
        ("Init", joined(workload.init.iter().map(|step| step.id.to_string()).collect())),
        ("Endpoints", joined(endpoints.collect())),
        ("Not served", joined(unserved.collect())),
        ("Depends on", joined(depends.collect())),
        ("Placement", joined(spec.placement.constraints.iter().map(ToString::to_string).collect())),
        (
            "Update",
            Some(format!(
                "max_surge {}, max_unavailable {}, min_healthy {}",
                update.max_surge, update.max_unavailable, update.min_healthy
            )),
        ),
        ("Stop", Some(format!("{stop_signal}, SIGKILL after {}", workload.stop_grace_period))),
    ]);
    let replicas: Vec<&Replica> = state.replicas_of(&service.name).collect();
    if !replicas.is_empty() {
        text.push('\n');
        text.push_str(&replica_table(state, &replicas, now));
    }
    with_events(text, state, events)
}

/// A replica.
pub(crate) fn describe_replica(state: &ClusterState, replica: &Replica, events: &[Event], now: Timestamp) -> String {
    let out = ReplicaOut::of(state, replica);
    let status = &replica.status;
    let limits = [
        replica.reserved.cpu.map(|cpu| format!("{cpu} cpu")),
        replica.reserved.memory.map(|memory| format!("{memory} memory")),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    let text = fields(&[
        ("Replica", Some(out.name)),
        ("Id", Some(out.id)),
        ("Generation", Some(out.generation.to_string())),
        ("Node", Some(format!("{} ({})", out.node_name, out.node))),
        ("Wanted", Some(out.desired.to_owned())),
        ("Phase", Some(format!("{} for {}", out.phase, age(now, status.since)))),
        (
            "Next attempt",
            match status.phase {
                Phase::BackingOff(until) => Some(format!("in {}", age(until, now))),
                _ => None,
            },
        ),
        ("Reason", status.reason.as_ref().map(|reason| format!("{} ({})", reason.message, reason.code))),
        ("Restarts", Some(out.restarts.to_string())),
        ("Last exit", status.last_exit.map(|exit| format!("{exit}, {} ago", age(now, exit.at)))),
        ("Address", out.address),
        ("Image digest", out.image_digest),
        ("Reserved", if limits.is_empty() { None } else { Some(limits.join(", ")) }),
    ]);
    with_events(text, state, events)
}

/// A node.
pub(crate) fn describe_node(state: &ClusterState, node: &Node, events: &[Event], now: Timestamp) -> String {
    let out = NodeOut::of(state, node);
    let labels: Vec<String> = node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut text = fields(&[
        ("Node", Some(out.name)),
        ("Id", Some(out.id)),
        (
            "State",
            Some(match node.liveness {
                Liveness::Alive => "alive".to_owned(),
                Liveness::Suspect(since) => {
                    format!("suspect, silent for {}; its work is believed to run on", age(now, since))
                }
                Liveness::Lost(since) => format!("lost, silent for {}; its work is given up", age(now, since)),
            }),
        ),
        ("Scheduling", (node.scheduling != Scheduling::Open).then(|| out.scheduling.to_owned())),
        ("Address", out.address),
        ("Cpu", Some(format!("{} reserved of {}", out.cpu_reserved, out.cpu))),
        ("Memory", Some(format!("{} reserved of {}", size(out.memory_reserved), size(out.memory)))),
        ("Subnet", Some(out.subnet)),
        ("Labels", if labels.is_empty() { None } else { Some(labels.join(", ")) }),
        ("Version", Some(out.version)),
        ("Registered", Some(format!("{} ago", age(now, node.registered_at)))),
    ]);
    let mut replicas: Vec<&Replica> = state.replicas.values().filter(|r| r.node == node.id).collect();
    replicas.sort_by_key(|r| (&r.service, r.slot, r.id));
    if !replicas.is_empty() {
        text.push('\n');
        text.push_str(&replica_table(state, &replicas, now));
    }
    with_events(text, state, events)
}

fn with_events(mut text: String, state: &ClusterState, events: &[Event]) -> String {
    if !events.is_empty() {
        text.push_str("\nEvents:\n");
        text.extend(events.iter().map(|event| format!("  {}", event_line(state, event))));
    }
    text
}
