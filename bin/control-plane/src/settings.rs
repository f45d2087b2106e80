//! Settings: defaults, then the file, then `ORLOP_CONTROL_PLANE_…`, then flags.

use anyhow::Context;
use clap::Parser;
use orlop_client::HostPort;
use orlop_control::{Config, Listen, Schedule};
use orlop_program::Common;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// Holds the state of a cluster: takes deployments, keeps them on disk, and pushes what changes to those who watch.
#[derive(Debug, Parser, Serialize)]
#[command(name = "orlop-control-plane", version)]
pub(crate) struct Flags {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) common: Common,
    /// Where the log, the snapshots and the member's identity lie [default: /var/lib/orlop/control-plane].
    #[arg(long, global = true, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// Where to listen: unix:/path/of/socket, https://ADDRESS:PORT or http://127.0.0.1:PORT; may be given several times
    /// [default: unix:/run/orlop/control.sock].
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    listen: Vec<String>,
    /// Where other machines reach this one, as HOST[:PORT]; the port is 7700 if none is given [default: as at the last
    /// start, or as it joined].
    #[arg(long, global = true, value_name = "HOST[:PORT]")]
    #[serde(skip_serializing_if = "Option::is_none")]
    advertise: Option<String>,
    /// What the member is called when it makes a cluster [default: the machine's host name].
    #[arg(long, global = true, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Save the state in this directory by itself, once an hour, and keep the newest 48 [default: nowhere].
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    backup_dir: Option<PathBuf>,
    /// Make a cluster when there is none in the data directory, instead of refusing to start.
    #[arg(long)]
    #[serde(skip_serializing_if = "is_false")]
    make_cluster: bool,
    /// The address range that every node's /24 is cut from; taken when the cluster is made [default: 10.77.0.0/16].
    #[arg(long, global = true, value_name = "CIDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_range: Option<String>,
    /// A node whose agent was gone so long is suspect, in milliseconds, 100 to 600000 [default: 5000].
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    suspect_after_ms: Option<u64>,
    /// A node whose agent was gone so long is lost, and its replicas are replaced elsewhere; in milliseconds, not less than
    /// suspect_after_ms, at most 86400000 [default: 30000].
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_after_ms: Option<u64>,
    #[command(subcommand)]
    #[serde(skip)]
    pub(crate) command: Option<Command>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a cluster on this machine, with an authority and keys of its own, and print how others join it.
    Init(InitArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// How many other machines may join with the tokens that are printed.
    #[arg(long, default_value = "4", value_parser = clap::value_parser!(u32).range(1..=900), value_name = "N")]
    pub(crate) joins: u32,
    /// For how many hours the tokens are good.
    #[arg(long, default_value = "24", value_parser = clap::value_parser!(u64).range(1..=720), value_name = "HOURS")]
    pub(crate) tokens_for_hours: u64,
    /// Where the identity of this machine's node is to lie.
    #[arg(long, default_value = orlop_client::IDENTITY_DEFAULT, value_name = "DIR")]
    pub(crate) identity: PathBuf,
    /// The data directory of this machine's agent, which may have an id already.
    #[arg(long, default_value = "/var/lib/orlop/agent", value_name = "DIR")]
    pub(crate) agent_data_dir: PathBuf,
    /// This machine is to be no node.
    #[arg(long)]
    pub(crate) no_node: bool,
}

/// The control plane's configuration as files and the environment write it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    data_dir: PathBuf,
    listen: Vec<String>,
    /// Serve TLS too, at the port of `advertise`, once it is known.
    listen_tls: bool,
    advertise: Option<String>,
    name: Option<String>,
    make_cluster: bool,
    cluster_range: String,
    suspect_after_ms: u64,
    lost_after_ms: u64,
    calls_per_second: u32,
    connections_max: usize,
    /// Where the member saves the state by itself; unset: nowhere.
    backup_dir: Option<PathBuf>,
    backup_every_minutes: u64,
    backup_keep: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let whole = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let Config { data_dir, cluster_range, suspect_after, lost_after, calls_per_second, connections_max, .. } =
            Config::new("/var/lib/orlop/control-plane", Vec::new());
        Self {
            data_dir,
            listen: vec!["unix:/run/orlop/control.sock".into()],
            listen_tls: true,
            advertise: None,
            name: None,
            // A member that has lost its disk must not go on as another, empty cluster.
            make_cluster: false,
            cluster_range: cluster_range.to_string(),
            suspect_after_ms: whole(suspect_after),
            lost_after_ms: whole(lost_after),
            calls_per_second: calls_per_second.get(),
            connections_max,
            backup_dir: None,
            backup_every_minutes: 60,
            backup_keep: 48,
        }
    }
}

impl Settings {
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        let listen = self.listen.iter().map(|text| text.parse::<Listen>()).collect::<Result<_, _>>()?;
        let range = self.cluster_range.parse();
        let cluster_range = range.with_context(|| format!("cluster_range {:?} is no CIDR", self.cluster_range))?;
        let (suspect, lost) = (self.suspect_after_ms, self.lost_after_ms);
        anyhow::ensure!((100..=600_000).contains(&suspect), "suspect_after_ms {suspect} is not 100 to 600000");
        anyhow::ensure!(
            (suspect..=86_400_000).contains(&lost),
            "lost_after_ms {lost} is not {suspect} (suspect_after_ms) to 86400000"
        );
        let advertise = self.advertise.as_ref().map(|text| {
            text.parse::<HostPort>()
                .map_err(|problem| anyhow::anyhow!("advertise {text:?} is no HOST[:PORT]: {problem}"))
        });
        let rate = NonZeroU32::new(self.calls_per_second).context("calls_per_second is 0; at least 1")?;
        anyhow::ensure!((10..=1_000_000).contains(&self.connections_max), "connections_max is not 10 to 1000000");
        anyhow::ensure!((1..=43_200).contains(&self.backup_every_minutes), "backup_every_minutes is not 1 to 43200");
        anyhow::ensure!((1..=10_000).contains(&self.backup_keep), "backup_keep is not 1 to 10000");
        let backups = self.backup_dir.clone().map(|directory| Schedule {
            directory,
            every: Duration::from_secs(self.backup_every_minutes * 60),
            keep: self.backup_keep,
        });
        Ok(Config {
            backups,
            cluster_range,
            suspect_after: Duration::from_millis(suspect),
            lost_after: Duration::from_millis(lost),
            listen_tls: self.listen_tls,
            advertise: advertise.transpose()?,
            name: self.name.as_deref().map(str::parse).transpose().context("name")?,
            make_cluster: self.make_cluster,
            calls_per_second: rate,
            connections_max: self.connections_max,
            ..Config::new(&self.data_dir, listen)
        })
    }
}
