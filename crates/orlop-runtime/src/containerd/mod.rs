//! containerd (1.6 or newer) as the runtime, over its gRPC interface alone: no `ctr`, no transfer service.
//!
//! Containers, logs and images outlive us; what is kept in memory is only what containerd or the image would tell
//! again. While containerd is away, calls fail with `Unavailable`, and waiting goes on.

mod cgroup;
mod client;
mod containers;
mod content;
mod daemon;
mod exec;
mod exits;
mod host;
mod images;
mod import;
mod locks;
mod loggers;
mod near;
mod proto;
mod rootfs;
mod shims;
mod unpack;
mod volume;
mod words;

pub use cgroup::remove_cgroups;
pub use daemon::{Daemon, DaemonError, Detected, remove_leftovers};

use crate::container::{ContainerInfo, ContainerSpec, ExecProcess, ExecSpec, LostLogger};
use crate::image::{ImageInfo, ResolvedImage};
use crate::images::RegistryConfig;
use crate::images::registry::Registries;
use crate::oci::Host;
use crate::{Archive, ContainerRuntime, RuntimeError};
use async_trait::async_trait;
use client::{Client, QUICK};
use containerd_client::services::v1::PluginsRequest;
use containers::Containers;
use exits::Exits;
use orlop_model::spec::{Image, Signal};
use orlop_model::{Exit, Resources};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::OnceCell;
use unpack::Snapshots;

/// How to reach and use containerd.
#[derive(Debug, Clone)]
pub struct ContainerdConfig {
    /// Its socket.
    pub socket: PathBuf,
    /// containerd's own namespace for our things: 1–76 letters, digits, `-`, `_`, `.`.
    pub namespace: String,
    /// For FIFOs of exec and the posts of loggers; made when missing.
    pub run_dir: PathBuf,
    /// The program that writes logs; absolute.
    pub logger: PathBuf,
    /// Cgroups are made under `/<cgroup_parent>/<id>`.
    pub cgroup_parent: String,
    /// Where runc keeps its state; without one, where all containerds of the machine have it. See
    /// [`Daemon::runc_root`].
    pub runc_root: Option<PathBuf>,
    /// Where images come from.
    pub registries: RegistryConfig,
}

impl ContainerdConfig {
    /// The machine's containerd with customary settings.
    pub fn new(socket: impl Into<PathBuf>, run_dir: impl Into<PathBuf>, logger: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            namespace: "orlop".into(),
            run_dir: run_dir.into(),
            logger: logger.into(),
            cgroup_parent: "orlop".into(),
            runc_root: None,
            registries: RegistryConfig::default(),
        }
    }
}

/// The runtime over containerd. Cheap to clone; clones share the connection and what is remembered.
#[derive(Debug, Clone)]
pub struct Containerd {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    config: ContainerdConfig,
    host: Host,
    exits: Arc<Exits>,
    /// Made at the first call that containerd answers: it has to say which snapshotter works.
    containers: OnceCell<Arc<Containers>>,
}

impl Containerd {
    /// A handle; containerd is dialled at the first call, and again whenever it was away.
    pub fn new(config: ContainerdConfig) -> Result<Self, RuntimeError> {
        let client = Client::new(&config.socket, &config.namespace)?;
        let exits = Arc::new(Exits::new(client.clone(), &config.namespace));
        Ok(Self { inner: Arc::new(Inner { client, config, host: host::detect(), exits, containers: OnceCell::new() }) })
    }

    async fn containers(&self) -> Result<&Arc<Containers>, RuntimeError> {
        let inner = &self.inner;
        inner
            .containers
            .get_or_try_init(|| async {
                let snapshots = Snapshots { snapshotter: snapshotter(&inner.client).await? };
                let registries = Registries::new(inner.config.registries.clone());
                let images = Arc::new(images::Images::new(inner.client.clone(), snapshots, registries));
                let (client, config) = (inner.client.clone(), inner.config.clone());
                Ok(Arc::new(Containers::new(client, config, images, inner.exits.clone(), inner.host)))
            })
            .await
    }

    /// Does containerd answer? Also learns what it can do.
    pub async fn check(&self) -> Result<(), RuntimeError> {
        let client = &self.inner.client;
        let request = client.request(());
        let version = client.answer(QUICK, client.version().version(request)).await;
        version.map_err(|failure| client.error("asking for the version", failure))?;
        self.containers().await.map(|_| ())
    }
}

/// Overlayfs where the file system under containerd can carry it, else plain copies.
async fn snapshotter(client: &Client) -> Result<String, RuntimeError> {
    let filters = vec!["type==io.containerd.snapshotter.v1".into()];
    let request = client.request(PluginsRequest { filters });
    let plugins = client.answer(QUICK, client.introspection().plugins(request)).await;
    let plugins = plugins.map_err(|failure| client.error("asking for snapshotters", failure))?.plugins;
    let works = |name: &str| plugins.iter().any(|plugin| plugin.id == name && plugin.init_err.is_none());
    for name in ["overlayfs", "native"] {
        if works(name) {
            return Ok(name.into());
        }
    }
    Err(RuntimeError::other("asking for snapshotters", "containerd has neither overlayfs nor native"))
}

#[async_trait]
impl ContainerRuntime for Containerd {
    async fn ensure_image(&self, image: &Image) -> Result<ResolvedImage, RuntimeError> {
        self.containers().await?.images.ensure(image).await
    }

    async fn import(&self, archive: Archive, name: Option<&str>) -> Result<Vec<ImageInfo>, RuntimeError> {
        self.containers().await?.images.import(archive, name).await
    }

    async fn images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        self.containers().await?.images.list().await
    }

    async fn remove_image(&self, name: &str) -> Result<bool, RuntimeError> {
        self.containers().await?.images.remove(name).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        self.containers().await?.create(spec).await
    }

    fn unenforced(&self, resources: &Resources) -> Vec<&'static str> {
        self.inner.host.unenforced(resources)
    }

    async fn start(&self, id: &str) -> Result<(), RuntimeError> {
        self.containers().await?.start(id).await
    }

    async fn wait(&self, id: &str) -> Result<Exit, RuntimeError> {
        self.containers().await?.wait(id).await
    }

    async fn signal(&self, id: &str, signal: Signal) -> Result<(), RuntimeError> {
        self.containers().await?.signal(id, "", signal).await
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        self.containers().await?.remove(id).await
    }

    async fn list(&self) -> Result<Vec<ContainerInfo>, RuntimeError> {
        self.containers().await?.list().await
    }

    async fn mend_loggers(&self) -> Vec<LostLogger> {
        match self.containers().await {
            Ok(containers) => containers.mend_loggers().await,
            Err(_) => Vec::new(),
        }
    }

    async fn exec(&self, id: &str, exec: ExecSpec) -> Result<Box<dyn ExecProcess>, RuntimeError> {
        self.containers().await?.exec(id, exec).await
    }
}
