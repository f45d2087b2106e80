//! Files that are made for a replica: who it is, who it can call by name, and its environment.

use crate::node::Layout;
use orlop_agent_core::Failure;
use orlop_follower::write_whole;
use orlop_model::spec::{EnvValue, VolumeSource};
use orlop_model::trust::SecretName;
use orlop_model::{Assignment, Replica};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// What is bound to `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`.
pub(crate) const ETC: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// The most characters that a Linux host name can have.
const HOSTNAME_MAX: usize = 64;

pub(crate) fn hostname(replica: &Replica) -> String {
    let slot = replica.slot.to_string();
    let mut name = replica.service.service.as_str().to_owned();
    name.truncate(HOSTNAME_MAX - 1 - slot.len());
    format!("{}-{slot}", name.trim_end_matches('-'))
}

/// Writes the files in `/etc` that are the replica's own.
pub(crate) fn write_etc(layout: &Layout, replica: &Replica, address: Ipv4Addr) -> io::Result<()> {
    let directory = layout.replica(replica.id);
    std::fs::create_dir_all(&directory)?;
    let hostname = hostname(replica);
    let (service, deployment) = (&replica.service.service, &replica.service.deployment);
    let name = format!("{}.{service}.{deployment}.internal", replica.slot);
    let hosts =
        format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{address}\t{name} {hostname}\n");
    write_whole(&directory.join("hosts"), hosts.as_bytes())?;
    write_whole(&directory.join("hostname"), format!("{hostname}\n").as_bytes())?;
    // Where the host asks a resolver of its own on loopback, systemd's other file has the ones behind it.
    let resolvers = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .map(|text| resolv_conf(&text))
        .find(|text| text.lines().any(|line| line.starts_with("nameserver")))
        .unwrap_or_default();
    write_whole(&directory.join("resolv.conf"), resolvers.as_bytes())
}

/// What it means that something of the replica could not be written to its directory: it is tried again.
pub(crate) fn unwritten(what: &str, directory: &Path, error: &io::Error) -> Failure {
    let place = directory.display();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let message = format!("the disk of {place} is full; free some space there, it is tried again by itself");
            Failure::infrastructure("disk_full", message)
        }
        _ => {
            let message = format!("{what} to {place}: {error}; see that the agent can write there");
            Failure::infrastructure("disk_failed", message)
        }
    }
}

/// A resolver configuration without the resolvers that only the host itself can reach.
fn resolv_conf(host: &str) -> String {
    let is_reachable = |line: &&str| match line.trim().strip_prefix("nameserver") {
        Some(address) => address.trim().parse::<IpAddr>().is_ok_and(|address| !address.is_loopback()),
        None => !line.trim().is_empty() && !line.trim_start().starts_with(['#', ';']),
    };
    host.lines().filter(is_reachable).fold(String::new(), |text, line| text + line.trim() + "\n")
}

/// The environment that the spec gives it; variables that the agent does not have are an error that names each once.
pub(crate) fn environment(
    assignment: &Assignment,
    agent: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Failure> {
    let (mut environment, mut missing) = (BTreeMap::new(), BTreeSet::new());
    for (name, value) in &assignment.workload.env {
        let text = match value {
            EnvValue::Literal(text) => text,
            EnvValue::AgentEnv(source) => match agent.get(source) {
                Some(text) => text,
                None => {
                    missing.insert(source.as_str());
                    continue;
                }
            },
            EnvValue::Secret(secret) => text_of(secret, assignment)?,
        };
        environment.insert(name.clone(), text.to_owned());
    }
    if missing.is_empty() {
        return Ok(environment);
    }
    let names: Vec<&str> = missing.into_iter().collect();
    let message = format!("the environment of the node's agent has no {}", names.join(", "));
    Err(Failure::permanent("env_missing", message))
}

/// A secret as a variable takes it.
fn text_of<'a>(secret: &SecretName, assignment: &'a Assignment) -> Result<&'a str, Failure> {
    let refused = |problem: &str| Failure::permanent("secret_unusable", format!("secret {secret} {problem}"));
    let value = assignment.secrets.get(secret);
    let value = value.ok_or_else(|| refused("was not sent to this node; look at `orlopctl secret ls`"))?;
    let text = std::str::from_utf8(&value.0).ok().filter(|text| !text.contains('\0'));
    text.ok_or_else(|| refused("is no text, as a variable of the environment is; set it to a text"))
}

/// Sees that bind sources exist.
pub(crate) fn check_binds(assignment: &Assignment) -> Result<(), Failure> {
    for volume in &assignment.workload.volumes {
        if let VolumeSource::Bind(path) = &volume.source
            && let Err(error) = Path::new(path).metadata()
        {
            let cause = match error.kind() {
                io::ErrorKind::NotFound => format!("{path} does not exist on the node"),
                _ => format!("{path} on the node: {error}"),
            };
            let message = format!("volume {} cannot be mounted: {cause}", volume.target);
            return Err(Failure::permanent("mount_invalid", message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::sample;
    use orlop_agent_core::FailureKind;
    use orlop_model::ReplicaId;

    #[test]
    fn a_full_disk_is_told_as_one_and_both_faults_of_a_disk_are_tried_again() {
        for (kind, code, remedy) in [
            (io::ErrorKind::StorageFull, "disk_full", "free some space"),
            (io::ErrorKind::QuotaExceeded, "disk_full", "free some space"),
            (io::ErrorKind::ReadOnlyFilesystem, "disk_failed", "see that the agent can write"),
        ] {
            let failure = unwritten("its record was not written", Path::new("/data/replicas"), &kind.into());
            assert_eq!((failure.kind, failure.reason.code.as_str()), (FailureKind::Infrastructure, code));
            assert!(
                failure.reason.message.contains(remedy) && failure.reason.message.contains("/data/replicas"),
                "{}",
                failure.reason.message
            );
        }
    }

    #[test]
    fn a_secret_is_a_variable_when_it_came_and_is_a_text() {
        use orlop_model::spec::Workload;
        use orlop_model::trust::SecretValue;
        let mut workload = Workload::of("registry.test/a:1");
        let secret: SecretName = "api-key".parse().expect("a name");
        workload.env.insert("KEY".into(), EnvValue::Secret(secret.clone()));
        let mut assignment = sample::assignment(ReplicaId::from_u128(1), workload);
        let code = |assignment: &Assignment| environment(assignment, &BTreeMap::new()).map_err(|f| f.reason.code);
        assert_eq!(code(&assignment), Err("secret_unusable".into()));
        for (value, expected) in [
            (&b"hunter2"[..], Ok(BTreeMap::from([("KEY".to_owned(), "hunter2".to_owned())]))),
            (&[0xff, 0xfe], Err("secret_unusable".to_owned())),
            (b"a\0b", Err("secret_unusable".to_owned())),
        ] {
            assignment.secrets.insert(secret.clone(), SecretValue(value.into()));
            assert_eq!(code(&assignment), expected, "{value:?}");
        }
    }

    #[test]
    fn resolvers_on_loopback_are_left_out() {
        let host = "# made by someone\nnameserver 127.0.0.53\nnameserver 192.0.2.1\n nameserver ::1\nsearch example.org\n\noptions edns0\nnameserver nonsense\n";
        assert_eq!(resolv_conf(host), "nameserver 192.0.2.1\nsearch example.org\noptions edns0\n");
        assert_eq!(resolv_conf(""), "");
    }
}
