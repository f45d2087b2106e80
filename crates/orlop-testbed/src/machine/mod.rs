//! A machine with a kernel of its own, for what this one's kernel cannot show: cgroups of version 2 only, kernel
//! modules, and the loss of power.
//!
//! It is emulated by qemu and boots in seconds. It sees this machine's files, may change its own view of them, and forgets
//! that with its end; what is to last goes to a [`MachineDisk`]. `/tmp` and `/run` are empty in it, there is no network but
//! loopback, and its first process runs one command and ends with it.

mod cpio;
mod disk;
mod kernel;

pub use disk::MachineDisk;

use crate::process::Program;
use crate::wait_for;
use cpio::Archive;
use kernel::Kernel;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Where a machine mounts its disk.
pub const DISK: &str = "/disk";
/// Lines of the console in messages.
const CONSOLE_LINES: usize = 40;

/// What a machine is to be, and to do.
#[derive(Debug, Clone)]
pub struct MachineOptions {
    /// A program and its arguments. It runs as root with empty standard input; the machine ends when it has.
    pub command: Vec<String>,
    /// Its environment; nothing else is in it.
    pub environment: BTreeMap<String, String>,
    /// Where it runs.
    pub directory: PathBuf,
    /// Folders below `/tmp` or `/run` of this machine that the other is to see too.
    pub shared: Vec<PathBuf>,
    /// Its disk, at [`DISK`].
    pub disk: Option<PathBuf>,
    /// Mebibytes of memory. What is written to anywhere but the disk takes of it.
    pub memory_mib: u32,
    /// Processors.
    pub cpus: u32,
    /// Shall what the command writes also go to standard output as it comes?
    pub echo: bool,
}

impl MachineOptions {
    /// A machine of moderate size that runs a command of this checkout in the current directory.
    ///
    /// # Panics
    /// When there is no current directory.
    pub fn new(command: &[&str]) -> Self {
        let directory = std::env::current_dir().expect("a current directory");
        let passed = ["PATH", "HOME", "LD_LIBRARY_PATH"];
        let environment = std::env::vars()
            .filter(|(name, _)| {
                passed.contains(&name.as_str()) || ["CARGO", "RUST", "ORLOP_"].iter().any(|p| name.starts_with(p))
            })
            .collect();
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/ lies in the checkout");
        Self {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            environment,
            directory,
            shared: vec![checkout.to_owned()],
            disk: None,
            memory_mib: 3072,
            cpus: 2,
            echo: false,
        }
    }

    /// With a disk.
    #[must_use]
    pub fn disk(mut self, disk: &MachineDisk) -> Self {
        self.disk = Some(disk.path().to_owned());
        self
    }
}

/// A running machine. Dropping it takes the power away.
pub struct Machine {
    qemu: Program,
    output: Arc<Mutex<Vec<u8>>>,
    mark: String,
    reader: JoinHandle<()>,
    // The port of the machine is connected as long as this is open.
    _stdin: ChildStdin,
    folder: tempfile::TempDir,
}

/// How the command of a machine ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its exit code; 128 + n when signal n ended it.
    pub code: i32,
    /// What it wrote to standard output and standard error.
    pub output: String,
}

impl Machine {
    /// Boots a machine. It is emulated without the help of the processor, unless `ORLOP_MACHINE_ACCEL` names another
    /// accelerator of qemu (`kvm`).
    ///
    /// # Panics
    /// When qemu, a static busybox or the kernel is missing.
    pub fn boot(options: &MachineOptions) -> Self {
        let kernel = Kernel::find();
        let folder = tempfile::Builder::new().prefix("orlop-machine").tempdir().expect("a temporary directory");
        let mark = format!("machine-ended-{}", folder.path().file_name().unwrap_or_default().to_string_lossy());
        let ramdisk = folder.path().join("ramdisk");
        std::fs::write(&ramdisk, archive(options, &kernel, &mark)).expect("a file in the temporary directory");

        let accelerator = std::env::var("ORLOP_MACHINE_ACCEL").unwrap_or_else(|_| "tcg,thread=multi".into());
        // A test that is killed takes its machines with it.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-no-reboot", "-machine", "q35", "-cpu", "max", "-accel", &accelerator])
            .args(["-smp", &options.cpus.to_string(), "-m", &options.memory_mib.to_string()])
            .args(["-append", "console=ttyS0 panic=-1 loglevel=5 random.trust_cpu=on mitigations=off"])
            .arg("-kernel")
            .arg(kernel.image())
            .arg("-initrd")
            .arg(&ramdisk)
            .arg("-chardev")
            .arg(format!("file,id=console,path={}", folder.path().join("console").display()))
            .args(["-serial", "chardev:console"])
            .args(["-chardev", "stdio,id=port,signal=off", "-device", "virtio-serial-pci"])
            .args(["-device", "virtserialport,chardev=port,name=port", "-device", "virtio-rng-pci"])
            .args(["-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"])
            .args(["-device", "virtio-9p-pci,fsdev=root,mount_tag=root"]);
        if let Some(disk) = &options.disk {
            // What the machine has handed over outlives it, as with a disk whose cache survives the loss of power; what
            // it still holds in its memory is lost.
            let drive = format!("file={},format=raw,if=none,id=disk,cache=writeback", disk.display());
            command.args(["-drive", &drive, "-device", "virtio-blk-pci,drive=disk"]);
        }
        let errors = std::fs::File::create(folder.path().join("qemu")).expect("a file in the temporary directory");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().expect("setpriv of util-linux runs");
        let (stdin, stdout) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let output = Arc::new(Mutex::new(Vec::new()));
        let (into, echo) = (output.clone(), options.echo.then(|| mark.clone()));
        // It ends with qemu, which holds the other end of the pipe.
        let reader = std::thread::spawn(move || copy(stdout, &into, echo.as_deref()));
        Self { qemu: Program::of("qemu", child), output, mark, reader, _stdin: stdin, folder }
    }

    /// What the command has written so far.
    pub fn output(&self) -> String {
        let bytes = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the command has written a line that contains a text, and gives the line.
    ///
    /// # Panics
    /// When it does not within the limit, or the machine ends before.
    pub fn wait_for_line(&self, text: &str, limit: Duration) -> String {
        let explain = || explain(self.folder.path(), &self.output);
        let look = || {
            // In this order: when the reader is done, all is there to be looked at.
            let over = self.reader.is_finished();
            let output = self.output();
            let whole = output.rsplit_once('\n').map_or("", |(lines, _)| lines);
            let found = whole.lines().find(|line| line.contains(text)).map(str::to_owned);
            (found.is_some() || over || whole.contains(&self.mark)).then_some(found)
        };
        wait_for(&format!("the machine to write {text:?}"), limit, look, explain)
            .unwrap_or_else(|| panic!("the machine ended without writing {text:?}\n{}", explain()))
    }

    /// Waits for the end of the command, and of the machine.
    ///
    /// # Panics
    /// When the command does not end within the limit, or the machine ends without telling how the command did.
    pub fn finish(mut self, limit: Duration) -> Ended {
        let mark = self.mark.clone();
        let line = self.wait_for_line(&mark, limit);
        let code = line.rsplit(' ').next().and_then(|code| code.parse().ok()).expect("a number behind the mark");
        // It has nothing more to say or to write, so whether it powers itself off matters no more.
        self.qemu.kill();
        let output = self.output();
        let output = output.split(&mark).next().unwrap_or_default().to_owned();
        Ended { code, output }
    }

    /// Takes the power away at once, and gives what the command had written.
    pub fn lose_power(mut self) -> String {
        self.qemu.kill();
        self.output()
    }
}

/// Reads what a machine writes until it ends; what comes before the mark is also for standard output, when there is one.
fn copy(mut from: impl Read, into: &Mutex<Vec<u8>>, echo: Option<&str>) {
    let mut buffer = vec![0; 1 << 16];
    let mut shown = 0;
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let mut output = into.lock().unwrap_or_else(PoisonError::into_inner);
        output.extend(&buffer[..length]);
        if let Some(mark) = echo {
            // Whole lines only, so that a mark is never shown in part.
            let lines = output.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            for line in output[shown.min(lines)..lines].split_inclusive(|byte| *byte == b'\n') {
                if !String::from_utf8_lossy(line).contains(mark) {
                    let _ = std::io::stdout().write_all(line);
                }
            }
            let _ = std::io::stdout().flush();
            shown = lines;
        }
    }
}

/// The ends of what the command, the kernel and qemu said.
fn explain(folder: &Path, output: &Mutex<Vec<u8>>) -> String {
    let output = output.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut text = String::new();
    let console = std::fs::read(folder.join("console")).unwrap_or_default();
    let qemu = std::fs::read(folder.join("qemu")).unwrap_or_default();
    for (name, bytes) in [("the command", output), ("the console", console), ("qemu", qemu)] {
        let said = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = said.lines().collect();
        let _ = writeln!(text, "--- {name}\n{}", lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n"));
    }
    text
}

/// The initial RAM disk: busybox, modules, and the scripts that lead to the command.
fn archive(options: &MachineOptions, kernel: &Kernel, mark: &str) -> Vec<u8> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev"] {
        archive.folder(folder);
    }
    archive.device("dev/console", 5, 1);
    archive.file("bin/busybox", &std::fs::read("/bin/busybox").expect("busybox-static is installed"));
    kernel.add_modules(&mut archive);
    archive.file("init", include_bytes!("boot.sh"));
    archive.file("modprobe", include_bytes!("modprobe.sh"));
    let mut shared = String::new();
    for folder in
        options.shared.iter().filter(|folder| ["/tmp", "/run"].iter().any(|hidden| folder.starts_with(hidden)))
    {
        let _ = writeln!(shared, "{}", folder.display());
    }
    archive.file("shared", shared.as_bytes());
    let folder = std::fs::canonicalize(kernel.folder()).expect("the folder of the kernel");
    archive.file("kernel", folder.display().to_string().as_bytes());

    let mut begin = String::new();
    let own = [
        ("MACHINE_FOLDER", options.directory.display().to_string()),
        ("MACHINE_DISK", DISK.to_owned()),
        ("MACHINE_MARK", mark.to_owned()),
    ];
    for (name, value) in own {
        let _ = writeln!(begin, "{name}={}", quoted(&value));
    }
    let _ = writeln!(begin, "run() {{");
    for (name, value) in &options.environment {
        let _ = writeln!(begin, "export {name}={}", quoted(value));
    }
    let words: Vec<String> = options.command.iter().map(|word| quoted(word)).collect();
    let _ = writeln!(begin, "{}\n}}", words.join(" "));
    begin.push_str(include_str!("begin.sh"));
    archive.file("begin", begin.as_bytes());
    archive.finish()
}

/// A word of a shell script.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_shell_reads_what_was_quoted() {
        for text in ["", "plain", "two words", "it's", "$HOME `x` \\ \"", "''"] {
            let output = std::process::Command::new("sh").arg("-c").arg(format!("printf %s {}", quoted(text))).output();
            assert_eq!(String::from_utf8_lossy(&output.expect("a shell").stdout), text);
        }
    }
}
