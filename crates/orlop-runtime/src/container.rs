//! What callers say and hear about containers.

use crate::image::ResolvedImage;
use orlop_model::spec::Signal;
use orlop_model::{Exit, Memory, Resources, Timestamp};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything that a container is made of. Two equal specs make equal containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Unique on the node: 1–76 characters of `A–Z a–z 0–9 _ . -`, beginning with a letter or digit.
    pub id: String,
    /// Kept by the runtime and given back by `list`; [`labels`] has the customary keys.
    pub labels: BTreeMap<String, String>,
    /// From `ensure_image`.
    pub image: ResolvedImage,
    /// Replaces ENTRYPOINT, and drops CMD unless `args` is given.
    pub command: Option<Vec<String>>,
    /// Replaces CMD.
    pub args: Option<Vec<String>>,
    /// Added to the image's environment, replacing equal names.
    pub env: BTreeMap<String, String>,
    /// Absolute; replaces the image's. Made when it does not exist.
    pub working_dir: Option<String>,
    /// Replaces the image's: `user`, `uid`, `user:group`, `uid:gid`. Names are looked up in the image's files.
    pub user: Option<String>,
    /// At most 64 bytes.
    pub hostname: String,
    /// Enforced by cgroups.
    pub resources: Resources,
    /// A network namespace to run in. Without one the container gets an empty one of its own (loopback only, down).
    pub network_namespace: Option<PathBuf>,
    /// In this order, after the standard ones (`/proc`, `/dev`, `/sys`, …).
    pub mounts: Vec<Mount>,
    /// Where output goes.
    pub log: LogTarget,
    /// A few containers of one kin (1–253 bytes) that are made in the same moment may share a helper process of the
    /// runtime; when that is killed, they all end. Without kin a container shares nothing.
    pub kin: Option<String>,
}

/// Something mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where; absolute. Made when the image does not have it.
    pub target: String,
    /// Mounted read-only?
    pub read_only: bool,
    /// What.
    pub source: MountSource,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A file or directory of the node, which must exist. Also the way in for `/etc/hosts`, `/etc/resolv.conf` and
    /// `/etc/hostname`.
    Bind(PathBuf),
    /// A directory of the node, which must exist, with nothing in it but data: no programs, no devices.
    Data(PathBuf),
    /// A directory that is made when it is missing (its parents too) and then belongs to the container's user.
    Volume(PathBuf),
    /// Memory, gone with the container.
    Tmpfs {
        /// Its ceiling; the kernel's default of half the memory without.
        size: Option<Memory>,
    },
}

/// Where a container's output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Nowhere.
    Discard,
    /// Into files that `orlop-logger` writes and rotates; [`crate::logs`] reads them.
    Files {
        /// Made when missing. Containers that follow one another (restarts) may share it; two at once may not.
        directory: PathBuf,
        /// A file that has reached this many bytes is followed by a new one. At least 4096.
        file_bytes_max: u64,
        /// So many files are kept, the one being written included. At least 2.
        files_max: u32,
    },
}

impl LogTarget {
    /// Files of 10 MiB, five of them.
    pub fn files(directory: impl Into<PathBuf>) -> Self {
        LogTarget::Files { directory: directory.into(), file_bytes_max: 10 << 20, files_max: 5 }
    }
}

/// A container as the runtime knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerInfo {
    /// Its id.
    pub id: String,
    /// As given at its creation.
    pub labels: BTreeMap<String, String>,
    /// What its process does.
    pub state: ContainerState,
}

/// A logger that came to a bad end while its container was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostLogger {
    /// The container's id.
    pub id: String,
    /// Another logger goes on with the container's output; or why there is none, and then the container waits for ever
    /// as soon as it has said enough.
    pub outcome: Result<(), String>,
}

/// What a container's process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// There is no process: creation was interrupted, or the machine was started anew since. Good for `remove` only.
    NoTask,
    /// Set up, waiting for `start`.
    Created,
    /// It runs.
    Running {
        /// In the node's process namespace.
        pid: u32,
        /// By the node's clock.
        started_at: Timestamp,
    },
    /// It ended and was not removed yet.
    Stopped(Exit),
}

/// A process to be run in a running container, with the container's user, environment and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecSpec {
    /// Program and arguments; not empty.
    pub command: Vec<String>,
    /// Added to the container's environment.
    pub env: BTreeMap<String, String>,
    /// With a terminal of this size; then there is no stderr.
    pub terminal: Option<TerminalSize>,
    /// Connect standard input? Without, it reads the end at once.
    pub stdin: bool,
}

impl ExecSpec {
    /// A command without terminal and input.
    pub fn command(command: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            terminal: None,
            stdin: false,
        }
    }
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// A way to write to a process.
pub type Input = Box<dyn tokio::io::AsyncWrite + Send + Sync + Unpin>;
/// A way to read from a process.
pub type Output = Box<dyn tokio::io::AsyncRead + Send + Sync + Unpin>;

/// A process started by `exec`. Dropping it closes the streams and kills the process in the background.
#[async_trait::async_trait]
pub trait ExecProcess: Send + Sync {
    /// Standard input, once; `None` without `stdin` or when already taken. Shutting it down is the end of input.
    fn take_stdin(&mut self) -> Option<Input>;
    /// Standard output, once; ends when the process and its children have closed it, and at the latest a few seconds after
    /// [`ExecProcess::wait`] told of the process's end.
    fn take_stdout(&mut self) -> Option<Output>;
    /// Standard error, once; `None` with a terminal.
    fn take_stderr(&mut self) -> Option<Output>;
    /// Waits for the end; may be called again, and may be dropped and called again.
    async fn wait(&mut self) -> Result<Exit, crate::RuntimeError>;
    /// Changes the size of the terminal; an error without one.
    async fn resize(&self, size: TerminalSize) -> Result<(), crate::RuntimeError>;
    /// Sends a signal. A process that is gone already is not an error.
    async fn signal(&self, signal: Signal) -> Result<(), crate::RuntimeError>;
}

/// The keys of the labels that the agent gives its containers.
pub mod labels {
    /// The cluster's id.
    pub const CLUSTER: &str = "orlop.dev/cluster";
    /// The replica's id.
    pub const REPLICA: &str = "orlop.dev/replica";
    /// The deployment's name.
    pub const DEPLOYMENT: &str = "orlop.dev/deployment";
    /// The service's name.
    pub const SERVICE: &str = "orlop.dev/service";
    /// The replica's slot number.
    pub const SLOT: &str = "orlop.dev/slot";
    /// The generation that it runs.
    pub const GENERATION: &str = "orlop.dev/generation";
    /// Counts the starts of one replica.
    pub const ATTEMPT: &str = "orlop.dev/attempt";
    /// What the container is to the replica: its main process, or an init step.
    pub const ROLE: &str = "orlop.dev/role";
    /// The number of the signal that asks its process to end, for whoever ends it without an agent.
    pub const STOP_SIGNAL: &str = "orlop.dev/stop-signal";
    /// How many milliseconds its process may take to end after that signal.
    pub const STOP_GRACE: &str = "orlop.dev/stop-grace-ms";
}
