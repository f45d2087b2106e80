//! `orlop-proxy`: takes requests to public endpoints and spreads them over ready replicas.

use clap::Parser;
use orlop_program::Common;
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

/// Serves public HTTP and TCP endpoints on a node; learns its routes from the control plane and goes on without it.
#[derive(Debug, Parser, Serialize)]
#[command(name = "orlop-proxy", version)]
struct Flags {
    #[command(flatten)]
    #[serde(flatten)]
    common: Common,
    /// Where HTTP is served, such as 0.0.0.0:80; port 0 takes a free one [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    /// The address on which public TCP endpoints have their ports, such as 0.0.0.0 [default: 127.0.0.1].
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp_address: Option<IpAddr>,
    /// The control plane: auto, joined:DIRECTORY, unix:/path or http://127.0.0.1:PORT; auto is the cluster that this
    /// machine has joined, or else unix:/run/orlop/control.sock [default: auto].
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    control_plane: Option<String>,
    /// The node's name, which must be the agent's [default: the host name].
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    node_name: Option<String>,
    /// Keeps the last routes [default: /var/lib/orlop/proxy].
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// Write the address that was bound into this file, for whoever asked for port 0.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    address_file: Option<PathBuf>,
}

fn main() -> ExitCode {
    orlop_program::run(
        "proxy",
        |flags: &Flags| &flags.common,
        async |flags, config: orlop_proxy::Config, stop| {
            let proxy = orlop_proxy::start(config).await?;
            tracing::info!(http = %proxy.address(), "serving public endpoints");
            if let Some(file) = &flags.address_file {
                std::fs::write(file, proxy.address().to_string())?;
            }
            Ok(proxy.serve(stop).await?)
        },
    )
}
