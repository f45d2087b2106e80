//! Taking a node away.

use super::DevArgs;
use super::folders::Folders;
use super::node::{self, Runtime};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orlop_model::Millis;
use orlop_model::spec::Signal as StopSignal;
use orlop_runtime::containerd::remove_cgroups;
use orlop_runtime::{ContainerRuntime, ContainerState, Containerd, labels};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long a running node may take to end: its roles drain, its containers get their time.
const END: Duration = Duration::from_secs(60);
/// How long after a signal the next one follows: two that wait at the same time are one to the kernel.
const SIGNAL_AGAIN: Duration = Duration::from_millis(200);
/// The time to end of a container that does not say what its own is.
const GRACE_DEFAULT: Duration = Duration::from_secs(10);

/// Ends the node that runs here, if any, and takes away whatever is left of it or of one that was killed.
pub(super) async fn down(args: &DevArgs, folders: &Folders) -> anyhow::Result<()> {
    if let Some(process) = folders.holder() {
        end(process, args, folders).await?;
    }
    let _lock = folders.lock()?;
    // Whose containers there may be: those of the containerd that the node would use.
    let runtime = node::runtime(args, folders).await?;
    take_away(args, folders, runtime, &CancellationToken::new()).await
}

/// Asks a running node to end, and waits. Once `--grace` is over, a second signal ends its waiting for containers.
async fn end(process: i32, args: &DevArgs, folders: &Folders) -> anyhow::Result<()> {
    let ask = || {
        // It may have ended on its own meanwhile.
        let _ = kill(Pid::from_raw(process), Signal::SIGTERM);
    };
    ask();
    let begun = Instant::now();
    let grace = args.grace.map(Duration::from);
    let mut again_at = grace.map(|grace| begun + grace.max(SIGNAL_AGAIN));
    while folders.holder().is_some() {
        anyhow::ensure!(
            begun.elapsed() < END + grace.unwrap_or_default(),
            "process {process} does not end: its containers may still have time to (--grace 0s kills them); see {}",
            folders.log().display()
        );
        if again_at.is_some_and(|at| at <= Instant::now()) {
            ask();
            again_at = Some(Instant::now() + SIGNAL_AGAIN);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Takes away containers, secrets, namespaces, links, rules and a containerd of our own. `hurry` ends the time that containers have.
pub(super) async fn take_away(
    args: &DevArgs,
    folders: &Folders,
    runtime: Runtime,
    hurry: &CancellationToken,
) -> anyhow::Result<()> {
    let containers = remove_containers(runtime.config, args.grace.map(Duration::from), hurry).await;
    let secrets = orlop_agent::remove_secrets(&node::secrets_dir(folders));
    let network = orlop_overlay::teardown(node::overlay_config(args, folders)).await;
    let daemon = match runtime.own {
        Some(daemon) => daemon.stop_all().await,
        None => Ok(()),
    };
    remove_cgroups(&args.instance);
    folders.clear_run();
    containers?;
    secrets?;
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

/// Asks each process to end in its own way and for its own time, `bound` at most; then removes all containers.
async fn remove_containers(
    config: orlop_runtime::ContainerdConfig,
    bound: Option<Duration>,
    hurry: &CancellationToken,
) -> anyhow::Result<()> {
    let containers = Containerd::new(config)?;
    let listed = containers.list().await?;
    let running = listed.iter().filter(|container| matches!(container.state, ContainerState::Running { .. }));
    let ends = running.map(|container| async {
        let (signal, grace) = manner(&container.labels, bound);
        // One that cannot be asked is killed with the others' remains.
        if containers.signal(&container.id, signal).await.is_ok() {
            let _ = tokio::time::timeout(grace, containers.wait(&container.id)).await;
        }
    });
    tokio::select! {
        _ = futures::future::join_all(ends) => {}
        () = hurry.cancelled() => tracing::warn!("a second signal: containers that still run are killed"),
    }
    for container in containers.list().await? {
        containers.remove(&container.id).await?;
    }
    Ok(())
}

/// The signal that asks a container's process to end, and how long it may take.
fn manner(of: &BTreeMap<String, String>, bound: Option<Duration>) -> (StopSignal, Duration) {
    let signal = of.get(labels::STOP_SIGNAL).and_then(|text| StopSignal::parse(text));
    let own = of.get(labels::STOP_GRACE).and_then(|text| text.parse().ok());
    let own = own.map_or(GRACE_DEFAULT, |millis| Duration::from(Millis(millis)));
    (signal.unwrap_or(StopSignal::TERM), bound.map_or(own, |bound| own.min(bound)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_ended_in_its_own_way_and_within_the_bound() {
        let of = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let own = of(&[(labels::STOP_SIGNAL, "10"), (labels::STOP_GRACE, "60000")]);
        let usr1 = StopSignal::parse("SIGUSR1").expect("a signal");
        assert_eq!(manner(&own, None), (usr1, Duration::from_secs(60)));
        assert_eq!(manner(&own, Some(Duration::from_secs(5))), (usr1, Duration::from_secs(5)));
        assert_eq!(manner(&own, Some(Duration::from_secs(90))), (usr1, Duration::from_secs(60)));
        assert_eq!(manner(&of(&[]), None), (StopSignal::TERM, GRACE_DEFAULT));
    }
}
