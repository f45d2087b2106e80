//! A containerd of our own under a directory, for machines without one and for tests.
//!
//! Its containers outlive it, as with any containerd. Everything of it, its runc state included, lies under the two
//! directories given, so that [`Daemon::stop_all`] and [`remove_leftovers`] can take all of it away and nothing else.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take until the socket answers.
const START: Duration = Duration::from_secs(30);
/// How long it may take to end when asked to.
const STOP: Duration = Duration::from_secs(10);
/// Socket paths of more bytes do not fit into the kernel's structure.
const SOCKET_PATH_BYTES_MAX: usize = 100;

/// Why a containerd of our own could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// There is no such program.
    #[error("{program} was not found in {searched}: install the packages containerd and runc")]
    NotInstalled {
        /// Its name.
        program: &'static str,
        /// The directories, as in PATH.
        searched: String,
    },
    /// The directory's path is too long for sockets in it.
    #[error("the path of the socket {} is too long: choose a shorter run directory", .0.display())]
    PathTooLong(PathBuf),
    /// A file, directory or process could not be handled.
    #[error("could not {doing} {}: {source}", path.display())]
    Io {
        /// What was tried ("write").
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// It ended or did not answer in time.
    #[error("containerd {what}; its last words in {}: {log}", log_path.display())]
    DidNotStart {
        /// What happened.
        what: String,
        /// The end of its log.
        log: String,
        /// The whole log.
        log_path: PathBuf,
    },
    /// Processes or mounts stayed.
    #[error("could not take containerd away: {0}")]
    DidNotStop(String),
}

/// A running containerd of our own. Dropping the handle leaves it running.
#[derive(Debug)]
pub struct Daemon {
    paths: Paths,
    pid: u32,
}

#[derive(Debug, Clone)]
struct Paths {
    data: PathBuf,
    run: PathBuf,
}

impl Paths {
    fn new(data: &Path, run: &Path) -> Self {
        Self { data: data.join("containerd"), run: run.join("containerd") }
    }

    fn socket(&self) -> PathBuf {
        self.run.join("containerd.sock")
    }

    fn pid_file(&self) -> PathBuf {
        self.run.join("pid")
    }

    fn config(&self) -> PathBuf {
        self.data.join("config.toml")
    }

    fn log(&self) -> PathBuf {
        self.data.join("containerd.log")
    }
}

/// What a machine's containerd says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detected {
    /// Its version (`1.6.20~ds1`).
    pub version: String,
}

impl Daemon {
    /// Asks whoever listens at the socket; `None` when nobody answers within two seconds.
    pub async fn detect(socket: &Path) -> Option<Detected> {
        let client = super::client::Client::new(socket, "default").ok()?;
        let request = client.request(());
        let version = client.answer(Duration::from_secs(2), client.version().version(request)).await.ok()?;
        Some(Detected { version: version.version })
    }

    /// Starts containerd with everything under `data_dir/containerd` and `run_dir/containerd`, or adopts the one that
    /// an earlier process has started there, and waits until it answers. Containers of an earlier one are found again.
    pub async fn start(data_dir: &Path, run_dir: &Path) -> Result<Daemon, DaemonError> {
        let paths = Paths::new(data_dir, run_dir);
        if paths.socket().as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            return Err(DaemonError::PathTooLong(paths.socket()));
        }
        if let Some(pid) = running(&paths) {
            if Daemon::detect(&paths.socket()).await.is_some() {
                tracing::info!(pid, socket = %paths.socket().display(), "adopted the containerd that runs here");
                return Ok(Daemon { paths, pid });
            }
            terminate(pid, STOP).await;
        }
        let (containerd, _) = (find("containerd")?, find("runc")?);
        for (doing, directory) in [("make", &paths.data), ("make", &paths.run)] {
            let failed = |source| DaemonError::Io { doing, path: directory.clone(), source };
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        // Images and the files that containers write are nobody else's business.
        std::fs::set_permissions(&paths.data, std::fs::Permissions::from_mode(0o700))
            .map_err(|source| DaemonError::Io { doing: "close", path: paths.data.clone(), source })?;
        let write = |path: PathBuf, text: &str| {
            std::fs::write(&path, text).map_err(|source| DaemonError::Io { doing: "write", path, source })
        };
        write(paths.config(), &config(&paths))?;
        let _ = std::fs::remove_file(paths.socket());
        let log = std::fs::OpenOptions::new().create(true).write(true).truncate(true).open(paths.log());
        let log = log.map_err(|source| DaemonError::Io { doing: "open", path: paths.log(), source })?;
        let log_too = log.try_clone().map_err(|source| DaemonError::Io { doing: "open", path: paths.log(), source })?;
        let mut command = Command::new(&containerd);
        command
            .arg("--config")
            .arg(paths.config())
            .env("PATH", search_path())
            // The shims inherit it; a service manager's socket is not theirs.
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too)
            // An interrupt at the terminal is for us; containers outlive it.
            .process_group(0);
        let mut child =
            command.spawn().map_err(|source| DaemonError::Io { doing: "start", path: containerd.clone(), source })?;
        let pid = child.id();
        write(paths.pid_file(), &pid.to_string())?;
        // It is reaped on a thread of its own, which may outlive the runtime as containerd may outlive us.
        let (tell, ended) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || tell.send(child.wait()));
        let answers = async {
            while Daemon::detect(&paths.socket()).await.is_none() {
                // The socket's appearance is no event that can be waited for across its directories.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let what = tokio::select! {
            () = answers => return Ok(Daemon { paths, pid }),
            status = ended => match status {
                Ok(Ok(status)) => format!("ended at once ({status})"),
                _ => "ended at once".into(),
            },
            () = tokio::time::sleep(START) => format!("does not answer after {} seconds", START.as_secs()),
        };
        terminate(pid, STOP).await;
        Err(DaemonError::DidNotStart { what, log: tail(&paths.log()), log_path: paths.log() })
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.paths.socket()
    }

    /// Where its runc keeps state; for [`super::ContainerdConfig::runc_root`].
    pub fn runc_root(&self) -> PathBuf {
        self.paths.run.join("runc")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends it and leaves its containers running, to be found by the next one.
    pub async fn stop(self) -> Result<(), DaemonError> {
        if terminate(self.pid, STOP).await {
            let _ = std::fs::remove_file(self.paths.pid_file());
            return Ok(());
        }
        Err(DaemonError::DidNotStop(format!("process {} does not end", self.pid)))
    }

    /// Ends it and all its containers, and takes their mounts and shims away. What is on disk (images) stays.
    pub async fn stop_all(self) -> Result<(), DaemonError> {
        let Paths { data, run } = self.paths;
        let task = tokio::task::spawn_blocking(move || take_away(&Paths { data, run }));
        task.await.unwrap_or_else(|error| Err(DaemonError::DidNotStop(error.to_string())))
    }
}

/// Ends what a containerd that [`Daemon::start`] has started with these directories left running, itself included.
/// Needs no answer from it. Blocks; harmless when there is nothing.
pub fn remove_leftovers(data_dir: &Path, run_dir: &Path) -> Result<(), DaemonError> {
    take_away(&Paths::new(data_dir, run_dir))
}

/// containerd first, so that nothing new begins; then every container, by the pid that its shim wrote down; then the
/// shims; then what stays of mounts, cgroups and directories.
fn take_away(paths: &Paths) -> Result<(), DaemonError> {
    let deadline = Instant::now() + STOP;
    if let Some(pid) = running(paths) {
        signal(pid, libc::SIGKILL);
        wait_gone(&[pid], deadline);
    }
    let socket = paths.socket();
    let shims = processes_with(|arguments| {
        arguments.first().is_some_and(|program| program.to_string_lossy().contains("containerd-shim"))
            && arguments.iter().any(|argument| Path::new(argument) == socket)
    });
    let tasks = paths.run.join("state/io.containerd.runtime.v2.task");
    let (mut inits, mut cgroups) = (Vec::new(), Vec::new());
    for bundle in directories(&tasks).iter().flat_map(|namespace| directories(namespace)) {
        if let Some(pid) = read_pid(&bundle.join("init.pid")) {
            inits.push(pid);
        }
        cgroups.extend(cgroup_of(&bundle));
    }
    inits.iter().for_each(|pid| signal(*pid, libc::SIGKILL));
    wait_gone(&inits, deadline);
    shims.iter().for_each(|pid| signal(*pid, libc::SIGKILL));
    wait_gone(&shims, deadline);
    for cgroup in cgroups {
        super::cgroup::remove(&cgroup);
    }
    for _ in 0..3 {
        for mount in mounts_below(&[&paths.run, &paths.data]).iter().rev() {
            let _ = nix::mount::umount2(mount, nix::mount::MntFlags::MNT_DETACH);
        }
    }
    let stayed = mounts_below(&[&paths.run, &paths.data]);
    if let Some(mount) = stayed.first() {
        return Err(DaemonError::DidNotStop(format!("{} is still mounted", mount.display())));
    }
    let late: Vec<_> = inits.iter().chain(&shims).filter(|pid| alive(**pid)).collect();
    if !late.is_empty() {
        return Err(DaemonError::DidNotStop(format!("processes {late:?} do not end")));
    }
    match std::fs::remove_dir_all(&paths.run) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(DaemonError::Io { doing: "remove", path: paths.run.clone(), source })
        }
        _ => Ok(()),
    }
}

fn config(paths: &Paths) -> String {
    let quoted = |path: PathBuf| format!("{:?}", path.to_string_lossy());
    format!(
        "version = 2\nroot = {}\nstate = {}\noom_score = -999\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.cri.v1.images\", \
         \"io.containerd.cri.v1.runtime\", \"io.containerd.internal.v1.opt\", \
         \"io.containerd.snapshotter.v1.aufs\", \"io.containerd.snapshotter.v1.btrfs\", \
         \"io.containerd.snapshotter.v1.devmapper\", \"io.containerd.snapshotter.v1.zfs\", \
         \"io.containerd.tracing.processor.v1.otlp\", \"io.containerd.internal.v1.tracing\"]\n\n\
         [grpc]\naddress = {}\nuid = 0\ngid = 0\n\n[debug]\nlevel = \"warn\"\n",
        quoted(paths.data.join("root")),
        quoted(paths.run.join("state")),
        quoted(paths.socket()),
    )
}

/// The containerd of the pid file, if it lives and is truly ours.
fn running(paths: &Paths) -> Option<u32> {
    let pid = read_pid(&paths.pid_file())?;
    let ours = paths.config();
    arguments_of(pid).is_some_and(|arguments| arguments.iter().any(|a| Path::new(a) == ours)).then_some(pid)
}

fn read_pid(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok().filter(|pid| *pid > 1)
}

fn arguments_of(pid: u32) -> Option<Vec<std::ffi::OsString>> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(bytes.split(|byte| *byte == 0).map(|part| OsStr::from_bytes(part).to_owned()).collect())
}

fn processes_with(suits: impl Fn(&[std::ffi::OsString]) -> bool) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| arguments_of(*pid).is_some_and(|arguments| suits(&arguments)))
        .collect()
}

fn directories(of: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(of) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn cgroup_of(bundle: &Path) -> Option<String> {
    let spec: serde_json::Value = serde_json::from_slice(&std::fs::read(bundle.join("config.json")).ok()?).ok()?;
    spec.get("linux")?.get("cgroupsPath")?.as_str().map(str::to_owned)
}

fn signal(pid: u32, signal: libc::c_int) {
    if let Ok(pid) = libc::pid_t::try_from(pid) {
        // Safe: no memory is involved; a process that is gone is an error that does not matter here.
        unsafe { libc::kill(pid, signal) };
    }
}

/// Is there such a process that does more than wait to be reaped?
fn alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X']))
}

fn wait_gone(pids: &[u32], deadline: Instant) {
    while pids.iter().any(|pid| alive(*pid)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Asks a process to end, then makes it. True when it is gone.
async fn terminate(pid: u32, grace: Duration) -> bool {
    signal(pid, libc::SIGTERM);
    let task = tokio::task::spawn_blocking(move || {
        wait_gone(&[pid], Instant::now() + grace);
        if alive(pid) {
            signal(pid, libc::SIGKILL);
            wait_gone(&[pid], Instant::now() + grace);
        }
        !alive(pid)
    });
    task.await.unwrap_or(false)
}

/// Mount points at or below the directories, outer ones first.
fn mounts_below(directories: &[&Path]) -> Vec<PathBuf> {
    let Ok(table) = std::fs::read_to_string("/proc/self/mountinfo") else { return Vec::new() };
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")))
        .filter(|path| directories.iter().any(|directory| path.starts_with(directory)))
        .collect()
}

/// Root's usual directories may be missing from the PATH of a service.
fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut parts: Vec<&str> = path.split(':').filter(|part| !part.is_empty()).collect();
    for part in ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"] {
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts.join(":")
}

fn find(program: &'static str) -> Result<PathBuf, DaemonError> {
    let searched = search_path();
    searched
        .split(':')
        .map(|directory| Path::new(directory).join(program))
        .find(|path| path.is_file())
        .ok_or(DaemonError::NotInstalled { program, searched: searched.clone() })
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}
