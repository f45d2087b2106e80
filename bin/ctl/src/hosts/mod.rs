//! `orlopctl cluster up` and `down`: a cluster of several hosts on this machine, each in a network namespace with programs of
//! its own, joined as machines are joined.

mod down;
mod settle;
mod up;

use clap::Args;
use orlop_hosts::Config;
use std::path::PathBuf;

pub(crate) use down::down;
pub(crate) use up::up;

/// Where the hosts are, and what they are called.
#[derive(Debug, Clone, Args)]
pub(crate) struct HostsArgs {
    /// The beginning of the hosts' names: 1–9 lower-case letters and digits, a letter first.
    #[arg(long, default_value = "orlop", value_name = "NAME")]
    pub(crate) instance: String,
    /// The network of the hosts: host N has its Nth address, this machine its last.
    #[arg(long, default_value = "10.99.0.0/24", value_name = "CIDR")]
    pub(crate) network: ipnet::Ipv4Net,
    /// Keeps what outlives the programs: state, images, volumes, logs.
    #[arg(long, default_value = "/var/lib/orlop/cluster", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Keeps sockets; short, because sockets' paths are.
    #[arg(long, default_value = "/run/orlop/cluster", value_name = "DIR")]
    pub(crate) run: PathBuf,
}

impl HostsArgs {
    fn config(&self) -> Config {
        Config { name: self.instance.clone(), network: self.network, data: self.data.clone(), run: self.run.clone() }
    }
}

/// What `cluster up` makes.
#[derive(Debug, Clone, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) hosts: HostsArgs,
    /// How many hosts, each a node.
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u16).range(1..=50), value_name = "N")]
    pub(crate) nodes: u16,
    /// How many of them are members of the control plane, too: 1, 3 or 5 [default: 3, or 1 when there are fewer hosts].
    #[arg(long, value_name = "N", value_parser = ["1", "3", "5"])]
    pub(crate) members: Option<String>,
}

impl UpArgs {
    fn members(&self) -> anyhow::Result<u16> {
        let members = match &self.members {
            Some(text) => text.parse()?,
            None if self.nodes >= 3 => 3,
            None => 1,
        };
        anyhow::ensure!(members <= self.nodes, "{members} members need as many hosts; give --nodes {members} or more");
        Ok(members)
    }
}
