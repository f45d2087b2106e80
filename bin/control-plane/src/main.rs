//! `orlop-control-plane`: holds the cluster's state and answers everybody who asks for it or wants it changed.

use anyhow::Context;
use clap::Parser;
use orlop_control::{Config, Listen};
use orlop_program::Common;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Holds the state of a cluster: takes deployments, keeps them on disk, and pushes what changes to those who watch.
#[derive(Debug, Parser, Serialize)]
#[command(name = "orlop-control-plane", version)]
struct Flags {
    #[command(flatten)]
    #[serde(flatten)]
    common: Common,
    /// Where the log and the snapshots lie [default: /var/lib/orlop/control-plane].
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// Where to listen: unix:/path/of/socket or http://127.0.0.1:PORT; may be given several times
    /// [default: unix:/run/orlop/control.sock].
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    listen: Vec<String>,
    /// The address range that every node's /24 is cut from; taken when the cluster is made [default: 10.77.0.0/16].
    #[arg(long, value_name = "CIDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_range: Option<String>,
    /// A node whose agent was gone so long is silent, in milliseconds, 100 to 600000 [default: 5000].
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    silent_after_ms: Option<u64>,
}

/// The control plane's configuration as files and the environment write it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    data_dir: PathBuf,
    listen: Vec<String>,
    cluster_range: String,
    silent_after_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        let Config { data_dir, cluster_range, silent_after, .. } =
            Config::new("/var/lib/orlop/control-plane", Vec::new());
        Self {
            data_dir,
            // No port by default: whoever may log in to the machine could reach it, and calls carry no identity yet.
            listen: vec!["unix:/run/orlop/control.sock".into()],
            cluster_range: cluster_range.to_string(),
            silent_after_ms: u64::try_from(silent_after.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl Settings {
    fn config(&self) -> anyhow::Result<Config> {
        let listen = self.listen.iter().map(|text| text.parse::<Listen>()).collect::<Result<_, _>>()?;
        let range = self.cluster_range.parse();
        let cluster_range = range.with_context(|| format!("cluster_range {:?} is no CIDR", self.cluster_range))?;
        let silent_after = self.silent_after_ms;
        anyhow::ensure!((100..=600_000).contains(&silent_after), "silent_after_ms {silent_after} is not 100 to 600000");
        Ok(Config {
            cluster_range,
            silent_after: Duration::from_millis(silent_after),
            ..Config::new(&self.data_dir, listen)
        })
    }
}

fn main() -> ExitCode {
    orlop_program::run(
        "control-plane",
        |flags: &Flags| &flags.common,
        async |_flags, settings: Settings, stop| Ok(orlop_control::serve(settings.config()?, stop).await?),
    )
}
