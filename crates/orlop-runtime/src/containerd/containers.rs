//! The life of containers: record, snapshot, task; and away with them again.
//!
//! The record comes first and goes last but one, so that whatever a crash leaves is found by `list` under the
//! container's id; containerd itself collects a snapshot without record.

use super::client::{Client, Failure, PROCESS, QUICK};
use super::exits::{Ended, Exits, process};
use super::images::Images;
use super::loggers::Kept;
use super::proto::{RuncOptions, spec_any};
use super::shims::{ANNOTATION, Shims};
use super::volume::{is_full, make_volume};
use super::words::runc_error;
use super::{ContainerdConfig, cgroup, host};
use crate::RuntimeError;
use crate::container::{ContainerInfo, ContainerSpec, ContainerState, LogTarget, MountSource};
use crate::image::ResolvedImage;
use crate::oci::user::{self, User, UserFiles};
use crate::oci::{self, Host};
use containerd_client::services::v1::container::Runtime;
use containerd_client::services::v1::{
    Container, CreateContainerRequest, CreateTaskRequest, DeleteContainerRequest, DeleteTaskRequest, KillRequest,
    ListContainersRequest, ListTasksRequest, StartRequest,
};
use containerd_client::types;
use containerd_client::types::v1::{Process, Status};
use orlop_model::Exit;
use orlop_model::spec::Signal;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a killed process may take to be gone.
const KILL: Duration = Duration::from_secs(30);
/// Stacks of layers whose user files are kept in memory.
const USER_FILES_MAX: usize = 64;
const RUNTIME: &str = "io.containerd.runc.v2";

/// The containers of one namespace.
#[derive(Debug)]
pub(crate) struct Containers {
    pub(crate) client: Client,
    pub(crate) config: ContainerdConfig,
    pub(crate) images: Arc<Images>,
    pub(crate) exits: Arc<Exits>,
    pub(crate) host: Host,
    user_files: Mutex<HashMap<String, Arc<UserFiles>>>,
    /// Held while a volume's directory is made: replicas that share one may start at once.
    volumes: Mutex<()>,
    pub(super) kept: Kept,
    /// How often another logger could not take over, by container.
    pub(super) failures: Mutex<BTreeMap<String, u32>>,
    shims: Mutex<Shims>,
}

impl Containers {
    pub(crate) fn new(
        client: Client,
        config: ContainerdConfig,
        images: Arc<Images>,
        exits: Arc<Exits>,
        host: Host,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let shims = Mutex::new(Shims::new(cores, format!("orlop-{}", uuid::Uuid::new_v4().simple())));
        Self {
            client,
            config,
            images,
            exits,
            host,
            user_files: Mutex::default(),
            volumes: Mutex::default(),
            kept: Kept::default(),
            failures: Mutex::default(),
            shims,
        }
    }

    fn cgroup(&self, id: &str) -> String {
        format!("/{}/{id}", self.config.cgroup_parent.trim_matches('/'))
    }

    /// See [`crate::ContainerRuntime::create`].
    pub(crate) async fn create(&self, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        let Some(kin) = &spec.kin else { return self.create_in(spec, None).await };
        let shim = self.shims.lock().join(kin, &spec.id, Instant::now());
        match self.create_in(spec, Some(shim)).await {
            // A shim ends with its last container, also when that could not be made; whoever was about to join it fails
            // with it. So what cannot be named is tried without company, and is the container's own fault then.
            Err(RuntimeError::Other { doing, detail }) => {
                tracing::debug!(container = spec.id, doing, detail, "trying again with a shim of its own");
                self.create_in(spec, None).await
            }
            result => result,
        }
    }

    async fn create_in(&self, spec: &ContainerSpec, shim: Option<String>) -> Result<(), RuntimeError> {
        let user = self.user(&spec.image, oci::user_text(spec)).await?;
        let mut runtime_spec = oci::runtime_spec(spec, &user, &self.host, &self.cgroup(&spec.id))?;
        if let Some(shim) = shim {
            runtime_spec.set_annotations(Some(HashMap::from([(ANNOTATION.to_owned(), shim)])));
        }
        self.prepare_mounts(spec, &user)?;
        let log = self.log_uri(spec)?;

        let spec_any =
            spec_any(&runtime_spec).map_err(|error| RuntimeError::other("describing the container", error))?;
        let container = Container {
            id: spec.id.clone(),
            labels: spec.labels.clone().into_iter().collect(),
            image: spec.image.name.clone(),
            runtime: Some(Runtime { name: RUNTIME.into(), options: Some(self.runc_options().to_any()) }),
            spec: Some(spec_any),
            snapshotter: self.images.snapshots.snapshotter.clone(),
            snapshot_key: spec.id.clone(),
            ..Container::default()
        };
        if let Err(failure) = self.record(container.clone()).await {
            if failure != Failure::AlreadyExists {
                return Err(self.client.error("recording the container", failure));
            }
            self.replace(&spec.id).await?;
            self.record(container).await.map_err(|f| self.client.error("recording the container", f))?;
        }
        let created = async {
            let mounts = self.snapshot(spec).await?;
            self.task(spec, mounts, &log).await
        };
        if let Err(error) = created.await {
            if !matches!(error, RuntimeError::Unavailable { .. })
                && let Err(second) = self.remove(&spec.id).await
            {
                tracing::warn!(container = spec.id, %second, "what a failed creation left could not be removed yet");
            }
            return Err(error);
        }
        self.kept.open(&self.config.run_dir, &spec.id);
        Ok(())
    }

    async fn record(&self, container: Container) -> Result<(), Failure> {
        let request = self.client.request(CreateContainerRequest { container: Some(container) });
        self.client.answer(QUICK, self.client.containers().create(request)).await.map(|_| ())
    }

    /// Makes room for a new container of this id.
    async fn replace(&self, id: &str) -> Result<(), RuntimeError> {
        let failed = |failure| self.client.error("looking for an earlier container", failure);
        let found = process(&self.client, id, "").await.map_err(failed)?;
        match found.map(|process| process.status()) {
            Some(Status::Running | Status::Paused | Status::Pausing) => {
                Err(RuntimeError::WrongState { id: id.to_owned(), found: "running", asked: "creating it" })
            }
            _ => self.remove(id).await,
        }
    }

    async fn snapshot(&self, spec: &ContainerSpec) -> Result<Vec<types::Mount>, RuntimeError> {
        let snapshots = &self.images.snapshots;
        for _ in 0..2 {
            match snapshots.prepare(&self.client, &spec.id, &spec.image.chain_id).await {
                Ok(mounts) => return Ok(mounts),
                // A leftover without record, which containerd has not collected yet.
                Err(Failure::AlreadyExists) => snapshots.remove(&self.client, &spec.id).await?,
                Err(Failure::NotFound(_)) => {
                    self.images.forget(&spec.image.digest);
                    return Err(RuntimeError::ImageUnavailable {
                        image: spec.image.name.clone(),
                        detail: "its unpacked layers were removed from the node; they will be made again".into(),
                    });
                }
                Err(failure) => return Err(self.client.error("making the container's file system", failure)),
            }
        }
        Err(RuntimeError::other("making the container's file system", "somebody else keeps making it"))
    }

    async fn task(&self, spec: &ContainerSpec, rootfs: Vec<types::Mount>, log: &str) -> Result<(), RuntimeError> {
        let request = self.client.request(CreateTaskRequest {
            container_id: spec.id.clone(),
            rootfs,
            stdout: log.to_owned(),
            stderr: log.to_owned(),
            options: Some(self.runc_options().to_any()),
            ..CreateTaskRequest::default()
        });
        match self.client.answer(PROCESS, self.client.tasks().create(request)).await {
            Ok(_) => Ok(()),
            Err(Failure::Other(detail) | Failure::Precondition(detail) | Failure::NotFound(detail)) => {
                Err(runc_error("setting the container up", &detail, Some(spec)))
            }
            Err(failure) => Err(self.client.error("setting the container up", failure)),
        }
    }

    fn runc_options(&self) -> RuncOptions {
        let root = self.config.runc_root.as_ref().map(|path| path.to_string_lossy().into_owned());
        RuncOptions { root: root.unwrap_or_default() }
    }

    /// Who the container runs as. The image's files are read once, and only when a name or a group is to be found.
    async fn user(&self, image: &ResolvedImage, text: &str) -> Result<User, RuntimeError> {
        if let Some(user) = user::resolve_without_files(text) {
            return Ok(user);
        }
        let known = self.user_files.lock().get(&image.chain_id).cloned();
        let files = match known {
            Some(files) => files,
            None => {
                let directory = self.config.run_dir.join("view");
                let files = self.images.snapshots.user_files(&self.client, &image.chain_id, &directory).await;
                let files = Arc::new(files.map_err(|error| match error {
                    RuntimeError::NotFound { .. } => {
                        self.images.forget(&image.digest);
                        RuntimeError::ImageUnavailable {
                            image: image.name.clone(),
                            detail: "its unpacked layers were removed from the node; they will be made again".into(),
                        }
                    }
                    error => error,
                })?);
                let mut remembered = self.user_files.lock();
                if remembered.len() >= USER_FILES_MAX {
                    remembered.clear();
                }
                remembered.insert(image.chain_id.clone(), files.clone());
                files
            }
        };
        user::resolve(text, &files)
    }

    /// Makes volumes' directories, and finds what is missing before runc does, for a better message.
    fn prepare_mounts(&self, spec: &ContainerSpec, user: &User) -> Result<(), RuntimeError> {
        for mount in &spec.mounts {
            let invalid = |detail: String| RuntimeError::MountInvalid { target: mount.target.clone(), detail };
            match &mount.source {
                MountSource::Bind(path) | MountSource::Data(path) | MountSource::Volume(path)
                    if !path.is_absolute() =>
                {
                    return Err(invalid(format!("{} of this node is not absolute", path.display())));
                }
                MountSource::Bind(path) | MountSource::Data(path) => {
                    if let Err(error) = std::fs::metadata(path) {
                        return Err(invalid(unusable(path, &error)));
                    }
                }
                MountSource::Volume(path) => {
                    let _alone = self.volumes.lock();
                    make_volume(path, user).map_err(|error| match is_full(&error) {
                        true => RuntimeError::DiskFull { detail: format!("{}: {error}", path.display()) },
                        false => invalid(unusable(path, &error)),
                    })?;
                }
                MountSource::Tmpfs { .. } => {}
            }
        }
        if let Some(path) = &spec.network_namespace
            && let Err(error) = std::fs::metadata(path)
        {
            return Err(RuntimeError::other("joining the network namespace", format!("{}: {error}", path.display())));
        }
        Ok(())
    }

    /// What the shim is told to do with the output.
    fn log_uri(&self, spec: &ContainerSpec) -> Result<String, RuntimeError> {
        let LogTarget::Files { directory, file_bytes_max, files_max } = &spec.log else { return Ok(String::new()) };
        let failed = |detail: String| RuntimeError::other("preparing the log", detail);
        if *file_bytes_max < 4096 || *files_max < 2 || !directory.is_absolute() {
            return Err(failed(
                "a log needs an absolute directory, files of 4096 bytes at least, and two of them".into(),
            ));
        }
        if let Err(error) = std::fs::create_dir_all(directory) {
            let detail = format!("{}: {error}", directory.display());
            return Err(if is_full(&error) { RuntimeError::DiskFull { detail } } else { failed(detail) });
        }
        if !self.config.logger.is_file() {
            return Err(failed(format!("the log writer {} does not exist", self.config.logger.display())));
        }
        Ok(format!(
            "binary://{}?directory={}&bytes={file_bytes_max}&files={files_max}&post={}",
            percent(&self.config.logger),
            percent(directory),
            percent(&super::loggers::posts(&self.config.run_dir).join(&spec.id)),
        ))
    }

    /// See [`crate::ContainerRuntime::start`].
    pub(crate) async fn start(&self, id: &str) -> Result<(), RuntimeError> {
        let request = self.client.request(StartRequest { container_id: id.to_owned(), exec_id: String::new() });
        let failure = match self.client.answer(PROCESS, self.client.tasks().start(request)).await {
            Ok(_) => return Ok(()),
            Err(Failure::NotFound(_)) => {
                return Err(RuntimeError::NotFound { what: format!("a set up container {id}") });
            }
            Err(failure @ (Failure::Gone(_) | Failure::DiskFull(_))) => {
                return Err(self.client.error("starting the container", failure));
            }
            Err(failure) => failure,
        };
        // A container that has been started is fine, also when that was a call whose answer was lost.
        let found = process(&self.client, id, "").await.map_err(|f| self.client.error("starting the container", f))?;
        match found.map(|process| process.status()) {
            Some(Status::Running | Status::Paused | Status::Pausing) => Ok(()),
            Some(Status::Stopped) if was_stopped(&failure) => Ok(()),
            _ => match failure {
                Failure::Other(detail) | Failure::Precondition(detail) => {
                    Err(runc_error("starting the container", &detail, None))
                }
                failure => Err(self.client.error("starting the container", failure)),
            },
        }
    }

    /// See [`crate::ContainerRuntime::wait`].
    pub(crate) async fn wait(&self, id: &str) -> Result<Exit, RuntimeError> {
        let ended = self.exits.wait(id, "").await?;
        Ok(self.exit(id, ended))
    }

    /// A cgroup lives until its task is deleted, so it still knows what the kernel killed.
    fn exit(&self, id: &str, ended: Ended) -> Exit {
        let out_of_memory = ended.code == 137 && cgroup::out_of_memory(&self.cgroup(id));
        Exit { code: ended.code, out_of_memory, at: ended.at }
    }

    /// See [`crate::ContainerRuntime::signal`].
    pub(crate) async fn signal(&self, id: &str, exec: &str, signal: Signal) -> Result<(), RuntimeError> {
        let request = self.client.request(KillRequest {
            container_id: id.to_owned(),
            exec_id: exec.to_owned(),
            signal: u32::from(signal.number()),
            all: false,
        });
        match self.client.answer(PROCESS, self.client.tasks().kill(request)).await {
            Ok(()) => Ok(()),
            Err(Failure::NotFound(_)) if !exec.is_empty() => Ok(()),
            // containerd says the same of a process that ended and of a container that is not there.
            Err(Failure::NotFound(detail)) => match process(&self.client, id, "").await {
                Ok(Some(_)) => Ok(()),
                Ok(None) => Err(RuntimeError::NotFound { what: format!("a process of container {id}") }),
                Err(_) => Err(RuntimeError::other("sending a signal", detail)),
            },
            Err(failure) => Err(self.client.error("sending a signal", failure)),
        }
    }

    /// See [`crate::ContainerRuntime::remove`].
    pub(crate) async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        oci::check_id(id)?;
        self.shims.lock().leave(id);
        self.remove_task(id).await?;
        let request = self.client.request(DeleteContainerRequest { id: id.to_owned() });
        match self.client.answer(QUICK, self.client.containers().delete(request)).await {
            Ok(()) | Err(Failure::NotFound(_)) => {}
            Err(failure) => return Err(self.client.error("removing the container", failure)),
        }
        self.images.snapshots.remove(&self.client, id).await?;
        super::loggers::forget(&self.config.run_dir, id);
        match std::fs::remove_dir_all(self.exec_directory(id)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(RuntimeError::other("removing what was left of exec", error))
            }
            _ => Ok(()),
        }
    }

    async fn remove_task(&self, id: &str) -> Result<(), RuntimeError> {
        let deadline = Instant::now() + KILL;
        let mut killed = false;
        loop {
            let request = self.client.request(DeleteTaskRequest { container_id: id.to_owned() });
            let failure = match self.client.answer(PROCESS, self.client.tasks().delete(request)).await {
                Ok(_) => return Ok(()),
                Err(Failure::NotFound(_)) => {
                    if killed {
                        cgroup::remove(&self.cgroup(id));
                    }
                    return Ok(());
                }
                Err(failure @ (Failure::Gone(_) | Failure::DiskFull(_))) => {
                    return Err(self.client.error("removing the container's process", failure));
                }
                Err(failure) => failure,
            };
            if Instant::now() > deadline {
                return Err(self.client.error("removing the container's process", failure));
            }
            killed = true;
            // It runs (or its shim died, and containerd is about to clean up).
            match self.signal(id, "", Signal::KILL).await {
                Ok(()) => {
                    let _ = tokio::time::timeout(Duration::from_secs(2), self.exits.wait(id, "")).await;
                }
                Err(RuntimeError::NotFound { .. }) => {}
                Err(error @ RuntimeError::Unavailable { .. }) => return Err(error),
                Err(error) => {
                    tracing::debug!(container = id, %error, "a container could not be killed; trying again");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    pub(crate) fn exec_directory(&self, id: &str) -> std::path::PathBuf {
        self.config.run_dir.join("exec").join(id)
    }

    /// See [`crate::ContainerRuntime::list`].
    pub(crate) async fn list(&self) -> Result<Vec<ContainerInfo>, RuntimeError> {
        let failed = |failure| self.client.error("listing containers", failure);
        let request = self.client.request(ListTasksRequest::default());
        let tasks = self.client.answer(PROCESS, self.client.tasks().list(request)).await.map_err(failed)?.tasks;
        // Task ids are in `id`; `container_id` is empty in some versions.
        let mut tasks: HashMap<String, Process> = tasks
            .into_iter()
            .map(|task| (if task.container_id.is_empty() { task.id.clone() } else { task.container_id.clone() }, task))
            .collect();
        // One by one: with their specs, a thousand of them do not fit into one message.
        let request = self.client.request(ListContainersRequest::default());
        let mut infos = Vec::new();
        let mut containers = self.client.containers();
        let call = self.client.answer(QUICK, containers.list_stream(request));
        let mut stream = match call.await {
            Ok(stream) => stream,
            Err(failure) => return Err(failed(failure)),
        };
        loop {
            let next = tokio::time::timeout(QUICK, stream.message()).await;
            let next = next.map_err(|_| failed(Failure::Gone("no answer".into())))?;
            let Some(message) = next.map_err(|status| failed(self.client.failure(status)))? else { break };
            let Some(container) = message.container else { continue };
            let task = tasks.remove(&container.id);
            infos.push(ContainerInfo {
                state: task.map_or(ContainerState::NoTask, |task| self.state(&container.id, &task)),
                labels: container.labels.into_iter().collect(),
                id: container.id,
            });
        }
        infos.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(infos)
    }

    fn state(&self, id: &str, process: &Process) -> ContainerState {
        match process.status() {
            Status::Created => ContainerState::Created,
            Status::Stopped => {
                let ended = Ended { code: process.exit_status, at: super::proto::timestamp(process.exited_at) };
                ContainerState::Stopped(self.exit(id, ended))
            }
            Status::Running | Status::Paused | Status::Pausing => ContainerState::Running {
                pid: process.pid,
                started_at: host::started_at(process.pid).unwrap_or_default(),
            },
            Status::Unknown => ContainerState::NoTask,
        }
    }
}

/// Does the failure say that the process had ended before?
pub(crate) fn was_stopped(failure: &Failure) -> bool {
    match failure {
        Failure::Precondition(_) => true,
        Failure::Other(detail) => detail.contains("a stopped process") || detail.contains("a stopped state"),
        _ => false,
    }
}

fn percent(path: &Path) -> String {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;
    let mut encoded = String::new();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_') {
            encoded.push(char::from(*byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Why a path of this node is of no use, in words.
fn unusable(path: &Path, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => format!("{} does not exist on the node", path.display()),
        _ => format!("{} on the node: {error}", path.display()),
    }
}
