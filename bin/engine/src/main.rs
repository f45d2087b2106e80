//! `orlop-engine`: runs durable tasks and workflows for workers that connect to it.

use clap::{Parser, Subcommand};
use orlop_durable::{Config, StoreConfig};
use orlop_program::Common;
use serde::{Deserialize, Serialize, Serializer};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Keeps durable tasks and workflows, and hands them to workers.
#[derive(Debug, Parser, Serialize)]
#[command(name = "orlop-engine", version)]
struct Flags {
    #[command(flatten)]
    #[serde(flatten)]
    common: Common,
    /// Where workers and clients connect; loopback only, port 0 takes a free one [default: 127.0.0.1:7420].
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    /// Where the store is, if it is SQLite [default: /var/lib/orlop/engine].
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// The store: sqlite:DIR, or postgres://USER@HOST/DATABASE, which several engines may share: one works, the others stand
    /// by. A password belongs into the configuration file, PGPASSWORD or PGPASSFILE, not here [default: SQLite in
    /// --data-dir].
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<String>,
    #[command(subcommand)]
    #[serde(skip)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until told to stop.
    Serve,
}

/// The engine's configuration as files and the environment write it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    listen: SocketAddr,
    data_dir: PathBuf,
    /// Empty: SQLite in `data_dir`.
    #[serde(serialize_with = "without_secrets")]
    store: String,
    /// How often workers are asked whether they are there, in milliseconds.
    ping_ms: u64,
    /// When a silent worker is lost, in milliseconds.
    lost_after_ms: u64,
    /// No payload is larger, in bytes.
    payload_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        let data_dir = PathBuf::from("/var/lib/orlop/engine");
        let Config { listen, ping, lost_after, payload_bytes_max, .. } =
            Config::new(StoreConfig::Sqlite(data_dir.clone()));
        let whole = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let (ping_ms, lost_after_ms) = (whole(ping), whole(lost_after));
        Self { listen, data_dir, store: String::new(), ping_ms, lost_after_ms, payload_bytes_max }
    }
}

fn without_secrets<S: Serializer>(store: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&orlop_durable::without_secrets(store))
}

fn main() -> ExitCode {
    orlop_program::run(
        "engine",
        |flags: &Flags| &flags.common,
        async |flags, settings: Settings, stop| match flags.command {
            Command::Serve => {
                let store = match settings.store.as_str() {
                    "" => StoreConfig::Sqlite(settings.data_dir),
                    url => url.parse()?,
                };
                let config = Config {
                    listen: settings.listen,
                    store,
                    ping: Duration::from_millis(settings.ping_ms),
                    lost_after: Duration::from_millis(settings.lost_after_ms),
                    payload_bytes_max: settings.payload_bytes_max,
                };
                config.check().map_err(anyhow::Error::msg)?;
                Ok(orlop_durable::serve(config, stop).await?)
            }
        },
    )
}
