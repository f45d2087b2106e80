//! `orlop-scheduler`: decides where replicas run, and when they start and stop.

use clap::Parser;
use orlop_program::Common;
use orlop_scheduler::Config;
use serde::{Deserialize, Serialize};
use std::process::ExitCode;
use std::time::Duration;

/// Watches a cluster, plans what should happen next, and submits it. Any number may run; one is active at a time.
#[derive(Debug, Parser, Serialize)]
#[command(name = "orlop-scheduler", version)]
struct Flags {
    #[command(flatten)]
    #[serde(flatten)]
    common: Common,
    /// The control plane: unix:/path/of/socket or http://127.0.0.1:PORT [default: unix:/run/orlop/control.sock].
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    control_plane: Option<String>,
    /// How long the lease of the active scheduler lasts without renewal, in milliseconds, 1000 to 60000 [default: 5000].
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_ttl_ms: Option<u64>,
    /// How long after a plan the next is made although nothing has changed, in milliseconds [default: 30000].
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    sweep_ms: Option<u64>,
}

/// The scheduler's configuration as files and the environment write it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    control_plane: String,
    lease_ttl_ms: u64,
    sweep_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        let Config { control_plane, lease_ttl, sweep, .. } = Config::new(orlop_client::ADDRESS_DEFAULT);
        let whole = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self { control_plane, lease_ttl_ms: whole(lease_ttl), sweep_ms: whole(sweep) }
    }
}

fn main() -> ExitCode {
    orlop_program::run(
        "scheduler",
        |flags: &Flags| &flags.common,
        async |_flags, settings: Settings, stop| {
            let config = Config {
                lease_ttl: Duration::from_millis(settings.lease_ttl_ms),
                sweep: Duration::from_millis(settings.sweep_ms),
                ..Config::new(settings.control_plane)
            };
            Ok(orlop_scheduler::serve(config, stop).await?)
        },
    )
}
