//! Lists: services, replicas, nodes, images, events.

use super::table::{plain, table};
use crate::output::{level, load};
use orlop_client::why::age;
use orlop_client::{ClusterState, Image};
use orlop_model::lifecycle::Phase;
use orlop_model::{Desired, Event, Memory, Node, Replica, Scheduling, ServiceState, StopOrder, Timestamp};

/// Services and replicas, and what keeps the whole from working.
pub(crate) fn status(state: &ClusterState, now: Timestamp) -> String {
    let mut text = health(state, now);
    if state.services.is_empty() {
        text.push_str("Nothing is deployed. Deploy an application with `orlopctl deploy -f FILE`.\n");
    } else {
        text.push_str(&services(state, now));
    }
    if !state.replicas.is_empty() {
        text.push('\n');
        text.push_str(&replicas(state, now));
    }
    text
}

/// What is wrong with the cluster itself, and with ways into it; empty when they are well.
fn health(state: &ClusterState, now: Timestamp) -> String {
    let mut text = writes_refused(state);
    if state.scheduler.is_none() {
        text.push_str("No scheduler is at work: nothing will be started or stopped.\n");
    }
    if state.nodes.is_empty() {
        text.push_str("No node has joined: start an agent.\n");
    }
    for node in state.nodes.values() {
        let (name, word) = (&node.name, node.liveness.word());
        if let Some(since) = node.liveness.silent_since() {
            text.push_str(&format!("Node {name} is {word}: it has been silent for {}.\n", age(now, since)));
        }
    }
    for service in state.services.values() {
        for fault in &service.faults {
            let (node, reason) = (state.node_name(fault.node), plain(&fault.reason.message));
            text.push_str(&format!("On {node}, {}: {reason}.\n", service.name));
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// A line that the control plane takes no writes, and why; empty when it takes them.
pub(crate) fn writes_refused(state: &ClusterState) -> String {
    state.writes_refused.iter().map(|why| format!("Control plane: {}\n", plain(why))).collect()
}

pub(super) fn services(state: &ClusterState, now: Timestamp) -> String {
    let rows: Vec<Vec<String>> = state
        .services
        .values()
        .map(|service| {
            let out = crate::output::ServiceOut::of(state, service);
            vec![
                out.name,
                format!("{}/{}", out.replicas_ready, out.replicas_wanted),
                word(state, service),
                out.generation.to_string(),
                out.image,
                endpoints(service),
                age(now, service.changed_at),
            ]
        })
        .collect();
    table(&["SERVICE", "READY", "STATE", "GENERATION", "IMAGE", "ENDPOINTS", "CHANGED"], &rows)
}

/// One word for how a service is.
fn word(state: &ClusterState, service: &ServiceState) -> String {
    let out = crate::output::ServiceOut::of(state, service);
    let failed = state.replicas_of(&service.name).any(|r| {
        r.generation == service.workload_generation
            && matches!(r.status.phase, Phase::Finished(o) if matches!(o.word(), "failed" | "isolated"))
    });
    let word = match service.stopping {
        Some(StopOrder::Graceful) => "stopping",
        Some(StopOrder::Forced) => "stopping by force",
        None if failed => "failed",
        None if out.replicas_ready >= out.replicas_wanted && out.replicas_total > out.replicas_wanted => "updating",
        None if out.replicas_ready >= out.replicas_wanted => match service.faults.first() {
            Some(fault) => return format!("ready, {}", fault.reason.code),
            None => "ready",
        },
        None => match service.status.blocked.first() {
            Some(reason) => return format!("blocked: {}", reason.code),
            None if service.workload_generation.0 > 1 && out.replicas_total > 0 && outdated(state, service) => {
                "updating"
            }
            None => "not ready",
        },
    };
    word.to_owned()
}

fn outdated(state: &ClusterState, service: &ServiceState) -> bool {
    state
        .replicas_of(&service.name)
        .any(|r| r.generation != service.workload_generation && !r.status.phase.is_finished())
}

fn endpoints(service: &ServiceState) -> String {
    use orlop_model::spec::Protocol;
    let words: Vec<String> = service
        .spec
        .endpoints
        .iter()
        .map(|endpoint| match (endpoint.protocol, &endpoint.host) {
            (Protocol::Http, Some(host)) => format!("http {host}{}", endpoint.path),
            (Protocol::Http, None) => format!("http {}", endpoint.path),
            (Protocol::Tcp, _) => format!("tcp :{}", endpoint.port),
        })
        .collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

/// All replicas, by service, slot and age.
pub(crate) fn replicas(state: &ClusterState, now: Timestamp) -> String {
    let mut all: Vec<&Replica> = state.replicas.values().collect();
    all.sort_by_key(|r| (&r.service, r.slot, r.id));
    replica_table(state, &all, now)
}

pub(super) fn replica_table(state: &ClusterState, replicas: &[&Replica], now: Timestamp) -> String {
    let rows: Vec<Vec<String>> = replicas
        .iter()
        .map(|replica| {
            let status = &replica.status;
            vec![
                format!("{}/{}", replica.service, replica.slot),
                phase(replica, now),
                age(now, status.since),
                status.restarts.to_string(),
                replica.generation.to_string(),
                state.node_name(replica.node),
                status.address.map_or_else(|| "-".to_owned(), |address| address.to_string()),
                status.reason.as_ref().map_or_else(String::new, |reason| reason.message.clone()),
            ]
        })
        .collect();
    table(&["REPLICA", "PHASE", "SINCE", "RESTARTS", "GENERATION", "NODE", "ADDRESS", "REASON"], &rows)
}

fn phase(replica: &Replica, now: Timestamp) -> String {
    let phase = replica.status.phase;
    match phase {
        Phase::BackingOff(until) => format!("{}, again in {}", phase.word(), age(until, now)),
        Phase::Stopping | Phase::Finished(_) => phase.word().to_owned(),
        _ if replica.desired != Desired::Run => format!("{}, to be stopped", phase.word()),
        _ => phase.word().to_owned(),
    }
}

/// All nodes.
pub(crate) fn nodes(state: &ClusterState, now: Timestamp) -> String {
    if state.nodes.is_empty() {
        return "No node has joined: start an agent, or a whole cluster with `orlopctl dev`.\n".to_owned();
    }
    let rows: Vec<Vec<String>> = state
        .nodes
        .values()
        .map(|node| {
            let (count, reserved) = load(state, node);
            let labels: Vec<String> = node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            vec![
                node.name.to_string(),
                standing(node, now),
                count.to_string(),
                format!("{} of {}", reserved.cpu.unwrap_or_default(), node.cpu),
                format!("{} of {}", size(reserved.memory.unwrap_or_default().0), size(node.memory.0)),
                node.subnet.to_string(),
                node.version.clone(),
                if labels.is_empty() { "-".to_owned() } else { labels.join(",") },
            ]
        })
        .collect();
    table(&["NODE", "STATE", "REPLICAS", "CPU RESERVED", "MEMORY RESERVED", "SUBNET", "VERSION", "LABELS"], &rows)
}

/// `alive`, `suspect for 7s`, `alive, cordoned`.
fn standing(node: &Node, now: Timestamp) -> String {
    let mut text = node.liveness.word().to_owned();
    if let Some(since) = node.liveness.silent_since() {
        text.push_str(&format!(" for {}", age(now, since)));
    }
    if node.scheduling != Scheduling::Open {
        text.push_str(&format!(", {}", node.scheduling.word()));
    }
    text
}

/// All images of all nodes.
pub(crate) fn images(state: &ClusterState, images: &[Image]) -> String {
    if images.is_empty() {
        return "No node has an image. Import one with `orlopctl image import FILE`.\n".to_owned();
    }
    let rows: Vec<Vec<String>> = images
        .iter()
        .map(|image| {
            vec![
                image.name.clone(),
                short_digest(&image.digest),
                size(image.size),
                image.node.map_or_else(|| "-".to_owned(), |node| state.node_name(node)),
            ]
        })
        .collect();
    table(&["IMAGE", "DIGEST", "SIZE", "NODE"], &rows)
}

fn short_digest(digest: &str) -> String {
    digest.chars().take("sha256:".len() + 12).collect()
}

/// An amount of bytes for people, with a decimal where there is room for one.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["Ki", "Mi", "Gi", "Ti"];
    if bytes < 1024 {
        return Memory(bytes).to_string();
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(amount < 100.0 && amount.fract() >= 0.05);
    format!("{amount:.decimals$}{}", UNITS[unit])
}

/// Events, oldest first.
pub(crate) fn events(state: &ClusterState, events: &[Event]) -> String {
    if events.is_empty() {
        return "Nothing has happened yet.\n".to_owned();
    }
    events.iter().map(|event| event_line(state, event)).collect()
}

/// One event as a line.
pub(crate) fn event_line(state: &ClusterState, event: &Event) -> String {
    let millis = i64::try_from(event.at.0).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_millisecond(millis)
        .map_or_else(|_| crate::output::time(event.at), |at| format!("{at:.3}"));
    let subject = &event.subject;
    let node = subject.node.map(|node| state.node_name(node));
    let what = match (&subject.deployment, &subject.service, subject.slot, &node) {
        (Some(d), Some(s), Some(slot), _) => format!("{d}/{s}/{slot}"),
        (Some(d), Some(s), None, _) => format!("{d}/{s}"),
        (Some(d), None, _, _) => d.to_string(),
        (None, _, _, Some(node)) => format!("node {node}"),
        (None, _, _, None) => "cluster".to_owned(),
    };
    let message = plain(&event.reason.message);
    format!("{at}  {:<7}  {what:<16}  {message}\n", level(event.level))
}
