//! What a deploy does to each service: whether its replicas are replaced, and which fields differ, named as in the file.

use crate::name::ServiceName;
use crate::spec::*;
use std::collections::BTreeMap;

/// What a deploy does to one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceChange {
    /// The service.
    pub service: ServiceName,
    /// What happens to it.
    pub kind: ChangeKind,
    /// For [`ChangeKind::Replaced`] and [`ChangeKind::Updated`]: the fields that differ, as `image.name: a → b`. For what is
    /// tried again: what had failed.
    pub fields: Vec<String>,
}

/// What happens to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// Nothing.
    Unchanged,
    /// It is new.
    Added,
    /// The file has it no more: its replicas are stopped.
    Removed,
    /// Its workload differs: replicas are replaced.
    Replaced,
    /// Only what touches no container differs.
    Updated,
    /// Nothing differs, and what of it had failed is tried again.
    Retried,
}

impl ServiceChange {
    /// Compares a service before and after. `None` before is a new service, `None` after a removed one.
    pub fn between(service: ServiceName, before: Option<&Service>, after: Option<&Service>) -> Self {
        let (kind, fields) = match (before, after) {
            (None, _) => (ChangeKind::Added, Vec::new()),
            (_, None) => (ChangeKind::Removed, Vec::new()),
            (Some(before), Some(after)) if before == after => (ChangeKind::Unchanged, Vec::new()),
            (Some(before), Some(after)) if before.workload == after.workload => {
                (ChangeKind::Updated, differences(before, after))
            }
            (Some(before), Some(after)) => (ChangeKind::Replaced, differences(before, after)),
        };
        Self { service, kind, fields }
    }
}

/// The longest value shown, in characters.
const SHOWN_MAX: usize = 80;

fn differences(before: &Service, after: &Service) -> Vec<String> {
    let (before, after) = (fields(before), fields(after));
    let paths: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let shown = |value: Option<&String>| match value {
        None => "(unset)".to_owned(),
        Some(value) if value.chars().count() > SHOWN_MAX => value.chars().take(SHOWN_MAX - 1).chain(['…']).collect(),
        Some(value) => value.clone(),
    };
    paths
        .into_iter()
        .filter(|path| before.get(*path) != after.get(*path))
        .map(|path| format!("{path}: {} → {}", shown(before.get(path)), shown(after.get(path))))
        .collect()
}

/// Every field that is set, by its path in the spec file, as text.
fn fields(service: &Service) -> BTreeMap<String, String> {
    let mut fields = Fields(BTreeMap::new());
    workload_fields(&service.workload, &mut fields);
    for endpoint in &service.endpoints {
        let host = endpoint.host.as_deref().unwrap_or("*");
        let what = match endpoint.protocol {
            Protocol::Http => format!("http, port {}, host {host}, path {}", endpoint.port, endpoint.path),
            Protocol::Tcp => format!("tcp, port {}", endpoint.port),
        };
        fields.set(format!("endpoints.{}", endpoint.name), what);
    }
    match service.scale {
        Scale::Fixed { replicas } => fields.set("scale", format!("fixed, {replicas} replicas")),
        Scale::Manual => fields.set("scale", "manual"),
    }
    for dependency in &service.depends {
        let timeout = dependency.timeout.map_or("no timeout".to_owned(), |t| format!("timeout {t}"));
        let what = format!("{}, {timeout}, on_timeout {}", word(&dependency.condition), word(&dependency.on_timeout));
        fields.set(format!("depends.{}", dependency.service), what);
    }
    fields.set("update.max_surge", service.update.max_surge.to_string());
    fields.set("update.max_unavailable", service.update.max_unavailable.to_string());
    fields.set("update.min_healthy", service.update.min_healthy.to_string());
    let constraints: Vec<String> = service.placement.constraints.iter().map(ToString::to_string).collect();
    fields.set_list("placement.constraints", &constraints);
    fields.0
}

fn workload_fields(workload: &Workload, fields: &mut Fields) {
    fields.set("image.name", &workload.image.name);
    fields.set("image.pull_policy", word(&workload.image.pull_policy));
    if let Some(command) = &workload.command {
        fields.set("command", format!("{command:?}"));
    }
    if let Some(args) = &workload.args {
        fields.set("args", format!("{args:?}"));
    }
    if let Some(path) = &workload.working_dir {
        fields.set("working_dir", path);
    }
    if let Some(user) = &workload.user {
        fields.set("user", user);
    }
    for (name, value) in &workload.env {
        let value = match value {
            EnvValue::Literal(text) => text.clone(),
            EnvValue::AgentEnv(name) => format!("$E:{name}"),
            EnvValue::Secret(name) => format!("$S:{name}"),
        };
        fields.set(format!("env.{name}"), value);
    }
    if let Some(cpu) = workload.resources.cpu {
        fields.set("resources.cpu", cpu.to_string());
    }
    if let Some(memory) = workload.resources.memory {
        fields.set("resources.memory", memory.to_string());
    }
    if let Some(health) = &workload.health {
        fields.set("health.start_grace", health.start_grace.to_string());
        fields.set("health.interval", health.interval.to_string());
        fields.set("health.timeout", health.timeout.to_string());
        fields.set("health.retries", health.retries.to_string());
        let check = match &health.check {
            Check::Http { url, expect_status } => format!("http, {url}, status {expect_status}"),
            Check::Tcp { port } => format!("tcp, port {port}"),
            Check::Command { command } => format!("command, {command:?}"),
        };
        fields.set("health.check", check);
    }
    for (i, step) in workload.init.iter().enumerate() {
        let action = match &step.action {
            InitAction::WaitTcp { host, port } => format!("init.wait_tcp {host}:{port}"),
            InitAction::WaitHttp { url, expect_status } => format!("init.wait_http {url}, status {expect_status}"),
            InitAction::Run { command } => format!("init.run {command:?}"),
        };
        let what = format!(
            "{}: {action}, timeout {}, retries {}, on_failure {}",
            step.id,
            step.timeout,
            step.retries,
            word(&step.on_failure)
        );
        fields.set(format!("init.steps[{i}]"), what);
    }
    fields.set("errors.on_init_failure.action", word(&workload.on_init_failure));
    fields.set("errors.on_panic.action", word(&workload.on_panic));
    for volume in &workload.volumes {
        let source = match &volume.source {
            VolumeSource::Named(name) => format!("named {name}"),
            VolumeSource::Bind(path) => format!("bind {path}"),
            VolumeSource::Tmpfs { size: Some(size) } => format!("tmpfs of {size}"),
            VolumeSource::Tmpfs { size: None } => "tmpfs".to_owned(),
        };
        let mode = if volume.read_only { ", read-only" } else { "" };
        fields.set(format!("volumes.{}", volume.target), format!("{source}{mode}"));
    }
    for file in &workload.secret_files {
        let SecretFile { secret, path, mode, uid, gid, on_change } = file;
        let what = format!("{secret}, mode {mode}, of {uid}:{gid}, on_change {on_change}");
        fields.set(format!("secrets.{path}"), what);
    }
    if let Some(signal) = workload.stop_signal {
        fields.set("stop_signal", signal.to_string());
    }
    fields.set("stop_grace_period", workload.stop_grace_period.to_string());
}

struct Fields(BTreeMap<String, String>);

impl Fields {
    fn set(&mut self, path: impl Into<String>, value: impl Into<String>) {
        self.0.insert(path.into(), value.into());
    }

    fn set_list(&mut self, path: &str, values: &[String]) {
        if !values.is_empty() {
            self.set(path, values.join(", "));
        }
    }
}

/// A variant's name as the spec file writes it: `IfNotPresent` is `if_not_present`.
fn word(variant: &impl std::fmt::Debug) -> String {
    let mut word = String::new();
    for c in format!("{variant:?}").chars() {
        if c.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(c.to_ascii_lowercase());
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cpu;
    use std::sync::Arc;

    fn service() -> Service {
        Service::of(Workload::of("registry.example/api:1"))
    }

    fn name() -> ServiceName {
        "api".parse().expect("a name")
    }

    #[test]
    fn a_changed_workload_replaces_and_names_each_field() {
        let before = service();
        let mut after = service();
        let workload = Arc::make_mut(&mut after.workload);
        workload.image.name = "registry.example/api:2".into();
        workload.image.pull_policy = PullPolicy::Always;
        workload.resources.cpu = Some(Cpu(500));
        workload.env.insert("LOG".into(), EnvValue::AgentEnv("LEVEL".into()));
        workload.args = Some(vec!["x".repeat(200)]);
        workload.secret_files.push(SecretFile {
            secret: "tls".parse().expect("a name"),
            path: "/run/secrets/tls".parse().expect("a path"),
            mode: SecretMode::ALL,
            uid: 0,
            gid: 7,
            on_change: OnSecretChange::Signal(Signal::TERM),
        });
        let change = ServiceChange::between(name(), Some(&before), Some(&after));
        assert_eq!(change.kind, ChangeKind::Replaced);
        let cut = format!("[\"{}…", "x".repeat(77));
        assert_eq!(
            change.fields,
            [
                &format!("args: (unset) → {cut}"),
                "env.LOG: (unset) → $E:LEVEL",
                "image.name: registry.example/api:1 → registry.example/api:2",
                "image.pull_policy: if_not_present → always",
                "resources.cpu: (unset) → 0.5",
                "secrets./run/secrets/tls: (unset) → tls, mode 0444, of 0:7, on_change signal SIGTERM",
            ]
        );
    }

    #[test]
    fn what_touches_no_container_is_an_update() {
        let before = service();
        let mut after = service();
        after.scale = Scale::Manual;
        after.update.max_surge = 2;
        let change = ServiceChange::between(name(), Some(&before), Some(&after));
        assert_eq!(change.kind, ChangeKind::Updated);
        assert_eq!(change.fields, ["scale: fixed, 1 replicas → manual", "update.max_surge: 1 → 2"]);
    }

    #[test]
    fn services_come_stay_and_go() {
        let service = service();
        for (before, after, kind) in [
            (None, Some(&service), ChangeKind::Added),
            (Some(&service), None, ChangeKind::Removed),
            (Some(&service), Some(&service), ChangeKind::Unchanged),
        ] {
            assert_eq!(ServiceChange::between(name(), before, after).kind, kind);
        }
    }
}
