//! From the tree to the model.

use crate::grammar::{Refusal, because, constraint, cron, env, host, image, path, user};
use crate::keys;
use crate::reader::{At, Object, Reader};
use crate::tree::{Kind, Node};
use orlop_model::spec::{
    Check, Condition, Dependency, Deployment, Endpoint, EnvValue, HealthCheck, Image, InitAction, InitStep, OnFailure,
    OnInitFailure, OnPanic, OnSecretChange, Placement, Protocol, PullPolicy, Scale, SecretFile, SecretMode, Service,
    Signal, Update, Volume, VolumeSource, Workload,
};
use orlop_model::trust::SecretName;
use orlop_model::{InvalidName, Resources, ServiceName};
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

/// The deployment that a tree describes; sound if and only if the reader found no problem.
pub(crate) fn deployment(reader: &mut Reader, root: &Node) -> Option<Deployment> {
    let root = reader.root(root);
    let object = reader.open(&root, &keys::DEPLOYMENT)?;
    reader.word(&object, "version");
    let name = reader.text(&object, "deployment", name);
    let entries = reader.map(&object, "services", name_of::<ServiceName>).unwrap_or_default();
    let mut shifts = Shifts::default();
    let mut services = BTreeMap::new();
    for (name, at) in entries {
        if let Some(service) = service(reader, &at, name.as_str(), &mut shifts) {
            services.insert(name, service);
        }
    }
    // Rules across fields are judged on what could be read; a placeholder stands for a name that could not.
    let deployment = Deployment { name: name.or_else(|| "placeholder".parse().ok())?, services };
    for violation in orlop_model::check::violations(&deployment) {
        if violation.path == "services" {
            // Counted on the file itself, unreadable services included.
            continue;
        }
        let path = shifts.restore(&violation.path);
        // What is not written stands where it would be.
        let around = || path.rsplit_once('.').and_then(|(around, _)| reader.place_of(around));
        let place = reader.place_of(&path).or_else(around).unwrap_or(root.place);
        reader.problem(place, &path, violation.found, shifts.restore(&violation.allowed));
    }
    Some(deployment)
}

/// Where lists of the model lack entries that could not be read, so that its indices differ from the file's.
#[derive(Default)]
struct Shifts(BTreeMap<String, Vec<usize>>);

impl Shifts {
    /// Reads each item, and remembers which indices gave a value.
    fn read<'t, T>(
        &mut self,
        reader: &mut Reader,
        path: String,
        items: Option<Vec<At<'t>>>,
        read: impl Fn(&mut Reader, &At<'t>) -> Option<T>,
    ) -> Vec<T> {
        let (mut values, mut indices) = (Vec::new(), Vec::new());
        for (index, at) in items.unwrap_or_default().iter().enumerate() {
            if let Some(value) = read(reader, at) {
                values.push(value);
                indices.push(index);
            }
        }
        if indices.iter().enumerate().any(|(i, index)| i != *index) {
            self.0.insert(path, indices);
        }
        values
    }

    /// Puts the file's indices into a text that names a path of the model.
    fn restore(&self, text: &str) -> String {
        for (path, indices) in &self.0 {
            if let Some(start) = text.find(&format!("{path}[")) {
                let digits = start + path.len() + 1;
                let end = digits + text[digits..].find(']').unwrap_or(0);
                if let Some(index) = text[digits..end].parse().ok().and_then(|i: usize| indices.get(i)) {
                    return format!("{}{index}{}", &text[..digits], &text[end..]);
                }
            }
        }
        text.to_owned()
    }
}

fn name<N: FromStr<Err = InvalidName>>(text: &str) -> Result<N, Refusal> {
    text.parse().map_err(|_: InvalidName| {
        let lower = text.to_ascii_lowercase().replace(['_', '.', ' '], "-");
        match lower.parse::<N>() {
            Ok(_) => Refusal::Because(format!(
                "names are of a–z, 0–9 and -, beginning and ending with a letter or digit: write {lower}"
            )),
            Err(_) => Refusal::Plain,
        }
    })
}

fn name_of<N: FromStr<Err = InvalidName>>(text: &str) -> Result<N, Refusal> {
    name(text)
}

fn argument(text: &str) -> Result<String, Refusal> {
    if text.len() > env::VARIABLE_MAX {
        return because(format!("an argument has at most {} bytes", env::VARIABLE_MAX));
    }
    Ok(text.to_owned())
}

/// A list of program and arguments. `program` says that the first is one.
fn words(reader: &mut Reader, object: &Object<'_>, key: &str, program: bool) -> Option<Vec<String>> {
    let items = reader.list(object, key)?;
    let mut words = Vec::new();
    for (i, at) in items.iter().enumerate() {
        let word = reader.text_at(at, &keys::ARGUMENT, |text| match text {
            "" if program && i == 0 => because("the first word is the program"),
            text => argument(text),
        });
        words.extend(word);
    }
    Some(words)
}

fn service(reader: &mut Reader, at: &At<'_>, name: &str, shifts: &mut Shifts) -> Option<Service> {
    let object = reader.open(at, &keys::SERVICE)?;
    let rtype = reader.word(&object, "rtype");
    if matches!(rtype, Some("cron")) {
        reader.text(&object, "schedule", cron::schedule);
        reader.text(&object, "timezone", cron::timezone);
    }
    if let Some(job) = reader.object(&object, "job") {
        reader.duration(&job, "timeout");
        reader.int(&job, "retries");
        if matches!(rtype, Some("cron")) {
            reader.word(&job, "overlap");
            reader.word(&job, "missed");
        }
    }
    network(reader, &object);
    let list = |key: &str| format!("services.{name}.{key}");
    let items = reader.list(&object, "endpoints");
    let endpoints = shifts.read(reader, list("endpoints"), items, endpoint);
    let items = reader.list(&object, "depends");
    let depends = shifts.read(reader, list("depends"), items, dependency);
    let init = reader.object(&object, "init");
    let items = init.as_ref().and_then(|init| reader.list(init, "steps"));
    let init = shifts.read(reader, list("init.steps"), items, step);
    let items = reader.list(&object, "volumes");
    let volumes = shifts.read(reader, list("volumes"), items, volume);
    let items = reader.list(&object, "secrets");
    let secrets = shifts.read(reader, list("secrets"), items, secret);
    Some(Service {
        workload: Arc::new(workload(reader, &object, init, volumes, secrets)),
        endpoints,
        scale: scale(reader, &object),
        depends,
        update: update(reader, &object),
        placement: placement(reader, &object),
    })
}

fn workload(
    reader: &mut Reader,
    object: &Object<'_>,
    init: Vec<InitStep>,
    volumes: Vec<Volume>,
    secret_files: Vec<SecretFile>,
) -> Workload {
    let errors = reader.object(object, "errors").unwrap_or(Object::absent(&keys::ERRORS));
    let on_init_failure = reader.object(&errors, "on_init_failure").unwrap_or(Object::absent(&keys::ON_INIT_FAILURE));
    let on_panic = reader.object(&errors, "on_panic").unwrap_or(Object::absent(&keys::ON_PANIC));
    Workload {
        image: the_image(reader, object),
        command: words(reader, object, "command", true),
        args: words(reader, object, "args", false),
        working_dir: reader.text(object, "working_dir", path::absolute),
        user: reader.text(object, "user", user::check),
        env: environment(reader, object),
        resources: resources(reader, object),
        health: health(reader, object),
        init,
        on_init_failure: match reader.word(&on_init_failure, "action") {
            Some("fail") => OnInitFailure::Fail,
            Some("restart") => OnInitFailure::Restart,
            _ => OnInitFailure::Backoff,
        },
        on_panic: match reader.word(&on_panic, "action") {
            Some("shutdown") => OnPanic::Shutdown,
            Some("isolate") => OnPanic::Isolate,
            _ => OnPanic::Restart,
        },
        volumes,
        secret_files,
        stop_signal: reader.text(object, "stop_signal", |text| Signal::parse(text).ok_or(Refusal::Plain)),
        stop_grace_period: reader.duration(object, "stop_grace_period").unwrap_or_default(),
    }
}

fn the_image(reader: &mut Reader, object: &Object<'_>) -> Image {
    if let Some(at) = object.at("image")
        && let Kind::Scalar { text, .. } = &at.node.kind
        && !at.node.is_nothing()
    {
        let found = crate::problem::quote(text);
        reader.problem(at.place, &at.path, found, format!("an image is a mapping: write {{ name: {text:.200} }}"));
        return Image { name: String::new(), pull_policy: PullPolicy::IfNotPresent };
    }
    let image_object = reader.object(object, "image").unwrap_or(Object::absent(&keys::IMAGE));
    Image {
        name: reader.text(&image_object, "name", image::check).unwrap_or_default(),
        pull_policy: match reader.word(&image_object, "pull_policy") {
            Some("always") => PullPolicy::Always,
            Some("never") => PullPolicy::Never,
            _ => PullPolicy::IfNotPresent,
        },
    }
}

fn environment(reader: &mut Reader, object: &Object<'_>) -> BTreeMap<String, EnvValue> {
    let mut variables = BTreeMap::new();
    for (name, at) in reader.map(object, "env", env::name).unwrap_or_default() {
        if let Some(value) = reader.text_at(&at, &keys::ENV_VALUE, env::value) {
            variables.insert(name, value);
        }
    }
    variables
}

fn resources(reader: &mut Reader, object: &Object<'_>) -> Resources {
    let Some(object) = reader.object(object, "resources") else { return Resources::default() };
    Resources { cpu: reader.cpu(&object, "cpu"), memory: reader.size(&object, "memory") }
}

fn health(reader: &mut Reader, object: &Object<'_>) -> Option<HealthCheck> {
    let object = reader.object(object, "health")?;
    let start_grace = reader.duration(&object, "start_grace").unwrap_or_default();
    let interval = reader.duration(&object, "interval").unwrap_or_default();
    let timeout = reader.duration(&object, "timeout").unwrap_or_default();
    let retries = small(reader.int(&object, "retries"));
    let object = reader.object(&object, "check")?;
    let check = match reader.word(&object, "type")? {
        "http" => Check::Http {
            url: reader.text(&object, "url", host::url).unwrap_or_default(),
            expect_status: port(reader.int(&object, "expect_status")),
        },
        "tcp" => Check::Tcp { port: port(reader.int(&object, "port")) },
        _ => Check::Command { command: words(reader, &object, "command", true).unwrap_or_default() },
    };
    Some(HealthCheck { start_grace, interval, timeout, retries, check })
}

fn step(reader: &mut Reader, at: &At<'_>) -> Option<InitStep> {
    let object = reader.open(at, &keys::STEP)?;
    let id = reader.text(&object, "id", name);
    let timeout = reader.duration(&object, "timeout").unwrap_or_default();
    let on_failure = on_failure(reader.word(&object, "on_failure"));
    let mut retries = 0;
    let uses = reader.word(&object, "uses")?;
    let with = reader.object(&object, "with");
    if uses == "init.run" {
        retries = small(reader.int(&object, "retries"));
    }
    let with = with?;
    let action = match uses {
        "init.wait_tcp" => InitAction::WaitTcp {
            host: reader.text(&with, "host", host::target).unwrap_or_default(),
            port: port(reader.int(&with, "port")),
        },
        "init.wait_http" => InitAction::WaitHttp {
            url: reader.text(&with, "url", host::url).unwrap_or_default(),
            expect_status: port(reader.int(&with, "expect_status")),
        },
        _ => InitAction::Run { command: words(reader, &with, "command", true).unwrap_or_default() },
    };
    Some(InitStep { id: id?, action, timeout, retries, on_failure })
}

fn volume(reader: &mut Reader, at: &At<'_>) -> Option<Volume> {
    let object = reader.open(at, &keys::VOLUME)?;
    let target = reader.text(&object, "target", path::mount_target);
    let kind = reader.word(&object, "type")?;
    let read_only = kind != "tmpfs" && reader.boolean(&object, "read_only").unwrap_or_default();
    let source = match kind {
        "named" => reader.text(&object, "name", name).map(VolumeSource::Named),
        "bind" => reader.text(&object, "source", path::absolute).map(VolumeSource::Bind),
        _ => Some(VolumeSource::Tmpfs { size: reader.size(&object, "size") }),
    };
    Some(Volume { target: target?, read_only, source: source? })
}

fn secret(reader: &mut Reader, at: &At<'_>) -> Option<SecretFile> {
    let object = reader.open(at, &keys::SECRET_FILE)?;
    let secret = reader.text(&object, "name", |text| text.parse::<SecretName>().map_err(|_| Refusal::Plain));
    let path = match (object.at("path"), &secret) {
        (None, Some(secret)) => {
            let path = format!("/run/secrets/{secret}").parse().ok();
            if path.is_none() {
                let allowed = format!("no file can be named {secret}: write a `path` for it");
                reader.problem_at(&object, "name", crate::problem::quote(secret.as_str()), allowed);
            }
            path
        }
        _ => reader.text(&object, "path", path::secret),
    };
    let mode = reader.text(&object, "mode", |text| SecretMode::parse(text).ok_or(Refusal::Plain));
    let (uid, gid) = (reader.int(&object, "uid"), reader.int(&object, "gid"));
    let on_change = match reader.word(&object, "on_change")? {
        "signal" => reader.text(&object, "signal", |text| {
            let signal = Signal::parse(text).ok_or(Refusal::Plain)?;
            let refusal = || {
                let remedy = format!("a process does not hear of {signal}: choose another, or `on_change: restart`");
                Refusal::Because(remedy)
            };
            OnSecretChange::signal(signal).ok_or_else(refusal)
        }),
        "none" => Some(OnSecretChange::Nothing),
        _ => Some(OnSecretChange::Restart),
    };
    Some(SecretFile {
        secret: secret?,
        path: path?,
        mode: mode?,
        uid: small(Some(uid?)),
        gid: small(Some(gid?)),
        on_change: on_change?,
    })
}

fn endpoint(reader: &mut Reader, at: &At<'_>) -> Option<Endpoint> {
    let object = reader.open(at, &keys::ENDPOINT)?;
    let name = reader.text(&object, "name", name);
    let protocol = reader.word(&object, "protocol");
    let number = reader.int(&object, "port");
    reader.word(&object, "expose");
    let routed = protocol.is_none_or(|protocol| !matches!(protocol, "tcp" | "udp"));
    let (path, host) = if routed {
        (reader.text(&object, "path", path::request), reader.text(&object, "host", host::public))
    } else {
        (Some("/".to_owned()), None)
    };
    let protocol = match protocol? {
        "http" => Protocol::Http,
        "tcp" => Protocol::Tcp,
        // Said already; such an endpoint takes no route from another.
        _ => return None,
    };
    Some(Endpoint { name: name?, protocol, port: port(Some(number?)), path: path?, host })
}

fn scale(reader: &mut Reader, object: &Object<'_>) -> Scale {
    let Some(object) = reader.object(object, "scale") else { return Scale::Fixed { replicas: 1 } };
    match reader.word(&object, "mode") {
        Some("manual") => Scale::Manual,
        Some("adaptive") => {
            let (min, max) = (reader.int(&object, "min"), reader.int(&object, "max"));
            if let (Some(min), Some(max)) = (min, max)
                && min > max
            {
                reader.problem_at(&object, "min", min.to_string(), format!("expected at most max, which is {max}"));
            }
            reader.duration(&object, "cooldown");
            if let Some(targets) = reader.object(&object, "targets") {
                let all = ["cpu", "memory", "rps"];
                for key in all {
                    reader.int(&targets, key);
                }
                if all.iter().all(|key| targets.at(key).is_none()) {
                    reader.problem_at(&object, "targets", "no targets", "expected at least one of cpu, memory and rps");
                }
            }
            Scale::Manual
        }
        _ => Scale::Fixed { replicas: small(reader.int(&object, "replicas")) },
    }
}

fn dependency(reader: &mut Reader, at: &At<'_>) -> Option<Dependency> {
    let object = reader.open(at, &keys::DEPENDENCY)?;
    let service = reader.text(&object, "service", name);
    let condition = match reader.word(&object, "condition") {
        Some("healthy") => Condition::Healthy,
        Some("ready") => Condition::Ready,
        _ => Condition::Started,
    };
    let timeout = reader.duration(&object, "timeout");
    let on_timeout = reader.word(&object, "on_timeout");
    if object.at("timeout").is_none()
        && let Some(word) = on_timeout
        && object.at("on_timeout").is_some()
    {
        let allowed = "without `timeout` the wait has no end: add one, or leave `on_timeout` out";
        reader.problem_at(&object, "on_timeout", crate::problem::quote(word), allowed);
    }
    Some(Dependency { service: service?, condition, timeout, on_timeout: on_failure(on_timeout) })
}

fn network(reader: &mut Reader, object: &Object<'_>) {
    let Some(network) = reader.object(object, "network") else { return };
    let Some(overlays) = reader.object(&network, "overlays") else { return };
    if let Some(service) = reader.object(&overlays, "service") {
        for key in ["enabled", "encrypted", "isolated"] {
            reader.boolean(&service, key);
        }
    }
    if let Some(global) = reader.object(&overlays, "global") {
        reader.boolean(&global, "enabled");
    }
}

fn update(reader: &mut Reader, object: &Object<'_>) -> Update {
    let object = reader.object(object, "update").unwrap_or(Object::absent(&keys::UPDATE));
    reader.word(&object, "strategy");
    reader.boolean(&object, "auto_revert");
    let (max_surge, max_unavailable) = (reader.int(&object, "max_surge"), reader.int(&object, "max_unavailable"));
    if (max_surge, max_unavailable) == (Some(0), Some(0)) {
        let key = if object.at("max_surge").is_some() { "max_surge" } else { "max_unavailable" };
        let allowed = "with max_surge and max_unavailable both 0 nothing could ever be replaced: let one be 1";
        reader.problem_at(&object, key, "0", allowed);
    }
    Update {
        max_surge: small(max_surge),
        max_unavailable: small(max_unavailable),
        min_healthy: reader.duration(&object, "min_healthy").unwrap_or_default(),
    }
}

fn placement(reader: &mut Reader, object: &Object<'_>) -> Placement {
    let Some(object) = reader.object(object, "placement") else { return Placement::default() };
    reader.word(&object, "spread");
    let mut constraints = Vec::new();
    for at in reader.list(&object, "constraints").unwrap_or_default() {
        constraints.extend(reader.text_at(&at, &keys::CONSTRAINT, constraint::parse));
    }
    Placement { constraints }
}

fn on_failure(word: Option<&str>) -> OnFailure {
    match word {
        Some("warn") => OnFailure::Warn,
        Some("continue") => OnFailure::Continue,
        _ => OnFailure::Fail,
    }
}

/// A number whose bounds, which the reader has checked, lie within the type; 0 stands for one that was refused.
fn small(number: Option<u64>) -> u32 {
    number.and_then(|n| u32::try_from(n).ok()).unwrap_or_default()
}

fn port(number: Option<u64>) -> u16 {
    number.and_then(|n| u16::try_from(n).ok()).unwrap_or_default()
}
