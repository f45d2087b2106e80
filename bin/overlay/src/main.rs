//! `orlop-overlay`: gives the replicas of a node their place on the network.

use clap::Parser;
use orlop_program::Common;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Owns the bridge, the namespaces and the address translation of a node; the agent asks it over a local socket.
#[derive(Debug, Parser, Serialize)]
#[command(name = "orlop-overlay", version)]
struct Flags {
    #[command(flatten)]
    #[serde(flatten)]
    common: Common,
    /// Keeps the last mesh view [default: /var/lib/orlop/overlay].
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// Keeps the namespaces' names [default: /run/orlop/overlay].
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    run_dir: Option<PathBuf>,
    /// The socket that the agent calls [default: /run/orlop/overlay.sock].
    #[arg(long, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    socket: Option<PathBuf>,
    /// The control plane: auto, joined:DIRECTORY, unix:/path or http://127.0.0.1:PORT; auto is the cluster that this
    /// machine has joined, or else unix:/run/orlop/control.sock [default: auto].
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    control_plane: Option<String>,
    /// The node's name [default: the machine's host name].
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    node_name: Option<String>,
    /// The bridge's name, 1–15 characters [default: orlop0].
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    bridge: Option<String>,
    /// The nftables table's name, 1–31 characters [default: orlop].
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<String>,
    /// Whether packets for other nodes' replicas are led to those nodes' addresses; off where the network itself carries them
    /// [default: true].
    #[arg(long, value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    node_routes: Option<bool>,
    /// Take away every namespace, link and rule of this node, and end.
    #[arg(long)]
    #[serde(skip)]
    teardown: bool,
}

fn main() -> ExitCode {
    orlop_program::run(
        "overlay",
        |flags: &Flags| &flags.common,
        async |flags, config: orlop_overlay::Config, stop| {
            if flags.teardown {
                return Ok(orlop_overlay::teardown(config).await?);
            }
            let overlay = orlop_overlay::start(config).await?;
            tracing::info!(socket = %overlay.socket().display(), "serving the agent");
            Ok(overlay.serve(stop).await?)
        },
    )
}
