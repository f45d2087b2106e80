//! `orlopctl dev`: every role of a cluster in one process, for one machine, over the same gRPC.

mod down;
mod flags;
mod folders;
mod log;
mod node;
mod same;
mod start;

use clap::Args;
use folders::Folders;
use orlop_model::{Millis, NodeName};
use std::net::SocketAddr;
use std::path::PathBuf;

/// How and where a development node runs.
#[derive(Debug, Clone, Args)]
pub(crate) struct DevArgs {
    /// Keeps everything that outlives the process: state, images, volumes, logs.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/orlop")]
    data: PathBuf,
    /// Keeps sockets and namespaces; short, because sockets' paths are.
    #[arg(long, value_name = "DIR", default_value = "/run/orlop")]
    run: PathBuf,
    /// Where the proxy serves HTTP endpoints; loopback only, port 0 takes a free one (then see http.address in RUN).
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = loopback)]
    http: SocketAddr,
    /// Also listen for operators on a loopback address, besides control.sock in RUN.
    #[arg(long, value_name = "ADDRESS", value_parser = loopback)]
    listen: Option<SocketAddr>,
    /// The addresses of replicas: a /24 or a larger range. Taken when the cluster is made.
    #[arg(long, value_name = "CIDR", default_value = "10.77.0.0/16")]
    cluster_range: ipnet::Ipv4Net,
    /// Tells several nodes of one machine apart: the name of the bridge, the nftables table and the cgroup; 1–13 characters.
    #[arg(long, value_name = "NAME", default_value = "orlop")]
    instance: String,
    /// The node's name [default: the machine's host name].
    #[arg(long, value_name = "NAME")]
    node_name: Option<NodeName>,
    /// `auto` takes the machine's containerd or else starts one, `own` starts one under DATA, a path is a socket.
    #[arg(long, value_name = "WHICH", default_value = "auto")]
    containerd: String,
    /// A registry (host or host:port) that is asked over plain http; may be given several times.
    #[arg(long = "insecure-registry", value_name = "HOST")]
    insecure_registries: Vec<String>,
    /// The authority (PEM) that signed the certificate of a registry (host or host:port); may be given several times.
    #[arg(long = "registry-ca", value_name = "HOST=FILE", value_parser = flags::pair)]
    registry_cas: Vec<(String, String)>,
    /// Credentials for registries, in the form of docker's config.json.
    #[arg(long, value_name = "FILE")]
    registry_credentials: Option<PathBuf>,
    /// A label of the node, which `placement.constraints` see; may be given several times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = flags::pair)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    limits: flags::Limits,
    /// Leave containers running at the end; the next start finds them again.
    #[arg(long)]
    keep: bool,
    /// Go to the background when ready; output goes to dev.log in RUN, which is bounded. Harmless when it runs already.
    #[arg(long)]
    detach: bool,
    /// End what runs there, and leave no container, namespace, interface, table, mount or process behind.
    #[arg(long, conflicts_with_all = ["detach", "keep"])]
    down: bool,
    /// The most that a container may take to end when the node is taken away [default: its own stop_grace_period].
    #[arg(long, value_name = "SPAN", value_parser = crate::args::span)]
    grace: Option<Millis>,
    /// Only run a containerd of our own under DATA and RUN, for programs started one by one.
    #[arg(long, hide = true)]
    containerd_only: bool,
    /// What to log: a level (error, warn, info, debug, trace) or levels by target.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
    /// How log lines look: json or text.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: String,
}

/// Reads an address that no other machine reaches.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| "write an address and a port, such as 127.0.0.1:8080".to_owned())?;
    if !address.ip().is_loopback() {
        return Err("only loopback addresses are served until calls carry an identity: take 127.0.0.1 or [::1]".into());
    }
    Ok(address)
}

/// Does what the flags say.
pub(crate) fn run(args: &DevArgs) -> anyhow::Result<()> {
    anyhow::ensure!(nix::unistd::geteuid().is_root(), "containers and networks need root: run it with sudo");
    let folders = Folders::new(&args.data, &args.run)?;
    if args.down {
        return runtime()?.block_on(down::down(args, &folders));
    }
    if args.detach {
        return start::detach(&folders);
    }
    // Everything is made for the duration of this process and must not outlive it by accident.
    let lock = folders.lock()?;
    orlop_telemetry::init("dev", args.log_format.parse()?, &args.log)?;
    orlop_program::raise_open_files();
    let outcome = runtime()?.block_on(async {
        if args.containerd_only { node::containerd_only(&folders).await } else { node::run(args, &folders).await }
    });
    drop(lock);
    outcome
}

/// Two threads: one for what is on disk or compressed, one that goes on answering.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).max_blocking_threads(16).enable_all().build()?)
}
