//! Why a service or a replica is as it is, in plain words, from recorded facts only.
//!
//! Each line is one sentence or two. The first says what is; those after it say why, and what to do where that is known.

use crate::state::ClusterState;
use orlop_model::lifecycle::{Health, Outcome, Phase};
use orlop_model::spec::{Check, HealthCheck, OnInitFailure, OnPanic};
use orlop_model::{
    DeploymentName, Desired, Event, Exit, Liveness, Millis, Reason, Replica, ServiceState, StopOrder, Timestamp,
};

/// A replica that nobody has begun with after this long deserves a word.
const PENDING_LONG: Millis = Millis::from_secs(10);
/// Lines of what happened lately.
const HISTORY_MAX: usize = 5;

/// Explains a deployment: each of its services that is not well, or that all are. `events` are those that concern it,
/// oldest first.
pub fn deployment(state: &ClusterState, name: &DeploymentName, events: &[Event], now: Timestamp) -> Vec<String> {
    let own: Vec<&ServiceState> = state.services.values().filter(|s| s.name.deployment == *name).collect();
    let of = |service: &ServiceState| -> Vec<Event> {
        let concerns = |e: &&Event| e.subject.service.as_ref() == Some(&service.name.service);
        events.iter().filter(concerns).cloned().collect()
    };
    let unwell = |service: &&ServiceState| {
        service.stopping.is_some()
            || ready(state, service) < service.replicas as usize
            || !service.status.blocked.is_empty()
    };
    let lines: Vec<String> =
        own.iter().copied().filter(unwell).flat_map(|s| self::service(state, s, &of(s), now)).collect();
    match (lines.is_empty(), own.len()) {
        (false, _) => lines,
        (true, 1) => vec![format!("{name} is well: its service is ready.")],
        (true, count) => vec![format!("{name} is well: all of its {count} services are ready.")],
    }
}

/// How many replicas of the present generation are ready.
fn ready(state: &ClusterState, service: &ServiceState) -> usize {
    state.replicas_of(&service.name).filter(|r| r.generation == service.workload_generation && r.is_ready()).count()
}

/// Explains a service and each of its replicas that is not well. `events` are those that concern it, oldest first.
pub fn service(state: &ClusterState, service: &ServiceState, events: &[Event], now: Timestamp) -> Vec<String> {
    let replicas: Vec<&Replica> = state.replicas_of(&service.name).collect();
    let mut lines = vec![headline(service, ready(state, service))];
    for reason in &service.status.blocked {
        lines.push(format!("Held back: {}", with_remedy(&sentence(&reason.message), reason)));
    }
    if let Some(fault) = &service.status.dependency_fault
        && fault.generation == service.generation
        && !service.status.blocked.contains(&fault.reason)
    {
        lines.push(format!("Dependencies: {}", sentence(&fault.reason.message)));
    }
    for fault in &service.faults {
        let (node, since) = (state.node_name(fault.node), age(now, fault.since));
        lines.push(format!("Not served on {node} for {since}: {}", sentence(&fault.reason.message)));
    }
    let settled = |r: &&&Replica| r.is_ready() && r.generation == service.workload_generation;
    let odd: Vec<&&Replica> = replicas.iter().filter(|r| !settled(r)).collect();
    let running = replicas.iter().filter(|r| r.desired == Desired::Run).count();
    if odd.is_empty() && service.status.blocked.is_empty() && running < service.replicas as usize {
        lines.push(nothing_planned(state, service, now));
    }
    for replica in odd {
        for line in facts(state, Some(service), replica, now) {
            lines.push(format!("replica {}: {line}", replica.slot));
        }
    }
    let fault = service.status.dependency_fault.iter().map(|fault| &fault.reason);
    let reasons = replicas.iter().filter_map(|replica| replica.status.reason.as_ref());
    let told: Vec<&Reason> = service.status.blocked.iter().chain(fault).chain(reasons).collect();
    // What still holds was said above.
    let over = |event: &&Event| !service.faults.iter().any(|fault| fault.reason == event.reason);
    lines.extend(history(events.iter().filter(over), &told, now));
    lines
}

/// Explains a replica. `events` are those that concern it, oldest first.
pub fn replica(state: &ClusterState, replica: &Replica, events: &[Event], now: Timestamp) -> Vec<String> {
    let service = state.services.get(&replica.service);
    let mut lines = facts(state, service, replica, now);
    let told: Vec<&Reason> = replica.status.reason.iter().collect();
    lines.extend(history(events.iter(), &told, now));
    lines
}

fn headline(service: &ServiceState, ready: usize) -> String {
    let name = &service.name;
    let wanted = service.replicas;
    match (service.stopping, wanted) {
        (Some(StopOrder::Graceful), _) => format!("{name} is being stopped."),
        (Some(StopOrder::Forced), _) => format!("{name} is being stopped by force."),
        (None, 0) => format!("{name} has no replicas because 0 are wanted; `orlopctl scale {name} 1` starts one."),
        (None, _) if ready >= wanted as usize => {
            format!("{name} is well: {ready} of {wanted} replicas are ready at generation {}.", service.generation)
        }
        (None, _) => {
            format!("{name} is not ready: {ready} of {wanted} replicas are ready at generation {}.", service.generation)
        }
    }
}

/// Why there is nothing although something is wanted and nobody says what holds it back.
fn nothing_planned(state: &ClusterState, service: &ServiceState, now: Timestamp) -> String {
    if state.scheduler.is_none() {
        "No scheduler is at work, so nothing is started or stopped: start one (`orlopctl dev` has one inside)."
            .to_owned()
    } else if state.nodes.is_empty() {
        "No node has joined the cluster: start an agent.".to_owned()
    } else {
        format!("It was changed {} ago; the scheduler has not acted on it yet.", age(now, service.changed_at))
    }
}

fn facts(state: &ClusterState, service: Option<&ServiceState>, replica: &Replica, now: Timestamp) -> Vec<String> {
    let status = &replica.status;
    let mut lines = vec![phase_line(state, service, replica, now)];
    if let Some(reason) = &status.reason {
        lines.push(format!("Reason: {}", with_remedy(&sentence(&reason.message), reason)));
    }
    if let Some(exit) = &status.last_exit
        && status.reason.as_ref().is_none_or(|reason| !tells(reason, exit))
    {
        // "killed by the kernel" is passive where the other ways to end are not.
        let was = if exit.out_of_memory { "was last" } else { "last" };
        lines.push(format!("Its process {was} {exit}, {} ago.", age(now, exit.at)));
    }
    if status.restarts > 0 && !status.phase.is_finished() {
        let times = if status.restarts == 1 { "once".to_owned() } else { format!("{} times", status.restarts) };
        lines.push(format!("Its process was started again {times} so far."));
    }
    if has_output(replica) && !replica.is_ready() {
        lines.push(format!("Its output: `orlopctl logs {} --replica {} --tail 50`.", replica.service, replica.id));
    }
    if replica.desired != Desired::Run && !matches!(status.phase, Phase::Stopping | Phase::Finished(_)) {
        lines.push("It is to be stopped; its node has not begun with that yet.".to_owned());
    } else if let Some(service) = service
        && service.stopping.is_none()
        && service.workload_generation != replica.generation
        && !status.phase.is_finished()
    {
        let (has, wants) = (replica.generation, service.workload_generation);
        lines.push(format!("It runs generation {has}; generation {wants} will replace it."));
    }
    lines.extend(node_line(state, replica, now));
    lines
}

fn phase_line(state: &ClusterState, service: Option<&ServiceState>, replica: &Replica, now: Timestamp) -> String {
    let status = &replica.status;
    let node = state.node_name(replica.node);
    let since = age(now, status.since);
    let workload = service.map(|s| &s.spec.workload);
    let health = workload.and_then(|w| w.health.as_ref());
    match status.phase {
        Phase::Pending if now - status.since > PENDING_LONG => format!(
            "It was placed on {node} {since} ago, and the node has not begun with it: is its agent running? See `orlopctl node ls`."
        ),
        Phase::Pending => format!("It was placed on {node} {since} ago; the node is about to begin with it."),
        Phase::Preparing => {
            let image = workload.map(|w| format!(" {}", w.image.name)).unwrap_or_default();
            format!("{node} has been preparing it for {since}: pulling the image{image}, its network, its volumes.")
        }
        Phase::Initializing => {
            let steps: Vec<&str> = workload.iter().flat_map(|w| &w.init).map(|step| step.id.as_str()).collect();
            match steps.is_empty() {
                true => format!("Its init steps have been running for {since}."),
                false => format!("Its init steps ({}) have been running for {since}.", steps.join(", ")),
            }
        }
        Phase::Starting => match health {
            Some(health) => format!(
                "Its process has been running for {since}, and no health check has passed yet ({}).",
                check_line(health)
            ),
            None => format!("Its process was started {since} ago."),
        },
        Phase::Running(Health::Unchecked) => {
            format!("It is ready: its process has been running for {since}, and the service has no health check.")
        }
        Phase::Running(Health::Healthy) => format!("It is ready: healthy for {since}."),
        Phase::Running(Health::Unhealthy) => {
            let check = health.map(|h| format!(" ({})", check_line(h))).unwrap_or_default();
            let then = match workload.map(|w| w.on_panic) {
                Some(OnPanic::Restart) => "; it is started again (errors.on_panic: restart)",
                Some(OnPanic::Shutdown) => "; it is shut down for good (errors.on_panic: shutdown)",
                Some(OnPanic::Isolate) => "; it is taken aside for a look (errors.on_panic: isolate)",
                None => "",
            };
            format!("Its health check has been failing for {since}{check}{then}.")
        }
        Phase::BackingOff(until) => {
            let wait = match until - now {
                Millis(0) => "is about to try again".to_owned(),
                left => format!("tries again in {}", span(left)),
            };
            let policy = match workload.map(|w| w.on_init_failure) {
                _ if status.last_exit.is_some() => {
                    "the wait grows with every failure and is forgotten after a calm while"
                }
                Some(OnInitFailure::Restart) => "errors.on_init_failure: restart",
                _ => "the wait grows with every failure",
            };
            let times = match status.failures {
                0 | 1 => String::new(),
                times => format!(", {times} times in a row,"),
            };
            format!("It failed {since} ago{times} and {wait} ({policy}).")
        }
        Phase::Stopping => {
            let how = match (replica.desired, workload) {
                (Desired::Stop(StopOrder::Forced), _) => "by SIGKILL".to_owned(),
                (_, Some(w)) => {
                    let signal = w.stop_signal.map_or_else(|| "by its stop signal".into(), |signal| signal.to_string());
                    format!("{signal}, then SIGKILL after {}", w.stop_grace_period)
                }
                (_, None) => "by its stop signal".to_owned(),
            };
            format!("It has been stopping for {since} ({how}).")
        }
        Phase::Finished(Outcome::Stopped) => format!("It was stopped {since} ago, as asked."),
        Phase::Finished(Outcome::Failed) => format!(
            "It failed for good {since} ago, and nothing is started in its place until {} is deployed again (the same file will do).",
            replica.service.deployment
        ),
        Phase::Finished(Outcome::Isolated) => format!(
            "It failed {since} ago and was taken aside (errors.on_panic: isolate): nothing of it runs; its files, logs and network stay for a look until it is deployed again or stopped."
        ),
        Phase::Finished(Outcome::Lost) => format!("It was lost with its node {node} {since} ago."),
    }
}

fn check_line(health: &HealthCheck) -> String {
    let what = match &health.check {
        Check::Http { url, expect_status } => format!("GET {url}, expecting {expect_status}"),
        Check::Tcp { port } => format!("a connection to port {port}"),
        Check::Command { command } => format!("the command {}", command.join(" ")),
    };
    let times =
        if health.retries == 1 { "1 failure counts".to_owned() } else { format!("{} in a row count", health.retries) };
    format!("{what}, every {}, {times}", health.interval)
}

fn node_line(state: &ClusterState, replica: &Replica, now: Timestamp) -> Option<String> {
    if replica.status.phase.is_finished() {
        return None;
    }
    match state.nodes.get(&replica.node) {
        None => Some(format!("Its node {} is not known to the cluster any more.", replica.node)),
        Some(node) => match node.liveness {
            Liveness::Alive => None,
            Liveness::Lost(since) => Some(format!(
                "Its node {} has been silent for {} and was given up: its replicas are replaced elsewhere.",
                node.name,
                age(now, since)
            )),
            Liveness::Suspect(since) => Some(format!(
                "Its node {} has been silent for {}: what is said here is the last that was heard, and what runs there is believed to run on. Is the agent running there?",
                node.name,
                age(now, since)
            )),
        },
    }
}

/// Did it get far enough to have written something?
fn has_output(replica: &Replica) -> bool {
    replica.status.last_exit.is_some()
        || matches!(replica.status.phase, Phase::Initializing | Phase::Starting | Phase::Running(_))
}

/// Does the reason say how the process ended?
fn tells(reason: &Reason, exit: &Exit) -> bool {
    let by_code =
        ["out_of_memory", "not_a_program", "interpreter_missing", "permission_denied"].contains(&reason.code.as_str());
    by_code || reason.message.contains(&exit.to_string())
}

/// What happened lately, the newest first. What happened again and again is one line, and a reason that is told above
/// is not told again.
fn history<'a>(events: impl DoubleEndedIterator<Item = &'a Event>, told: &[&Reason], now: Timestamp) -> Vec<String> {
    let mut lines: Vec<(String, Timestamp, Timestamp, usize)> = Vec::new();
    for event in events.rev() {
        let text = event.reason.message.split("; tries again in").next().unwrap_or_default();
        match lines.iter_mut().find(|(known, ..)| known == text) {
            Some((_, _, first, times)) => (*first, *times) = (event.at, *times + 1),
            None => lines.push((text.to_owned(), event.at, event.at, 1)),
        }
    }
    let told = |text: &str| told.iter().find(|reason| text.contains(reason.message.trim_end_matches('.')));
    let line = |(text, newest, first, times): (String, Timestamp, Timestamp, usize)| {
        let text = match told(&text) {
            Some(_) if times == 1 => return None,
            Some(reason) => text.replace(reason.message.trim_end_matches('.'), "the same"),
            None => text,
        };
        let again = if times == 1 { String::new() } else { format!(" ({times} times since {} ago)", age(now, first)) };
        Some(format!("{} ago: {}", age(now, newest), sentence(&format!("{text}{again}"))))
    };
    lines.into_iter().filter_map(line).take(HISTORY_MAX).collect()
}

/// Adds what to do, where the code tells and the message does not.
fn with_remedy(message: &str, reason: &Reason) -> String {
    let remedy = match reason.code.as_str() {
        "image_not_found" => {
            "Send it to the nodes with `orlopctl image import FILE`, push it, or correct `image.name`."
        }
        "image_unauthorized" => "Check the credentials in the agent's docker/config.json.",
        "image_invalid" => "Push the image again: what the registry sent is not what its digest says.",
        "image_unavailable" => {
            "Check that the registry runs and that the node reaches it; it is tried again by itself."
        }
        "no_command" => "Set `command` in the service.",
        "command_not_found" => "Correct `command`; a name without / is looked for in the PATH of the container.",
        "permission_denied" => {
            "Make the program's file executable in the image (chmod 755), for `user` too, or correct `command`."
        }
        "not_a_program" => {
            "Build the image for this machine's architecture, or begin the script with #! and its interpreter."
        }
        "interpreter_missing" => {
            "Put it into the image (a script's first line names it, and so does a dynamically linked program), or mend the line."
        }
        "unknown_user" => "Correct `user`, or give numbers (\"1000:1000\"), which the image need not know.",
        "env_missing" => {
            "Set it where the agent is started (`orlopctl dev`, on one machine) and start that again, or correct `env`."
        }
        "mount_invalid" => "Correct `volumes`, or make what is missing on the node.",
        "working_dir_invalid" => "Correct `working_dir`.",
        "disk_failed" => "Look at the node's disk and the agent's log; it is tried again by itself.",
        "stop_signal_unknown" => "Set `stop_signal` to one of the signals 1 to 31.",
        "limit_not_enforced" => "Boot the node with cgroup version 2, or place the service on another node.",
        "disk_full" => "Make room on the node; it is tried again by itself.",
        "runtime_unavailable" => "Is containerd running on the node? It is tried again by itself.",
        "out_of_memory" => "Raise `resources.memory`, or find out what needs so much.",
        "exited" => "A service's process is meant to stay; its output says why it ended.",
        "unhealthy" => "Check that it listens where `health.check` looks.",
        "no_node_fits" => "Ask for less with `resources`, scale something down, or add a node.",
        "dependency_timeout" => "Look at what it waited for, then deploy again, or raise `depends.timeout`.",
        "rollout_halted" => "Mend the new version and deploy it, or deploy the old one again.",
        _ => return message.to_owned(),
    };
    if message.contains(remedy) { message.to_owned() } else { format!("{message} {remedy}") }
}

/// Ends with a stop. Begins as it is: many begin with a name.
fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() || text.ends_with(['.', '!', '?', '…']) { text.to_owned() } else { format!("{text}.") }
}

/// How long ago something was, for people: one unit, two where the first is small.
pub fn age(now: Timestamp, then: Timestamp) -> String {
    span(now - then)
}

/// A span for people: `850ms`, `12s`, `3m20s`, `2h5m`, `4d3h`.
pub fn span(span: Millis) -> String {
    let seconds = span.0 / 1000;
    let two = |big: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big}{unit}"),
        small => format!("{big}{unit}{small}{small_unit}"),
    };
    match seconds {
        0 if span.0 > 0 => format!("{}ms", span.0),
        0..60 => format!("{seconds}s"),
        60..3600 => two(seconds / 60, "m", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "m"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

#[cfg(test)]
mod tests;
