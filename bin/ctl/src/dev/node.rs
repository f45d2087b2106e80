//! The roles, started in the order in which they need one another and ended in the reverse.

use super::DevArgs;
use super::down;
use super::folders::Folders;
use anyhow::Context;
use orlop_model::Liveness;
use orlop_model::view::{Object, View};
use orlop_program::stop_on_signals;
use orlop_runtime::containerd::Daemon;
use orlop_runtime::{Containerd, ContainerdConfig};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long a role may take to end.
const END: Duration = Duration::from_secs(15);

/// A role that runs in this process.
struct Role {
    name: &'static str,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Role {
    fn start<F>(name: &'static str, serve: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(stop.clone()));
        Self { name, stop, task }
    }

    /// Asks it to end, and names it when it is late.
    async fn end(self) {
        self.stop.cancel();
        match tokio::time::timeout(END, self.task).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::error!(role = self.name, "{error:#}"),
            Ok(Err(panic)) => tracing::error!(role = self.name, %panic, "the role panicked"),
            Err(_) => tracing::error!(role = self.name, "the role does not end; leaving it"),
        }
    }
}

/// The containerd that a node uses.
pub(super) struct Runtime {
    pub(super) config: ContainerdConfig,
    /// Set when it is ours to end.
    pub(super) own: Option<Daemon>,
}

/// Finds or starts containerd as `--containerd` says.
pub(super) async fn runtime(args: &DevArgs, folders: &Folders) -> anyhow::Result<Runtime> {
    let machine = PathBuf::from("/run/containerd/containerd.sock");
    let (socket, own) = match args.containerd.as_str() {
        "own" => own_containerd(folders).await?,
        "auto" if Daemon::detect(&machine).await.is_some() => (machine, None),
        "auto" => own_containerd(folders).await?,
        path => {
            let socket = PathBuf::from(path);
            let answers = Daemon::detect(&socket).await;
            anyhow::ensure!(
                answers.is_some(),
                "no containerd answers at {path}: give --containerd a socket that one listens on, `own` or `auto`"
            );
            (socket, None)
        }
    };
    let logger = std::env::current_exe()?.with_file_name("orlop-logger");
    anyhow::ensure!(logger.is_file(), "{} is missing: install it beside orlopctl", logger.display());
    let mut config = ContainerdConfig::new(socket, folders.run("agent"), logger);
    config.cgroup_parent = args.instance.clone();
    config.runc_root = own.as_ref().map(Daemon::runc_root);
    config.registries.insecure_registries = args.insecure_registries.iter().cloned().collect();
    config.registries.credentials_file = args.registry_credentials.clone();
    config.registries.ca_files = args.registry_cas.iter().map(|(host, file)| (host.clone(), file.into())).collect();
    for file in config.registries.ca_files.values().chain(&config.registries.credentials_file) {
        anyhow::ensure!(
            file.is_file(),
            "{} is no file: give --registry-ca and --registry-credentials one",
            file.display()
        );
    }
    if args.instance != "orlop" {
        config.namespace = args.instance.clone();
    }
    Ok(Runtime { config, own })
}

async fn own_containerd(folders: &Folders) -> anyhow::Result<(PathBuf, Option<Daemon>)> {
    let (data, run) = folders.roots();
    let daemon = Daemon::start(data, run).await?;
    Ok((daemon.socket(), Some(daemon)))
}

/// Runs a containerd of our own until a signal comes; its containers outlive it.
pub(super) async fn containerd_only(folders: &Folders) -> anyhow::Result<()> {
    let (data, run) = folders.roots();
    let stop = CancellationToken::new();
    // Before the start: whoever sees the socket may send a signal at once, and it must not leave containerd behind.
    let mut signals = tokio::spawn(stop_on_signals(stop.clone()));
    let daemon = Daemon::start(data, run).await?;
    tracing::info!(socket = %daemon.socket().display(), "containerd runs");
    tokio::select! {
        () = stop.cancelled() => {}
        aborted = &mut signals => aborted??,
    }
    Ok(daemon.stop().await?)
}

/// Runs all roles until a signal comes or one of them fails.
pub(super) async fn run(args: &DevArgs, folders: &Folders) -> anyhow::Result<()> {
    let begun = Instant::now();
    folders.clear_run();
    let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
    let signals = tokio::spawn({
        let (stop, hurry) = (stop.clone(), hurry.clone());
        async move {
            let second = stop_on_signals(stop).await;
            hurry.cancel();
            second
        }
    });
    tokio::spawn(super::log::keep_bounded(folders.log()));
    let runtime = runtime(args, folders).await?;
    let containers = Arc::new(Containerd::new(runtime.config.clone())?);
    let mut roles = Vec::new();
    let outcome = serve(args, folders, containers.clone(), &mut roles, begun, &stop, signals).await;

    // The proxy first: it drains while its backends still run.
    while let Some(role) = roles.pop() {
        role.end().await;
    }
    if args.keep {
        tracing::info!("containers stay as they are; `orlopctl dev` finds them again");
        return outcome;
    }
    // What fails is this process, not the containers of one before it, and they go on without it.
    if outcome.is_err() && down::has_containers(runtime.config.clone()).await {
        tracing::warn!("containers stay as they are; `orlopctl dev` finds them again, `--down` takes them away");
        return outcome;
    }
    let cleaned = down::take_away(args, folders, runtime, &hurry).await;
    outcome.and(cleaned)
}

type Serving = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

async fn serve(
    args: &DevArgs,
    folders: &Folders,
    containers: Arc<Containerd>,
    roles: &mut Vec<Role>,
    begun: Instant,
    stop: &CancellationToken,
    mut signals: tokio::task::JoinHandle<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let control_plane = format!("unix:{}", folders.control().display());
    let mut start = |name: &'static str, serve: Box<dyn FnOnce(CancellationToken) -> Serving>| {
        roles.push(Role::start(name, serve));
    };

    let mut listen = vec![orlop_control::Listen::Unix(folders.control())];
    listen.extend(args.listen.map(orlop_control::Listen::Loopback));
    let mut config = orlop_control::Config::new(folders.data("control-plane"), listen);
    config.cluster_range = args.cluster_range;
    let stop_control = CancellationToken::new();
    let control = orlop_control::start(config, stop_control.clone()).await.context("the control plane")?;
    start(
        "control-plane",
        Box::new(move |stop| {
            Box::pin(async move {
                tokio::spawn(async move {
                    stop.cancelled().await;
                    stop_control.cancel();
                });
                Ok(control.wait().await?)
            })
        }),
    );

    let config = orlop_scheduler::Config::new(control_plane.clone());
    start("scheduler", Box::new(|stop| Box::pin(async { Ok(orlop_scheduler::serve(config, stop).await?) })));

    let overlay = orlop_overlay::start(overlay_config(args, folders)).await.context("the overlay daemon")?;
    start("overlay", Box::new(|stop| Box::pin(async { Ok(overlay.serve(stop).await?) })));

    let mut config = orlop_agent::Config::new(folders.data("agent"), control_plane.clone(), folders.overlay());
    config.secrets_dir = secrets_dir(folders);
    config.name = args.node_name.clone();
    config.environment = orlop_program::environment();
    config.labels = args.labels.iter().cloned().collect();
    config.reserve = args.limits.reserve();
    config.logs = args.limits.logs()?;
    let stop_agent = CancellationToken::new();
    let mut agent = orlop_agent::start(config, containers, stop_agent.clone()).await.context("the agent")?;
    let node = agent.node();
    start(
        "agent",
        Box::new(move |stop| {
            Box::pin(async move {
                tokio::select! {
                    // Without an agent there is no node: its end is that of the others too.
                    ended = agent.ended() => return Ok(ended?),
                    () = stop.cancelled() => stop_agent.cancel(),
                }
                Ok(agent.ended().await?)
            })
        }),
    );

    let defaults = orlop_proxy::Config::default();
    let config = orlop_proxy::Config {
        listen: args.http,
        control_plane: control_plane.clone(),
        node_name: args.node_name.as_ref().map_or(defaults.node_name, ToString::to_string),
        data_dir: folders.data("proxy"),
        ..defaults
    };
    let proxy = orlop_proxy::start(config)
        .await
        .with_context(|| format!("the proxy (choose another address than {} with --http)", args.http))?;
    let http = proxy.address();
    start("proxy", Box::new(|stop| Box::pin(async { Ok(proxy.serve(stop).await?) })));

    let ready = async {
        let client = orlop_client::OperatorClient::new(control_plane.parse()?)?;
        let mut watch = client.watch(View::Mesh);
        loop {
            let changes = watch.next().await?;
            let registered = changes.objects.iter().any(
                |(_, object)| matches!(object, Some(Object::Node(n)) if n.id == node && n.liveness == Liveness::Alive),
            );
            if registered {
                return anyhow::Ok(());
            }
        }
    };
    tokio::select! {
        ready = ready => ready?,
        () = stop.cancelled() => return Ok(()),
        ended = first_end(roles) => return Err(ended),
    }
    // Whole or not at all: whoever waits for the file reads it at once.
    let aside = folders.run("http.address.new");
    std::fs::write(&aside, http.to_string())?;
    std::fs::rename(aside, folders.http_address())?;
    println!("ready after {} ms", begun.elapsed().as_millis());
    println!("  HTTP endpoints   http://{http}");
    println!("  control plane    {control_plane}");
    println!("  next             orlopctl --address {control_plane} deploy -f FILE --wait");

    tokio::select! {
        () = stop.cancelled() => Ok(()),
        aborted = &mut signals => aborted?,
        ended = first_end(roles) => Err(ended),
    }
}

/// Where the agent of this node mounts secrets.
pub(super) fn secrets_dir(folders: &Folders) -> PathBuf {
    folders.run("agent").join("secrets")
}

/// How the overlay daemon of this node is configured.
pub(super) fn overlay_config(args: &DevArgs, folders: &Folders) -> orlop_overlay::Config {
    let defaults = orlop_overlay::Config::default();
    orlop_overlay::Config {
        data_dir: folders.data("overlay"),
        run_dir: folders.run("overlay"),
        socket: folders.overlay(),
        control_plane: format!("unix:{}", folders.control().display()),
        node_name: args.node_name.as_ref().map_or(defaults.node_name, ToString::to_string),
        bridge: format!("{}0", args.instance),
        table: args.instance.clone(),
        ..defaults
    }
}

/// Waits until a role ends that nobody asked to end.
async fn first_end(roles: &mut [Role]) -> anyhow::Error {
    let (outcome, index, _) = futures::future::select_all(roles.iter_mut().map(|role| &mut role.task)).await;
    let name = roles[index].name;
    match outcome {
        Ok(Ok(())) => anyhow::anyhow!("{name} ended by itself"),
        Ok(Err(error)) => error.context(name),
        Err(panic) => anyhow::anyhow!("{name} panicked: {panic}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(name: &'static str) -> Role {
        Role::start(name, |stop| async move {
            stop.cancelled().await;
            Ok(())
        })
    }

    #[tokio::test]
    async fn the_first_role_that_ends_is_named_with_the_reason() {
        let reason = |name, role: Role| async move {
            let mut roles = vec![idle("control-plane"), role, idle("proxy")];
            let reason = format!("{:#}", first_end(&mut roles).await);
            assert!(reason.starts_with(name), "{reason}");
            reason
        };
        assert_eq!(reason("agent", Role::start("agent", |_| async { Ok(()) })).await, "agent ended by itself");
        let failed = Role::start("overlay", |_| async { Err(anyhow::anyhow!("no bridge")) });
        assert_eq!(reason("overlay", failed).await, "overlay: no bridge");
        let died = Role::start("scheduler", |_| async { panic!("a defect") });
        assert!(reason("scheduler", died).await.contains("a defect"));
    }
}
