//! What must hold across the fields of a deployment, for whoever builds one: the YAML reader, which adds line numbers,
//! and the wire edge, which does not trust its peer.

use crate::name::ServiceName;
use crate::spec::secret::is_below;
use crate::spec::{Deployment, Protocol, SecretFile, VolumeSource, Workload};
use std::collections::{BTreeMap, BTreeSet};

/// Something that is wrong with a deployment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: found {found}; {allowed}")]
pub struct Violation {
    /// Where: `services.api.depends[0].service`.
    pub path: String,
    /// What was found there.
    pub found: String,
    /// What is allowed, as a clause: "expected one of api, db".
    pub allowed: String,
}

/// The most services in a deployment.
pub const SERVICES_MAX: usize = 1000;
/// The most replicas of a service.
pub const REPLICAS_MAX: u32 = 10_000;

/// All violations of the rules that concern more than one field; empty for a sound deployment.
pub fn violations(deployment: &Deployment) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut report = |path: String, what: String, allowed: &str| {
        found.push(Violation { path, found: what, allowed: allowed.to_owned() });
    };
    if deployment.services.is_empty() || deployment.services.len() > SERVICES_MAX {
        report(
            "services".into(),
            format!("{} services", deployment.services.len()),
            &format!("a deployment has 1 to {SERVICES_MAX}"),
        );
    }
    let mut routes: BTreeMap<(Protocol, u16, Option<&str>, &str), String> = BTreeMap::new();
    for (name, service) in &deployment.services {
        let mut names = BTreeSet::new();
        for (i, endpoint) in service.endpoints.iter().enumerate() {
            let path = format!("services.{name}.endpoints[{i}]");
            if !names.insert(&endpoint.name) {
                report(
                    format!("{path}.name"),
                    format!("the name {:?} a second time", endpoint.name.as_str()),
                    "endpoint names are unique in a service",
                );
            }
            let key = match endpoint.protocol {
                Protocol::Http => (Protocol::Http, 0, endpoint.host.as_deref(), endpoint.path.as_str()),
                Protocol::Tcp => (Protocol::Tcp, endpoint.port, None, ""),
            };
            if let Some(other) = routes.get(&key) {
                let what = match endpoint.protocol {
                    Protocol::Http => {
                        format!("host {} and path {} again", endpoint.host.as_deref().unwrap_or("*"), endpoint.path)
                    }
                    Protocol::Tcp => format!("tcp port {} again", endpoint.port),
                };
                report(path.clone(), what, &format!("{other} has it already; each public endpoint has its own"));
            } else {
                routes.insert(key, path);
            }
        }
        for (i, dependency) in service.depends.iter().enumerate() {
            if !deployment.services.contains_key(&dependency.service) {
                let known: Vec<&str> = deployment.services.keys().map(ServiceName::as_str).collect();
                report(
                    format!("services.{name}.depends[{i}].service"),
                    format!("unknown service {:?}", dependency.service.as_str()),
                    &format!("expected one of {}", known.join(", ")),
                );
            }
        }
        let mut steps = BTreeSet::new();
        for (i, step) in service.workload.init.iter().enumerate() {
            if !steps.insert(&step.id) {
                report(
                    format!("services.{name}.init.steps[{i}].id"),
                    format!("the id {:?} a second time", step.id.as_str()),
                    "step ids are unique in a service",
                );
            }
        }
        let mut targets = BTreeSet::new();
        for (i, volume) in service.workload.volumes.iter().enumerate() {
            if !targets.insert(&volume.target) {
                report(
                    format!("services.{name}.volumes[{i}].target"),
                    format!("{} a second time", volume.target),
                    "each volume has a target of its own",
                );
            }
        }
        for (i, file) in service.workload.secret_files.iter().enumerate() {
            if let Some((what, allowed)) = in_the_way(&service.workload, i, file) {
                report(format!("services.{name}.secrets[{i}].path"), what, allowed);
            }
        }
    }
    for cycle in dependency_cycles(deployment) {
        let first = cycle[0];
        let index = deployment.services[first].depends.iter().position(|d| d.service == *cycle[1]).unwrap_or(0);
        let chain: Vec<&str> = cycle.iter().map(|s| s.as_str()).collect();
        report(
            format!("services.{first}.depends[{index}].service"),
            format!("a circle: {}", chain.join(" → ")),
            "a service cannot wait for itself",
        );
    }
    found
}

/// What keeps the file of a secret from being where it is to be, and the remedy.
fn in_the_way(workload: &Workload, index: usize, file: &SecretFile) -> Option<(String, &'static str)> {
    let (path, directory) = (file.path.as_str(), file.path.directory());
    if workload.secret_files[..index].iter().any(|earlier| earlier.path == file.path) {
        return Some((format!("{path} a second time"), "each file has a path of its own"));
    }
    if let Some(inner) = workload.secret_files.iter().find(|other| is_below(other.path.as_str(), path)) {
        let what = format!("{path}, which is also the directory of {}", inner.path);
        return Some((what, "a path is a file or a directory"));
    }
    let covers = |target: &str, memory: bool| {
        target == directory || is_below(target, directory) || (is_below(directory, target) && !memory)
    };
    let volume = workload.volumes.iter().find(|volume| {
        let memory = matches!(volume.source, VolumeSource::Tmpfs { .. });
        covers(volume.target.trim_end_matches('/'), memory)
    })?;
    let what = format!("{path}, and a volume at {}", volume.target);
    Some((what, "secrets have a directory of their own, without volumes in it, and not in a volume that is on a disk"))
}

/// Each circle among dependencies once, as a path that ends where it began.
fn dependency_cycles(deployment: &Deployment) -> Vec<Vec<&ServiceName>> {
    fn visit<'a>(
        deployment: &'a Deployment,
        service: &'a ServiceName,
        path: &mut Vec<&'a ServiceName>,
        done: &mut BTreeSet<&'a ServiceName>,
        cycles: &mut Vec<Vec<&'a ServiceName>>,
    ) {
        if let Some(start) = path.iter().position(|s| *s == service) {
            let mut cycle = path[start..].to_vec();
            cycle.push(service);
            cycles.push(cycle);
            return;
        }
        if done.contains(service) {
            return;
        }
        path.push(service);
        for dependency in deployment.services.get(service).map(|s| s.depends.as_slice()).unwrap_or_default() {
            visit(deployment, &dependency.service, path, done, cycles);
        }
        path.pop();
        done.insert(service);
    }
    let (mut done, mut cycles) = (BTreeSet::new(), Vec::new());
    for service in deployment.services.keys() {
        visit(deployment, service, &mut Vec::new(), &mut done, &mut cycles);
    }
    cycles
}
