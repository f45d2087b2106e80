//! Making hosts, and a cluster of them, in the way that machines are made one: the first makes the cluster, each other joins
//! it with one command, and the programs start with what lies in their directories.

use super::UpArgs;
use super::settle::settle;
use anyhow::{Context, ensure};
use orlop_client::{Address, HostPort, IdentityDirectory, PORT_DEFAULT};
use orlop_control::{Config, Init, Initialized};
use orlop_hosts::{Host, Hosts, Role};
use orlop_model::{Millis, NodeId};
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Makes the hosts and the cluster, and waits until it is whole. What was begun is taken away when that fails.
pub(crate) fn up(args: &UpArgs) -> anyhow::Result<()> {
    let members = args.members()?;
    let begun = Instant::now();
    let programs = programs()?;
    let hosts = Hosts::create(args.hosts.config(), args.nodes)?;
    let made = make(&hosts, members, &programs);
    if let Err(error) = made {
        let logs = args.hosts.data.display();
        return match hosts.remove() {
            Ok(()) => Err(error.context(format!("no cluster was made; the logs are in {logs}"))),
            Err(left) => {
                Err(error.context(format!("no cluster was made, and not all was taken away ({left}); {logs}")))
            }
        };
    }
    let first = &hosts.all()[0];
    let socket = first.places().control_socket();
    println!("ready after {:.1} s: {members} members, {} nodes", begun.elapsed().as_secs_f64(), args.nodes);
    for host in hosts.all() {
        println!("  {}   http://{}/   logs in {}", host.name(), host.address(), host.places().data.display());
    }
    println!("next:");
    println!("  export ORLOP_ADDRESS=unix:{}", socket.display());
    println!("  orlopctl cluster status; orlopctl node ls; orlopctl deploy -f FILE --wait");
    println!("  orlopctl cluster down{}", flags(args));
    Ok(())
}

/// What `down` has to be told to find the same hosts.
fn flags(args: &UpArgs) -> String {
    let mut text = String::new();
    let hosts = &args.hosts;
    for (flag, given, default) in [
        ("instance", hosts.instance.clone(), "orlop".to_owned()),
        ("network", hosts.network.to_string(), "10.99.0.0/24".to_owned()),
        ("data", hosts.data.display().to_string(), "/var/lib/orlop/cluster".to_owned()),
        ("run", hosts.run.display().to_string(), "/run/orlop/cluster".to_owned()),
    ] {
        if given != default {
            text.push_str(&format!(" --{flag} {given}"));
        }
    }
    text
}

/// The directory of the programs: beside this one.
fn programs() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("finding the programs")?;
    let directory = own.parent().context("finding the programs")?.to_owned();
    let wanted = Role::OF_A_NODE.into_iter().chain([Role::ControlPlane, Role::Scheduler]);
    for program in wanted.map(Role::program).chain(["orlop-logger"]) {
        let path = directory.join(program);
        ensure!(path.is_file(), "{} is missing: install it beside orlopctl", path.display());
    }
    Ok(directory)
}

fn make(hosts: &Hosts, members: u16, programs: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (first, others) = hosts.all().split_first().context("there are no hosts")?;
    let made = runtime.block_on(init(first, others.len()))?;
    start_member(first, programs)?;
    start_node(first, programs)?;
    let socket = first.places().control_socket();
    runtime.block_on(settle(&Address::Unix(socket.clone()), 1, 1))?;
    // One after the other: each is a member before the next one comes, as the log wants it.
    for host in others {
        let is_member = host.number() <= members;
        join(host, &made, is_member, programs)?;
        if is_member {
            start_member(host, programs)?;
        }
        start_node(host, programs)?;
    }
    runtime.block_on(settle(&Address::Unix(socket), members, u16::try_from(hosts.all().len())?))
}

fn identity(host: &Host) -> PathBuf {
    host.places().data.join("identity")
}

fn data(host: &Host, role: Role) -> PathBuf {
    host.places().data.join(role.name())
}

async fn init(first: &Host, others: usize) -> anyhow::Result<Initialized> {
    let advertise = HostPort::from(SocketAddr::from((first.address(), PORT_DEFAULT)));
    let config = Config {
        advertise: Some(advertise),
        name: Some(first.name().parse()?),
        ..Config::new(data(first, Role::ControlPlane), Vec::new())
    };
    let node = NodeId::from_u128(uuid::Uuid::now_v7().as_u128());
    let init = Init {
        config,
        node: Some((node, IdentityDirectory::new(identity(first)))),
        joins: u32::try_from(others.max(1))?,
        tokens_for: Millis::from_secs(3600),
    };
    Ok(orlop_control::init(init).await?)
}

/// Joins as a stranger would: with the one command, on the host.
fn join(host: &Host, made: &Initialized, member: bool, programs: &Path) -> anyhow::Result<()> {
    let mut command = host.command(programs.join("orlopctl"))?;
    command.args(["join", &format!("https://{}", made.address)]);
    if member {
        command.args(["--token", &made.member_token.to_string(), "--name", host.name()]);
    }
    command.args(["--token", &made.node_token.to_string()]);
    command.arg("--identity").arg(identity(host));
    command.arg("--control-plane-data-dir").arg(data(host, Role::ControlPlane));
    command.arg("--agent-data-dir").arg(data(host, Role::Agent));
    let output = command.output().context("orlopctl join")?;
    ensure!(
        output.status.success(),
        "{} did not join: {}",
        host.name(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

fn start_member(host: &Host, programs: &Path) -> anyhow::Result<()> {
    start(host, Role::ControlPlane, "", &[], programs)?;
    let socket = format!("unix:{}", host.places().control_socket().display());
    start(host, Role::Scheduler, &socket, &[], programs)
}

fn start_node(host: &Host, programs: &Path) -> anyhow::Result<()> {
    let joined = format!("joined:{}", identity(host).display());
    for role in Role::OF_A_NODE {
        let more: &[&str] = match role {
            Role::Proxy => &["--listen", "0.0.0.0:80", "--tcp-address", "0.0.0.0"],
            _ => &[],
        };
        start(host, role, &joined, more, programs)?;
    }
    Ok(())
}

/// Starts a program that outlives this one.
fn start(host: &Host, role: Role, control_plane: &str, more: &[&str], programs: &Path) -> anyhow::Result<()> {
    let mut command: Command = host.role(role, control_plane, programs)?;
    let path = host.places().data.join(format!("{}.log", role.name()));
    let log = File::options().create(true).append(true).open(&path);
    let log = log.with_context(|| path.display().to_string())?;
    command.args(more).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // Not of this terminal's session: its end must not be theirs.
    command.process_group(0);
    command.spawn().with_context(|| format!("starting {} on {}", role.name(), host.name()))?;
    Ok(())
}
