//! Taking a node away.

use super::DevArgs;
use super::folders::Folders;
use super::node::{self, Runtime};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orlop_runtime::containerd::remove_cgroups;
use orlop_runtime::{ContainerRuntime, ContainerState, Containerd};
use std::time::{Duration, Instant};

/// How long a running node may take to end: its roles drain, its containers get their time.
const END: Duration = Duration::from_secs(60);

/// Ends the node that runs here, if any, and takes away whatever is left of it or of one that was killed.
pub(super) async fn down(args: &DevArgs, folders: &Folders) -> anyhow::Result<()> {
    if let Some(process) = folders.holder() {
        // It may end on its own between the two lines.
        let _ = kill(Pid::from_raw(process), Signal::SIGTERM);
        let begun = Instant::now();
        while folders.holder().is_some() {
            anyhow::ensure!(begun.elapsed() < END, "process {process} does not end: see {}", folders.log().display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let _lock = folders.lock()?;
    // Whose containers there may be: those of the containerd that the node would use.
    let runtime = node::runtime(args, folders).await?;
    take_away(args, folders, runtime).await
}

/// Takes away containers, namespaces, links, rules and a containerd of our own.
pub(super) async fn take_away(args: &DevArgs, folders: &Folders, runtime: Runtime) -> anyhow::Result<()> {
    let containers = remove_containers(runtime.config, args.grace.into()).await;
    let network = orlop_overlay::teardown(node::overlay_config(args, folders)).await;
    let daemon = match runtime.own {
        Some(daemon) => daemon.stop_all().await,
        None => Ok(()),
    };
    remove_cgroups(&args.instance);
    folders.clear_run();
    containers?;
    network?;
    Ok(daemon?)
}

/// Are there containers of this node, or must one think so because nobody says?
pub(super) async fn has_containers(config: orlop_runtime::ContainerdConfig) -> bool {
    match Containerd::new(config) {
        Ok(containers) => containers.list().await.map_or(true, |containers| !containers.is_empty()),
        Err(_) => true,
    }
}

async fn remove_containers(config: orlop_runtime::ContainerdConfig, grace: Duration) -> anyhow::Result<()> {
    let containers = Containerd::new(config)?;
    let running: Vec<String> = containers
        .list()
        .await?
        .into_iter()
        .filter(|container| matches!(container.state, ContainerState::Running { .. }))
        .map(|container| container.id)
        .collect();
    for id in &running {
        containers.signal(id, orlop_model::spec::Signal::TERM).await?;
    }
    let ends = futures::future::join_all(running.iter().map(|id| containers.wait(id)));
    // Those that are late are killed with the others' remains.
    let _ = tokio::time::timeout(grace, ends).await;
    for container in containers.list().await? {
        containers.remove(&container.id).await?;
    }
    Ok(())
}
