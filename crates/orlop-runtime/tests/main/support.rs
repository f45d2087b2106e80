//! A machine for one test: a containerd under a temporary directory, and everything of it taken away at the end, also
//! when the test fails.

use orlop_model::Exit;
use orlop_model::spec::{Image, PullPolicy};
use orlop_runtime::containerd::{Daemon, remove_cgroups, remove_leftovers};
use orlop_runtime::images::RegistryConfig;
use orlop_runtime::logs::{Item, Query, Reader};
use orlop_runtime::pack::{Entry, PackOptions, PackedImage, multi_call, pack};
use orlop_runtime::{ContainerRuntime, ContainerSpec, Containerd, ContainerdConfig, LogTarget, ResolvedImage};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Machine {
    pub(crate) daemon: Option<Daemon>,
    pub(crate) config: ContainerdConfig,
    pub(crate) runtime: Containerd,
    disk: Option<Disk>,
    root: tempfile::TempDir,
}

/// A small file system in memory.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: PathBuf, bytes: u64) -> Disk {
        std::fs::create_dir_all(&path).unwrap();
        let options = format!("size={bytes}");
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), &path, Some("tmpfs"), flags, Some(options.as_str())).unwrap();
        Disk(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

impl Machine {
    pub(crate) async fn start() -> Machine {
        Self::start_with(RegistryConfig::default()).await
    }

    pub(crate) async fn start_with(registries: RegistryConfig) -> Machine {
        Self::start_on(registries, None).await
    }

    /// With the data on a disk of its own of so many bytes (over what an empty containerd takes).
    pub(crate) async fn start_on(registries: RegistryConfig, disk_bytes: Option<u64>) -> Machine {
        let root = tempfile::Builder::new().prefix("orlop-").tempdir().unwrap();
        let (data, run) = (root.path().join("data"), root.path().join("run"));
        let disk = disk_bytes.map(|bytes| Disk::mount(root.path().join("data"), bytes + (1 << 20)));
        let daemon = Daemon::start(&data, &run).await.expect("containerd and runc are installed, and we are root");
        let mut config = ContainerdConfig::new(daemon.socket(), run.join("runtime"), logger());
        config.runc_root = Some(daemon.runc_root());
        config.cgroup_parent = root.path().file_name().unwrap().to_string_lossy().replace('.', "");
        config.registries = registries;
        let runtime = Containerd::new(config.clone()).unwrap();
        Machine { daemon: Some(daemon), config, runtime, disk, root }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) async fn restart_containerd(&mut self) {
        let (data, run) = (self.path("data"), self.path("run"));
        self.daemon = Some(Daemon::start(&data, &run).await.unwrap());
    }

    /// Imports the image of all tests, and gives it ready to use.
    pub(crate) async fn busybox(&self) -> ResolvedImage {
        self.import(busybox()).await
    }

    pub(crate) async fn import(&self, image: &PackedImage) -> ResolvedImage {
        let mut archive = Vec::new();
        image.write_archive(&mut archive).unwrap();
        within(self.runtime.import(Box::new(Cursor::new(archive)), None)).await.unwrap();
        let image = Image { name: image.name.clone(), pull_policy: PullPolicy::Never };
        within(self.runtime.ensure_image(&image)).await.unwrap()
    }

    /// A shell script as a container with its output in files.
    pub(crate) fn script(&self, id: &str, image: &ResolvedImage, script: &str) -> ContainerSpec {
        ContainerSpec {
            id: id.into(),
            labels: BTreeMap::from([("test".into(), id.into())]),
            image: image.clone(),
            command: Some(vec!["/bin/sh".into(), "-c".into(), script.into()]),
            args: None,
            env: BTreeMap::new(),
            working_dir: None,
            user: None,
            hostname: "box".into(),
            resources: Default::default(),
            network_namespace: None,
            mounts: Vec::new(),
            log: LogTarget::files(self.path("logs").join(id)),
            kin: None,
        }
    }

    /// Runs a container to its end and removes it: its exit and its output.
    pub(crate) async fn run(&self, spec: &ContainerSpec) -> (Exit, Vec<String>) {
        within(self.runtime.create(spec)).await.unwrap();
        within(self.runtime.start(&spec.id)).await.unwrap();
        let exit = within(self.runtime.wait(&spec.id)).await.unwrap();
        within(self.runtime.remove(&spec.id)).await.unwrap();
        (exit, self.output(&spec.id).await)
    }

    /// What a container has written so far, line by line.
    pub(crate) async fn output(&self, id: &str) -> Vec<String> {
        let mut reader = Reader::open(vec![self.path("logs").join(id)], Query::default()).unwrap();
        let mut lines = Vec::new();
        while let Some(Item::Line(_, line)) = within(reader.next()).await.unwrap() {
            lines.push(String::from_utf8_lossy(&line.text).into_owned());
        }
        lines
    }

    /// Waits until a container has written this line.
    pub(crate) async fn wrote(&self, id: &str, text: &str) {
        let query = Query { follow: true, ..Query::default() };
        let mut reader = Reader::open(vec![self.path("logs").join(id)], query).unwrap();
        loop {
            match within(reader.next()).await.unwrap() {
                Some(Item::Line(_, line)) if line.text == text.as_bytes() => return,
                Some(_) => {}
                None => panic!("the log ended"),
            }
        }
    }

    /// The cgroup of a container, in every hierarchy that has it.
    pub(crate) fn cgroup_of(&self, id: &str) -> Vec<PathBuf> {
        let root = PathBuf::from("/sys/fs/cgroup");
        let hierarchies = std::fs::read_dir(&root).unwrap().flatten().map(|entry| entry.path());
        let below = |hierarchy: PathBuf| hierarchy.join(&self.config.cgroup_parent).join(id);
        let mut found: Vec<_> = hierarchies.chain([root.clone()]).map(below).filter(|path| path.is_dir()).collect();
        found.sort();
        found
    }

    /// The command lines of what the kernel counts to a container's memory.
    pub(crate) fn commands_in(&self, id: &str) -> Vec<String> {
        let memory = |path: &&PathBuf| ["memory.max", "memory.limit_in_bytes"].iter().any(|f| path.join(f).exists());
        let cgroups = self.cgroup_of(id);
        let cgroup = cgroups.iter().find(memory).expect("a cgroup that limits memory");
        let pids = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
        let command = |pid: &str| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = |line: Vec<u8>| String::from_utf8_lossy(&line).replace('\0', " ").trim().to_owned();
        pids.lines().map(|pid| words(command(pid))).collect()
    }

    /// Ends the test: after removing all containers, nothing of them may be left.
    pub(crate) async fn finish(mut self) {
        assert_eq!(self.runtime.list().await.unwrap(), [], "containers left behind");
        let left: Vec<_> = mounts_below(self.root.path());
        let left: Vec<_> = left.into_iter().filter(|path| self.disk.is_none() || !path.ends_with("/data")).collect();
        assert_eq!(left, Vec::<String>::new(), "mounts left behind");
        assert_eq!(self.shims(), 0, "shims left behind");
        assert_eq!(entries(&self.path("run/containerd/runc")), Vec::<String>::new(), "runc's state left behind");
        assert_eq!(entries(&self.path("run/runtime/exec")), Vec::<String>::new(), "FIFOs left behind");
        if let Some(daemon) = self.daemon.take() {
            daemon.stop_all().await.unwrap();
        }
        assert!(!self.path("run/containerd").exists());
    }

    /// Shims of this containerd that run.
    pub(crate) fn shims(&self) -> usize {
        self.shim_pids().len()
    }

    pub(crate) fn shim_pids(&self) -> Vec<i32> {
        let socket = self.config.socket.to_string_lossy().into_owned();
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let is_ours = |entry: &std::fs::DirEntry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            line.contains("containerd-shim") && line.split('\0').any(|argument| argument == socket)
        };
        processes.filter(is_ours).filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Err(error) = remove_leftovers(&self.path("data"), &self.path("run")) {
            eprintln!("the test's containerd could not be taken away: {error}");
        }
        remove_cgroups(&self.config.cgroup_parent);
    }
}

/// Names in directories two levels deep, which is where things of containers are.
fn entries(of: &Path) -> Vec<String> {
    let list = |path: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(path).map(|entries| entries.flatten().map(|e| e.path()).collect()).unwrap_or_default()
    };
    list(of).iter().flat_map(|path| list(path)).map(|path| path.display().to_string()).collect()
}

fn mounts_below(path: &Path) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let paths = table.lines().filter_map(|line| line.split(' ').nth(4));
    paths.filter(|mounted| Path::new(mounted).starts_with(path)).map(str::to_owned).collect()
}

/// Nothing in these tests may hang.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("done within a minute")
}

/// The log writer: of `ORLOP_BIN_DIR`, or built once by the cargo that runs the tests.
pub(crate) fn logger() -> PathBuf {
    static LOGGER: OnceLock<PathBuf> = OnceLock::new();
    LOGGER
        .get_or_init(|| {
            if let Some(folder) = std::env::var_os("ORLOP_BIN_DIR") {
                return Path::new(&folder).join("orlop-logger");
            }
            // …/target/debug/deps/main-…
            let target = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
            let cargo = std::env::var_os("CARGO").expect("these tests are run by cargo");
            let mut build = std::process::Command::new(cargo);
            build.args(["build", "--quiet", "--package", "logger", "--bin", "orlop-logger"]);
            assert!(build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
            target.join("orlop-logger")
        })
        .clone()
}

/// Commands of busybox that the tests use.
const COMMANDS: &[&str] = &[
    "sh", "cat", "echo", "sleep", "id", "hostname", "ls", "head", "tail", "grep", "mount", "unshare", "chroot",
    "touch", "seq", "dd", "stat", "ip", "kill", "stty", "tr", "wc", "env", "pwd", "true", "false", "mkdir", "yes",
];

pub(crate) fn busybox_entries() -> Vec<Entry> {
    multi_call("/bin/busybox", "/bin/busybox", COMMANDS)
}

/// Two layers: busybox, and what the tests want to find.
pub(crate) fn busybox() -> &'static PackedImage {
    static IMAGE: OnceLock<PackedImage> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let files = vec![
            Entry::bytes("/etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/home/web:/bin/sh\n"),
            Entry::bytes("/etc/group", "root:x:0:\nweb:x:1001:\ndisk:x:6:web\n"),
            Entry::bytes("/data/file", "in the image\n"),
            Entry::directory("/tmp").mode(0o1777),
        ];
        pack(&PackOptions {
            name: "localhost/busybox:1".into(),
            cmd: vec!["/bin/sh".into(), "-c".into(), "echo from the image".into()],
            env: vec![("FROM".into(), "image".into())],
            layers: vec![busybox_entries(), files],
            ..PackOptions::default()
        })
        .unwrap()
    })
}
