//! The OCI runtime spec of a container, as a pure function of what is asked, what the image says, and what the machine
//! can do. Defaults are those that users of containers know: their capabilities, system calls, paths and limits.

pub(crate) mod seccomp;
pub(crate) mod user;

use crate::RuntimeError;
use crate::container::{ContainerSpec, ExecSpec, MountSource};
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capabilities, Capability, Linux, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxCpuBuilder, LinuxDeviceCgroupBuilder,
    LinuxMemoryBuilder, LinuxNamespaceBuilder, LinuxNamespaceType, LinuxPidsBuilder, LinuxResources,
    LinuxResourcesBuilder, Mount, MountBuilder, PosixRlimitBuilder, PosixRlimitType, Process, ProcessBuilder,
    RootBuilder, Spec, SpecBuilder, User as OciUser, UserBuilder,
};
use orlop_model::Resources;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use user::User;

/// Processes and threads of one container.
const PIDS_MAX: i64 = 4096;
/// The cpu time that a quota is a share of.
const CPU_PERIOD_US: u64 = 100_000;
/// The kernel takes no smaller quota.
const CPU_QUOTA_US_MIN: i64 = 1000;
/// Files that one process may have open, and may raise itself to.
const OPEN_FILES: (u64, u64) = (65_536, 524_288);
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the machine can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) cgroups: Cgroups,
    /// The kernel's ceiling for open files of a process.
    pub(crate) open_files_max: u64,
}

/// Which cgroups the machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cgroups {
    /// Version 1, with what its controllers offer.
    Legacy { swap: bool, cpu_quota: bool, memory: bool, pids: bool },
    /// Version 2.
    Unified,
}

impl Host {
    /// See [`crate::ContainerRuntime::unenforced`].
    pub(crate) fn unenforced(&self, resources: &Resources) -> Vec<&'static str> {
        let (cpu, memory) = match self.cgroups {
            Cgroups::Unified => (true, true),
            Cgroups::Legacy { cpu_quota, memory, .. } => (cpu_quota, memory),
        };
        let cpu = (!cpu && resources.cpu.is_some()).then_some("cpu");
        let memory = (!memory && resources.memory.is_some()).then_some("memory");
        cpu.into_iter().chain(memory).collect()
    }
}

/// What is run: the image's ENTRYPOINT and CMD with the spec's `command` and `args` over them. Empty when nobody says.
pub fn process_args(spec: &ContainerSpec) -> Vec<String> {
    let config = &spec.image.config;
    let (program, args) = match (&spec.command, &spec.args) {
        (Some(command), Some(args)) => (command, args.as_slice()),
        (Some(command), None) => (command, [].as_slice()),
        (None, Some(args)) => (&config.entrypoint, args.as_slice()),
        (None, None) => (&config.entrypoint, config.cmd.as_slice()),
    };
    program.iter().chain(args).cloned().collect()
}

/// The user that a container runs as, in the words of its spec or else of its image.
pub(crate) fn user_text(spec: &ContainerSpec) -> &str {
    spec.user.as_deref().unwrap_or(&spec.image.config.user)
}

/// The whole runtime spec. `cgroup` is the container's cgroup, beginning with `/`.
pub(crate) fn runtime_spec(spec: &ContainerSpec, user: &User, host: &Host, cgroup: &str) -> Result<Spec, RuntimeError> {
    check(spec)?;
    let args = process_args(spec);
    if args.is_empty() {
        return Err(RuntimeError::NoCommand { image: spec.image.name.clone() });
    }
    build(spec, user, host, cgroup, args).map_err(|error| RuntimeError::other("describing the container", error))
}

fn build(
    spec: &ContainerSpec,
    user: &User,
    host: &Host,
    cgroup: &str,
    args: Vec<String>,
) -> Result<Spec, OciSpecError> {
    let root = RootBuilder::default().path("rootfs").readonly(false).build()?;
    SpecBuilder::default()
        .version("1.0.2")
        .root(root)
        .hostname(spec.hostname.clone())
        .process(process(spec, user, host, args)?)
        .mounts(mounts(spec)?)
        .linux(linux(spec, host, cgroup)?)
        .build()
}

/// What the kernel or runc would misunderstand is refused here, with a name for it.
fn check(spec: &ContainerSpec) -> Result<(), RuntimeError> {
    let refuse = |detail: String| Err(RuntimeError::other("describing the container", detail));
    check_id(&spec.id)?;
    if spec.hostname.is_empty() || spec.hostname.len() > 64 {
        return refuse(format!("the host name {:?} is not 1–64 bytes", spec.hostname));
    }
    if let Some(name) = spec.env.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
        return refuse(format!("{name:?} is no name for an environment variable"));
    }
    let mut texts = process_args(spec);
    texts.extend(spec.env.values().cloned());
    if texts.iter().any(|text| text.contains('\0')) {
        return refuse("an argument or a variable contains a zero byte".into());
    }
    for mount in &spec.mounts {
        let escapes = mount.target.split('/').any(|part| part == "..");
        if !mount.target.starts_with('/') || escapes || mount.target.trim_matches('/').is_empty() {
            let detail = "the target must be absolute, not the root, and without ..".into();
            return Err(RuntimeError::MountInvalid { target: mount.target.clone(), detail });
        }
    }
    if spec.working_dir.as_ref().is_some_and(|directory| !directory.starts_with('/')) {
        return refuse(format!("the working directory {:?} is not absolute", spec.working_dir));
    }
    Ok(())
}

/// Containers' ids are also names of files, cgroups and containerd's records.
pub(crate) fn check_id(id: &str) -> Result<(), RuntimeError> {
    let good = (1..=76).contains(&id.len())
        && id.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-'))
        && id.starts_with(|c: char| c.is_ascii_alphanumeric());
    if good {
        Ok(())
    } else {
        Err(RuntimeError::other("naming the container", format!("{id:?} is not a container id")))
    }
}

fn process(spec: &ContainerSpec, user: &User, host: &Host, args: Vec<String>) -> Result<Process, OciSpecError> {
    let from_image = match spec.image.config.working_dir.as_str() {
        "" => "/".to_owned(),
        directory if directory.starts_with('/') => directory.to_owned(),
        directory => format!("/{directory}"),
    };
    let nofile = PosixRlimitBuilder::default()
        .typ(PosixRlimitType::RlimitNofile)
        .soft(OPEN_FILES.0.min(host.open_files_max))
        .hard(OPEN_FILES.1.min(host.open_files_max))
        .build()?;
    ProcessBuilder::default()
        .terminal(false)
        .user(oci_user(user)?)
        .args(args)
        .env(environment(&spec.image.config.env, &spec.env, &spec.hostname))
        .cwd(spec.working_dir.clone().unwrap_or(from_image))
        .capabilities(capabilities(user)?)
        .rlimits(vec![nofile])
        .no_new_privileges(true)
        .oom_score_adj(0)
        .build()
}

fn oci_user(user: &User) -> Result<OciUser, OciSpecError> {
    let builder = UserBuilder::default().uid(user.uid).gid(user.gid);
    if user.additional_gids.is_empty() {
        return builder.build();
    }
    builder.additional_gids(user.additional_gids.clone()).build()
}

/// The image's variables in their order, replaced or followed by the spec's.
fn environment(image: &[String], spec: &BTreeMap<String, String>, hostname: &str) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or(entry).to_owned();
    let mut env: Vec<String> = Vec::with_capacity(image.len() + spec.len() + 2);
    let set = |env: &mut Vec<String>, entry: String| match env.iter_mut().find(|known| name(known) == name(&entry)) {
        Some(known) => *known = entry,
        None => env.push(entry),
    };
    set(&mut env, PATH.into());
    set(&mut env, format!("HOSTNAME={hostname}"));
    image.iter().filter(|entry| entry.contains('=') && !entry.contains('\0')).for_each(|e| set(&mut env, e.clone()));
    spec.iter().for_each(|(key, value)| set(&mut env, format!("{key}={value}")));
    env
}

/// Those that container users expect: enough to install packages and drop privileges, nothing that reaches the host.
const CAPABILITIES: [Capability; 14] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Mknod,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

/// Another user than root has them only as a bound, and none in effect.
fn capabilities(user: &User) -> Result<oci_spec::runtime::LinuxCapabilities, OciSpecError> {
    let all: Capabilities = CAPABILITIES.into_iter().collect();
    let held = if user.uid == 0 { all.clone() } else { Capabilities::new() };
    LinuxCapabilitiesBuilder::default()
        .bounding(all)
        .permitted(held.clone())
        .effective(held)
        .inheritable(Capabilities::new())
        .ambient(Capabilities::new())
        .build()
}

fn mount(kind: &str, source: &str, target: &str, options: &[&str]) -> Result<Mount, OciSpecError> {
    MountBuilder::default()
        .typ(kind)
        .source(source)
        .destination(target)
        .options(options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
        .build()
}

fn mounts(spec: &ContainerSpec) -> Result<Vec<Mount>, OciSpecError> {
    let mut mounts = vec![
        mount("proc", "proc", "/proc", &["nosuid", "noexec", "nodev"])?,
        mount("tmpfs", "tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"])?,
        mount(
            "devpts",
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        )?,
        mount("sysfs", "sysfs", "/sys", &["nosuid", "noexec", "nodev", "ro"])?,
        mount("cgroup", "cgroup", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"])?,
        mount("mqueue", "mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"])?,
        mount("tmpfs", "shm", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"])?,
    ];
    for wanted in &spec.mounts {
        let access = if wanted.read_only { "ro" } else { "rw" };
        mounts.push(match &wanted.source {
            MountSource::Bind(path) | MountSource::Volume(path) => {
                mount("bind", &path.to_string_lossy(), &wanted.target, &["rbind", "rprivate", access])?
            }
            MountSource::Data(path) => {
                let options = ["rbind", "rprivate", "nosuid", "nodev", "noexec", access];
                mount("bind", &path.to_string_lossy(), &wanted.target, &options)?
            }
            MountSource::Tmpfs { size } => {
                let size = size.map(|size| format!("size={}", size.0));
                let mut options = vec!["nosuid", "nodev", "mode=1777", access];
                options.extend(size.as_deref());
                mount("tmpfs", "tmpfs", &wanted.target, &options)?
            }
        });
    }
    Ok(mounts)
}

const MASKED_PATHS: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn linux(spec: &ContainerSpec, host: &Host, cgroup: &str) -> Result<Linux, OciSpecError> {
    let namespace = |kind, path: Option<&Path>| {
        let builder = LinuxNamespaceBuilder::default().typ(kind);
        match path {
            Some(path) => builder.path(path).build(),
            None => builder.build(),
        }
    };
    let mut namespaces = vec![
        namespace(LinuxNamespaceType::Pid, None)?,
        namespace(LinuxNamespaceType::Ipc, None)?,
        namespace(LinuxNamespaceType::Uts, None)?,
        namespace(LinuxNamespaceType::Mount, None)?,
        namespace(LinuxNamespaceType::Network, spec.network_namespace.as_deref())?,
    ];
    if host.cgroups == Cgroups::Unified {
        namespaces.push(namespace(LinuxNamespaceType::Cgroup, None)?);
    }
    // The network namespace is the container's own, so low ports are nobody else's.
    let sysctl = HashMap::from([("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned())]);
    LinuxBuilder::default()
        .namespaces(namespaces)
        .sysctl(sysctl)
        .resources(resources(spec, host)?)
        .cgroups_path(cgroup)
        .seccomp(seccomp::profile(std::env::consts::ARCH)?)
        .masked_paths(MASKED_PATHS.map(str::to_owned).to_vec())
        .readonly_paths(READONLY_PATHS.map(str::to_owned).to_vec())
        .build()
}

fn resources(spec: &ContainerSpec, host: &Host) -> Result<LinuxResources, OciSpecError> {
    // runc allows the harmless devices (null, zero, random, tty, …) by itself.
    let nothing = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build()?;
    let mut resources = LinuxResourcesBuilder::default().devices(vec![nothing]);
    let (swap, cpu_quota, memory, pids) = match host.cgroups {
        Cgroups::Unified => (true, true, true, true),
        Cgroups::Legacy { swap, cpu_quota, memory, pids } => (swap, cpu_quota, memory, pids),
    };
    if pids {
        resources = resources.pids(LinuxPidsBuilder::default().limit(PIDS_MAX).build()?);
    }
    if let Some(cpu) = spec.resources.cpu {
        let mut builder = LinuxCpuBuilder::default().shares((cpu.0 * 1024 / 1000).clamp(2, 262_144));
        if cpu_quota {
            let quota = i64::try_from(cpu.0.saturating_mul(CPU_PERIOD_US) / 1000).unwrap_or(i64::MAX);
            builder = builder.period(CPU_PERIOD_US).quota(quota.max(CPU_QUOTA_US_MIN));
        }
        resources = resources.cpu(builder.build()?);
    }
    if let Some(limit) = spec.resources.memory.filter(|_| memory) {
        let limit = i64::try_from(limit.0).unwrap_or(i64::MAX);
        let mut builder = LinuxMemoryBuilder::default().limit(limit);
        if swap {
            // Memory and swap together: no swap.
            builder = builder.swap(limit);
        }
        resources = resources.memory(builder.build()?);
    }
    resources.build()
}

/// The process of an exec: the container's own with another command.
pub(crate) fn exec_process(container: &Spec, exec: &ExecSpec) -> Result<Process, RuntimeError> {
    let Some(own) = container.process() else {
        return Err(RuntimeError::other("starting a process", "the container's record has no process"));
    };
    let texts = || exec.command.iter().chain(exec.env.values()).chain(exec.env.keys());
    if exec.command.is_empty() || texts().any(|text| text.contains('\0')) {
        return Err(RuntimeError::other("starting a process", "the command is empty or contains a zero byte"));
    }
    let mut process = own.clone();
    let mut extra = exec.env.clone();
    if exec.terminal.is_some() {
        extra.entry("TERM".into()).or_insert_with(|| "xterm".into());
    }
    let hostname = container.hostname().clone().unwrap_or_default();
    let env = environment(own.env().as_deref().unwrap_or_default(), &extra, &hostname);
    process.set_terminal(Some(exec.terminal.is_some())).set_args(Some(exec.command.clone())).set_env(Some(env));
    Ok(process)
}

#[cfg(test)]
mod tests;
