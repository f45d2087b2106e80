//! `orlop.spec.v1`: an application as desired.

use super::enums;
use crate::invalid::{bounded, choice, counted, list, optional, parsed, required, text, word};
use crate::spec::v1 as pb;
use crate::{InvalidWire, Within};
use orlop_model::spec::*;
use orlop_model::{Cpu, Memory, Millis, Resources, ServiceName, check, limit};
use std::collections::BTreeMap;
use std::sync::Arc;

enums! {
    pb::PullPolicy = PullPolicy { Always, IfNotPresent, Never }
    pb::OnFailure = OnFailure { Fail, Warn, Continue }
    pb::OnInitFailure = OnInitFailure { Fail, Restart, Backoff }
    pb::OnPanic = OnPanic { Restart, Shutdown, Isolate }
    pb::Protocol = Protocol { Http, Tcp }
    pb::Condition = Condition { Started, Healthy, Ready }
}

impl From<&Deployment> for pb::Deployment {
    fn from(deployment: &Deployment) -> Self {
        Self {
            name: deployment.name.to_string(),
            services: deployment.services.iter().map(|(name, service)| (name.to_string(), service.into())).collect(),
        }
    }
}

/// Checks also what must hold across fields ([`check::violations`]); of several violations the first is named.
impl TryFrom<pb::Deployment> for Deployment {
    type Error = InvalidWire;

    fn try_from(wire: pb::Deployment) -> Result<Self, InvalidWire> {
        counted("services", wire.services.len(), check::SERVICES_MAX)?;
        let mut services = BTreeMap::new();
        for (name, service) in wire.services {
            let parsed: ServiceName = parsed("services", &name)?;
            services.insert(parsed, Service::try_from(service).within(&name).within("services")?);
        }
        let deployment = Deployment { name: parsed("name", &wire.name)?, services };
        match check::violations(&deployment).into_iter().next() {
            Some(violation) => {
                Err(InvalidWire::new(violation.path, format!("found {}; {}", violation.found, violation.allowed)))
            }
            None => Ok(deployment),
        }
    }
}

impl From<&Service> for pb::Service {
    fn from(service: &Service) -> Self {
        Self {
            workload: Some((&*service.workload).into()),
            endpoints: service.endpoints.iter().map(Into::into).collect(),
            scale: Some((&service.scale).into()),
            depends: service.depends.iter().map(Into::into).collect(),
            update: Some((&service.update).into()),
            constraints: service.placement.constraints.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::Service> for Service {
    type Error = InvalidWire;

    fn try_from(wire: pb::Service) -> Result<Self, InvalidWire> {
        Ok(Self {
            workload: Arc::new(required("workload", wire.workload)?),
            endpoints: list("endpoints", wire.endpoints, limit::ITEMS_MAX)?,
            scale: required("scale", wire.scale)?,
            depends: list("depends", wire.depends, limit::ITEMS_MAX)?,
            update: required("update", wire.update)?,
            placement: Placement { constraints: list("constraints", wire.constraints, limit::ITEMS_MAX)? },
        })
    }
}

impl From<&Workload> for pb::Workload {
    fn from(workload: &Workload) -> Self {
        Self {
            image: workload.image.name.clone(),
            pull_policy: pb::PullPolicy::from(workload.image.pull_policy).into(),
            command: workload.command.as_deref().map(strings),
            args: workload.args.as_deref().map(strings),
            working_dir: workload.working_dir.clone(),
            user: workload.user.clone(),
            env: workload.env.iter().map(|(name, value)| (name.clone(), value.into())).collect(),
            cpu_millis: workload.resources.cpu.map(|cpu| cpu.0),
            memory_bytes: workload.resources.memory.map(|memory| memory.0),
            health: workload.health.as_ref().map(Into::into),
            init: workload.init.iter().map(Into::into).collect(),
            on_init_failure: pb::OnInitFailure::from(workload.on_init_failure).into(),
            on_panic: pb::OnPanic::from(workload.on_panic).into(),
            volumes: workload.volumes.iter().map(Into::into).collect(),
            secret_files: workload.secret_files.iter().map(Into::into).collect(),
            stop_signal: workload.stop_signal.unwrap_or(Signal::TERM).number().into(),
            stop_signal_of_image: workload.stop_signal.is_none(),
            stop_grace_period_ms: workload.stop_grace_period.0,
        }
    }
}

impl TryFrom<pb::Workload> for Workload {
    type Error = InvalidWire;

    fn try_from(wire: pb::Workload) -> Result<Self, InvalidWire> {
        counted("env", wire.env.len(), limit::ITEMS_MAX)?;
        let mut env = BTreeMap::new();
        for (name, value) in wire.env {
            let value = EnvValue::try_from(value).within(&name).within("env")?;
            env.insert(variable("env", name)?, value);
        }
        Ok(Self {
            image: Image {
                name: word("image", wire.image, limit::IMAGE_BYTES_MAX)?,
                pull_policy: choice::<pb::PullPolicy, _>("pull_policy", wire.pull_policy)?,
            },
            command: wire.command.map(|c| arguments("command", c)).transpose()?,
            args: wire.args.map(|a| arguments("args", a)).transpose()?,
            working_dir: wire.working_dir.map(|path| absolute("working_dir", path)).transpose()?,
            user: wire.user.map(|user| user_of("user", user)).transpose()?,
            env,
            resources: Resources {
                cpu: wire
                    .cpu_millis
                    .map(|cpu| bounded("cpu_millis", cpu, 1..=limit::CPU_MILLIS_MAX).map(Cpu))
                    .transpose()?,
                memory: wire
                    .memory_bytes
                    .map(|memory| bounded("memory_bytes", memory, 1..=limit::MEMORY_BYTES_MAX).map(Memory))
                    .transpose()?,
            },
            health: optional("health", wire.health)?,
            init: list("init", wire.init, limit::ITEMS_MAX)?,
            on_init_failure: choice::<pb::OnInitFailure, _>("on_init_failure", wire.on_init_failure)?,
            on_panic: choice::<pb::OnPanic, _>("on_panic", wire.on_panic)?,
            volumes: list("volumes", wire.volumes, limit::ITEMS_MAX)?,
            secret_files: list("secret_files", wire.secret_files, limit::SECRET_FILES_MAX)?,
            stop_signal: match (Signal::from_number(wire.stop_signal), wire.stop_signal_of_image) {
                (Some(Signal::TERM), true) => None,
                (Some(signal), false) => Some(signal),
                (_, of_image) => {
                    let expected = if of_image { "15, as the image says which" } else { "1 to 31" };
                    let problem = format!("found {}; expected {expected}", wire.stop_signal);
                    return Err(InvalidWire::new("stop_signal", problem));
                }
            },
            stop_grace_period: span("stop_grace_period_ms", wire.stop_grace_period_ms, Millis(0))?,
        })
    }
}

impl From<&EnvValue> for pb::EnvValue {
    fn from(value: &EnvValue) -> Self {
        Self {
            value: Some(match value {
                EnvValue::Literal(text) => pb::env_value::Value::Literal(text.clone()),
                EnvValue::AgentEnv(name) => pb::env_value::Value::AgentEnv(name.clone()),
                EnvValue::Secret(name) => pb::env_value::Value::Secret(name.to_string()),
            }),
        }
    }
}

impl TryFrom<pb::EnvValue> for EnvValue {
    type Error = InvalidWire;

    fn try_from(wire: pb::EnvValue) -> Result<Self, InvalidWire> {
        match wire.value.ok_or_else(|| InvalidWire::missing(""))? {
            pb::env_value::Value::Literal(text) => Ok(EnvValue::Literal(argument("", text)?)),
            pb::env_value::Value::AgentEnv(name) => Ok(EnvValue::AgentEnv(variable("agent_env", name)?)),
            pb::env_value::Value::Secret(name) => Ok(EnvValue::Secret(parsed("secret", &name)?)),
        }
    }
}

impl From<&HealthCheck> for pb::HealthCheck {
    fn from(health: &HealthCheck) -> Self {
        use pb::health_check::Check as Wire;
        Self {
            start_grace_ms: health.start_grace.0,
            interval_ms: health.interval.0,
            timeout_ms: health.timeout.0,
            retries: health.retries,
            check: Some(match &health.check {
                Check::Http { url, expect_status } => {
                    Wire::Http(pb::HttpCheck { url: url.clone(), expect_status: (*expect_status).into() })
                }
                Check::Tcp { port } => Wire::Tcp(pb::TcpCheck { port: (*port).into() }),
                Check::Command { command } => Wire::Command(strings(command)),
            }),
        }
    }
}

impl TryFrom<pb::HealthCheck> for HealthCheck {
    type Error = InvalidWire;

    fn try_from(wire: pb::HealthCheck) -> Result<Self, InvalidWire> {
        use pb::health_check::Check as Wire;
        Ok(Self {
            start_grace: span("start_grace_ms", wire.start_grace_ms, Millis(0))?,
            interval: span("interval_ms", wire.interval_ms, limit::HEALTH_INTERVAL_MIN)?,
            timeout: span("timeout_ms", wire.timeout_ms, Millis(1))?,
            retries: bounded("retries", wire.retries, 1..=u32::MAX)?,
            check: match wire.check.ok_or_else(|| InvalidWire::missing("check"))? {
                Wire::Http(http) => {
                    let (url, expect_status) = http_of(http).within("http")?;
                    Check::Http { url, expect_status }
                }
                Wire::Tcp(tcp) => Check::Tcp { port: port("port", tcp.port).within("tcp")? },
                Wire::Command(command) => Check::Command { command: program("command", command)? },
            },
        })
    }
}

impl From<&InitStep> for pb::InitStep {
    fn from(step: &InitStep) -> Self {
        use pb::init_step::Action as Wire;
        Self {
            id: step.id.to_string(),
            timeout_ms: step.timeout.0,
            retries: step.retries,
            on_failure: pb::OnFailure::from(step.on_failure).into(),
            action: Some(match &step.action {
                InitAction::WaitTcp { host, port } => {
                    Wire::WaitTcp(pb::WaitTcp { host: host.clone(), port: (*port).into() })
                }
                InitAction::WaitHttp { url, expect_status } => {
                    Wire::WaitHttp(pb::HttpCheck { url: url.clone(), expect_status: (*expect_status).into() })
                }
                InitAction::Run { command } => Wire::Run(strings(command)),
            }),
        }
    }
}

impl TryFrom<pb::InitStep> for InitStep {
    type Error = InvalidWire;

    fn try_from(wire: pb::InitStep) -> Result<Self, InvalidWire> {
        use pb::init_step::Action as Wire;
        Ok(Self {
            id: parsed("id", &wire.id)?,
            timeout: span("timeout_ms", wire.timeout_ms, Millis(1))?,
            retries: wire.retries,
            on_failure: choice::<pb::OnFailure, _>("on_failure", wire.on_failure)?,
            action: match wire.action.ok_or_else(|| InvalidWire::missing("action"))? {
                Wire::WaitTcp(tcp) => InitAction::WaitTcp {
                    host: word("wait_tcp.host", tcp.host, limit::HOST_BYTES_MAX)?,
                    port: port("wait_tcp.port", tcp.port)?,
                },
                Wire::WaitHttp(http) => {
                    let (url, expect_status) = http_of(http).within("wait_http")?;
                    InitAction::WaitHttp { url, expect_status }
                }
                Wire::Run(command) => InitAction::Run { command: program("run", command)? },
            },
        })
    }
}

impl From<&Volume> for pb::Volume {
    fn from(volume: &Volume) -> Self {
        use pb::volume::Source as Wire;
        Self {
            target: volume.target.clone(),
            read_only: volume.read_only,
            source: Some(match &volume.source {
                VolumeSource::Named(name) => Wire::Named(name.to_string()),
                VolumeSource::Bind(path) => Wire::Bind(path.clone()),
                VolumeSource::Tmpfs { size } => Wire::Tmpfs(pb::Tmpfs { size_bytes: size.map(|s| s.0) }),
            }),
        }
    }
}

impl TryFrom<pb::Volume> for Volume {
    type Error = InvalidWire;

    fn try_from(wire: pb::Volume) -> Result<Self, InvalidWire> {
        use pb::volume::Source as Wire;
        Ok(Self {
            target: absolute("target", wire.target)?,
            read_only: wire.read_only,
            source: match wire.source.ok_or_else(|| InvalidWire::missing("source"))? {
                Wire::Named(name) => VolumeSource::Named(parsed("named", &name)?),
                Wire::Bind(path) => VolumeSource::Bind(absolute("bind", path)?),
                Wire::Tmpfs(tmpfs) => VolumeSource::Tmpfs {
                    size: tmpfs
                        .size_bytes
                        .map(|size| bounded("tmpfs.size_bytes", size, 1..=limit::MEMORY_BYTES_MAX).map(Memory))
                        .transpose()?,
                },
            },
        })
    }
}

impl From<&SecretFile> for pb::SecretFile {
    fn from(file: &SecretFile) -> Self {
        use pb::secret_file::OnChange as Wire;
        Self {
            secret: file.secret.to_string(),
            path: file.path.to_string(),
            mode: file.mode.bits(),
            uid: file.uid,
            gid: file.gid,
            on_change: Some(match file.on_change {
                OnSecretChange::Restart => Wire::Restart(pb::SecretRestart {}),
                OnSecretChange::Signal(signal) => Wire::Signal(signal.number().into()),
                OnSecretChange::Nothing => Wire::Nothing(pb::SecretNothing {}),
            }),
        }
    }
}

impl TryFrom<pb::SecretFile> for SecretFile {
    type Error = InvalidWire;

    fn try_from(wire: pb::SecretFile) -> Result<Self, InvalidWire> {
        use pb::secret_file::OnChange as Wire;
        let refused = |field: &str, found: u32, expected: &str| {
            InvalidWire::new(field, format!("found {found}; expected {expected}"))
        };
        let path = wire.path.parse().map_err(|e: InvalidSecretPath| InvalidWire::new("path", e.to_string()))?;
        Ok(Self {
            secret: parsed("secret", &wire.secret)?,
            path,
            mode: SecretMode::from_bits(wire.mode)
                .ok_or_else(|| refused("mode", wire.mode, "permissions to read, of 0444 (292)"))?,
            uid: bounded("uid", wire.uid, 0..=u32::MAX - 1)?,
            gid: bounded("gid", wire.gid, 0..=u32::MAX - 1)?,
            on_change: match wire.on_change.ok_or_else(|| InvalidWire::missing("on_change"))? {
                Wire::Restart(pb::SecretRestart {}) => OnSecretChange::Restart,
                Wire::Signal(number) => Signal::from_number(number)
                    .and_then(OnSecretChange::signal)
                    .ok_or_else(|| refused("signal", number, "1 to 31, and neither 9 nor 19"))?,
                Wire::Nothing(pb::SecretNothing {}) => OnSecretChange::Nothing,
            },
        })
    }
}

impl From<&Endpoint> for pb::Endpoint {
    fn from(endpoint: &Endpoint) -> Self {
        Self {
            name: endpoint.name.to_string(),
            protocol: pb::Protocol::from(endpoint.protocol).into(),
            port: endpoint.port.into(),
            path: endpoint.path.clone(),
            host: endpoint.host.clone(),
        }
    }
}

impl TryFrom<pb::Endpoint> for Endpoint {
    type Error = InvalidWire;

    fn try_from(wire: pb::Endpoint) -> Result<Self, InvalidWire> {
        let endpoint = Self {
            name: parsed("name", &wire.name)?,
            protocol: choice::<pb::Protocol, _>("protocol", wire.protocol)?,
            port: port("port", wire.port)?,
            path: word("path", wire.path, limit::PATH_BYTES_MAX)?,
            host: wire.host.map(|host| host_of("host", host)).transpose()?,
        };
        if !endpoint.path.starts_with('/') || endpoint.path.contains(['?', '#', ' ']) {
            return Err(InvalidWire::new(
                "path",
                format!("found {:?}; expected a path that begins with /, without query or fragment", endpoint.path),
            ));
        }
        if endpoint.protocol == Protocol::Tcp && (endpoint.path != "/" || endpoint.host.is_some()) {
            return Err(InvalidWire::new("protocol", "a tcp endpoint has no host, and no path but /"));
        }
        Ok(endpoint)
    }
}

impl From<&Scale> for pb::Scale {
    fn from(scale: &Scale) -> Self {
        Self {
            mode: Some(match scale {
                Scale::Fixed { replicas } => pb::scale::Mode::Fixed(*replicas),
                Scale::Manual => pb::scale::Mode::Manual(pb::ManualScale {}),
            }),
        }
    }
}

impl TryFrom<pb::Scale> for Scale {
    type Error = InvalidWire;

    fn try_from(wire: pb::Scale) -> Result<Self, InvalidWire> {
        match wire.mode.ok_or_else(|| InvalidWire::missing("mode"))? {
            pb::scale::Mode::Fixed(replicas) => {
                Ok(Scale::Fixed { replicas: bounded("fixed", replicas, 0..=check::REPLICAS_MAX)? })
            }
            pb::scale::Mode::Manual(pb::ManualScale {}) => Ok(Scale::Manual),
        }
    }
}

impl From<&Dependency> for pb::Dependency {
    fn from(dependency: &Dependency) -> Self {
        Self {
            service: dependency.service.to_string(),
            condition: pb::Condition::from(dependency.condition).into(),
            timeout_ms: dependency.timeout.map(|t| t.0),
            on_timeout: pb::OnFailure::from(dependency.on_timeout).into(),
        }
    }
}

impl TryFrom<pb::Dependency> for Dependency {
    type Error = InvalidWire;

    fn try_from(wire: pb::Dependency) -> Result<Self, InvalidWire> {
        Ok(Self {
            service: parsed("service", &wire.service)?,
            condition: choice::<pb::Condition, _>("condition", wire.condition)?,
            timeout: wire.timeout_ms.map(|t| span("timeout_ms", t, Millis(1))).transpose()?,
            on_timeout: choice::<pb::OnFailure, _>("on_timeout", wire.on_timeout)?,
        })
    }
}

impl From<&Update> for pb::Update {
    fn from(update: &Update) -> Self {
        Self {
            max_surge: update.max_surge,
            max_unavailable: update.max_unavailable,
            min_healthy_ms: update.min_healthy.0,
        }
    }
}

impl TryFrom<pb::Update> for Update {
    type Error = InvalidWire;

    fn try_from(wire: pb::Update) -> Result<Self, InvalidWire> {
        if wire.max_surge == 0 && wire.max_unavailable == 0 {
            return Err(InvalidWire::new(
                "max_surge",
                "found 0 here and in max_unavailable; an update could not begin",
            ));
        }
        Ok(Self {
            max_surge: bounded("max_surge", wire.max_surge, 0..=check::REPLICAS_MAX)?,
            max_unavailable: bounded("max_unavailable", wire.max_unavailable, 0..=check::REPLICAS_MAX)?,
            min_healthy: span("min_healthy_ms", wire.min_healthy_ms, Millis(0))?,
        })
    }
}

impl From<&Constraint> for pb::Constraint {
    fn from(constraint: &Constraint) -> Self {
        use pb::constraint::Attribute as Wire;
        Self {
            attribute: Some(match &constraint.attribute {
                NodeAttribute::Name => Wire::NodeName(pb::NodeName {}),
                NodeAttribute::Label(key) => Wire::Label(key.clone()),
            }),
            equal: constraint.equal,
            value: constraint.value.clone(),
        }
    }
}

impl TryFrom<pb::Constraint> for Constraint {
    type Error = InvalidWire;

    fn try_from(wire: pb::Constraint) -> Result<Self, InvalidWire> {
        use pb::constraint::Attribute as Wire;
        Ok(Self {
            attribute: match wire.attribute.ok_or_else(|| InvalidWire::missing("attribute"))? {
                Wire::NodeName(pb::NodeName {}) => NodeAttribute::Name,
                Wire::Label(key) => NodeAttribute::Label(word("label", key, limit::WORD_BYTES_MAX)?),
            },
            equal: wire.equal,
            value: text("value", wire.value, limit::WORD_BYTES_MAX)?,
        })
    }
}

fn strings(values: &[String]) -> pb::StringList {
    pb::StringList { values: values.to_owned() }
}

fn argument(field: &str, value: String) -> Result<String, InvalidWire> {
    if value.contains('\0') {
        return Err(InvalidWire::new(field, "found a NUL byte, which no process can be given"));
    }
    text(field, value, limit::ARGUMENT_BYTES_MAX)
}

fn arguments(field: &str, wire: pb::StringList) -> Result<Vec<String>, InvalidWire> {
    counted(field, wire.values.len(), limit::ITEMS_MAX)?;
    wire.values.into_iter().enumerate().map(|(i, value)| argument(&format!("{field}[{i}]"), value)).collect()
}

/// A program and its arguments.
fn program(field: &str, wire: pb::StringList) -> Result<Vec<String>, InvalidWire> {
    match wire.values.first() {
        Some(program) if !program.is_empty() => arguments(field, wire),
        _ => Err(InvalidWire::new(field, "names no program")),
    }
}

/// The name of an environment variable.
fn variable(field: &str, name: String) -> Result<String, InvalidWire> {
    if name.contains('=') {
        return Err(InvalidWire::new(field, format!("found the name {name:?}; a variable's name has no =")));
    }
    word(field, name, limit::WORD_BYTES_MAX)
}

fn user_of(field: &str, user: String) -> Result<String, InvalidWire> {
    let whole = user.split(':').count() <= 2 && user.split(':').all(|part| !part.is_empty());
    if !whole || user.contains(char::is_whitespace) {
        return Err(InvalidWire::new(field, format!("found {user:?}; expected user, uid, user:group or uid:gid")));
    }
    word(field, user, limit::WORD_BYTES_MAX)
}

fn absolute(field: &str, path: String) -> Result<String, InvalidWire> {
    if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(InvalidWire::new(field, format!("found {path:?}; expected an absolute path without ..")));
    }
    word(field, path, limit::PATH_BYTES_MAX)
}

fn host_of(field: &str, host: String) -> Result<String, InvalidWire> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    if !host.chars().all(allowed) {
        return Err(InvalidWire::new(field, format!("found {host:?}; expected a host name in lower case")));
    }
    word(field, host, limit::HOST_BYTES_MAX)
}

fn port(field: &str, number: u32) -> Result<u16, InvalidWire> {
    u16::try_from(number)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| InvalidWire::new(field, format!("found {number}; expected 1 to 65535")))
}

fn http_of(wire: pb::HttpCheck) -> Result<(String, u16), InvalidWire> {
    let url = word("url", wire.url, limit::URL_BYTES_MAX)?;
    if !url.starts_with("http://") || url.contains(' ') {
        return Err(InvalidWire::new("url", format!("found {url:?}; expected an http:// URL")));
    }
    Ok((url, bounded("expect_status", wire.expect_status, 100..=599)? as u16))
}

fn span(field: &str, millis: u64, min: Millis) -> Result<Millis, InvalidWire> {
    bounded(field, millis, min.0..=limit::SPAN_MAX.0).map(Millis)
}

/// A port, for the other packages.
pub(super) fn port_of(field: &str, number: u32) -> Result<u16, InvalidWire> {
    port(field, number)
}
