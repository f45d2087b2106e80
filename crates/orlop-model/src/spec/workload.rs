//! What a node runs for each replica.

use super::secret::{OnSecretChange, SecretFile, is_below};
use crate::name::{StepName, VolumeName};
use crate::quantity::{Memory, Resources};
use crate::time::Millis;
use crate::trust::SecretName;
use std::collections::{BTreeMap, BTreeSet};

/// What a node runs for each replica of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// The image.
    pub image: Image,
    /// Replaces the image's ENTRYPOINT (and, when given without `args`, drops its CMD, as container users expect).
    pub command: Option<Vec<String>>,
    /// Replaces the image's CMD.
    pub args: Option<Vec<String>>,
    /// Replaces the image's working directory; absolute.
    pub working_dir: Option<String>,
    /// Replaces the image's user: `user`, `uid`, `user:group`, `uid:gid`.
    pub user: Option<String>,
    /// Added to the image's environment.
    pub env: BTreeMap<String, EnvValue>,
    /// Reserved when placing and enforced by cgroups.
    pub resources: Resources,
    /// How to tell that a replica is well. Without one, running is all there is to know.
    pub health: Option<HealthCheck>,
    /// What runs, in order, before the first start of a replica.
    pub init: Vec<InitStep>,
    /// What to do when an init step fails.
    pub on_init_failure: OnInitFailure,
    /// What to do when the process ends by itself or becomes unhealthy.
    pub on_panic: OnPanic,
    /// Mounts.
    pub volumes: Vec<Volume>,
    /// Secrets that it reads from files.
    pub secret_files: Vec<SecretFile>,
    /// The signal that asks the process to end. Without one, the image's; SIGTERM where that has none either.
    pub stop_signal: Option<Signal>,
    /// How long it may take to end before SIGKILL.
    pub stop_grace_period: Millis,
}

impl Workload {
    /// Runs an image as it is, with what a spec file gets that says nothing else.
    pub fn of(image: impl Into<String>) -> Self {
        Self {
            image: Image { name: image.into(), pull_policy: PullPolicy::IfNotPresent },
            command: None,
            args: None,
            working_dir: None,
            user: None,
            env: BTreeMap::new(),
            resources: Resources::default(),
            health: None,
            init: Vec::new(),
            on_init_failure: OnInitFailure::Backoff,
            on_panic: OnPanic::Restart,
            volumes: Vec::new(),
            secret_files: Vec::new(),
            stop_signal: None,
            stop_grace_period: Millis::from_secs(10),
        }
    }

    /// The secrets that a node needs to run it.
    pub fn secrets(&self) -> BTreeSet<&SecretName> {
        self.secret_variables().chain(self.secret_files.iter().map(|file| &file.secret)).collect()
    }

    fn secret_variables(&self) -> impl Iterator<Item = &SecretName> {
        self.env.values().filter_map(|value| match value {
            EnvValue::Secret(name) => Some(name),
            EnvValue::Literal(_) | EnvValue::AgentEnv(_) => None,
        })
    }

    /// Does a new value of a secret replace the replicas? A process cannot be given another environment.
    pub fn is_replaced_by(&self, secret: &SecretName) -> bool {
        let restart = |file: &SecretFile| file.secret == *secret && file.on_change == OnSecretChange::Restart;
        self.secret_variables().any(|name| name == secret) || self.secret_files.iter().any(restart)
    }

    /// The files that get a new value of their secret under a process that runs. Where the replica is replaced for it
    /// anyway, its old process goes on with the old value.
    pub fn changing_files(&self) -> impl Iterator<Item = &SecretFile> {
        self.secret_files.iter().filter(|file| !self.is_replaced_by(&file.secret))
    }

    /// The directories that hold files of secrets, without those that lie in another of them; in order.
    pub fn secret_directories(&self) -> BTreeSet<&str> {
        let all: BTreeSet<&str> = self.secret_files.iter().map(|file| file.path.directory()).collect();
        let is_outermost = |path: &&str| !all.iter().any(|other| is_below(path, other));
        all.iter().copied().filter(is_outermost).collect()
    }
}

/// An image and when to fetch it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// A full reference: registry host, repository, and tag or digest.
    pub name: String,
    /// When to ask the registry.
    pub pull_policy: PullPolicy,
}

/// When a node asks the registry for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// Before each start of a replica.
    Always,
    /// When the node does not have it.
    IfNotPresent,
    /// Not at all; it must have been imported.
    Never,
}

/// The value of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// As written.
    Literal(String),
    /// `$E:NAME`: taken from the environment of the node's agent when the container starts; missing is an error.
    AgentEnv(String),
    /// `$S:name`: the value of a secret of the cluster. A new value replaces the replicas.
    Secret(SecretName),
}

/// How to tell that a replica is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Failures within this time after a start do not count.
    pub start_grace: Millis,
    /// From the end of one check to the start of the next. At least 100 ms.
    pub interval: Millis,
    /// A check that takes longer has failed.
    pub timeout: Millis,
    /// Failures in a row that make a replica unhealthy. At least 1.
    pub retries: u32,
    /// What is done.
    pub check: Check,
}

/// One kind of health check. All run from inside the replica's network namespace, so `localhost` is the replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// A GET.
    Http {
        /// An `http://` URL.
        url: String,
        /// The status that counts as well.
        expect_status: u16,
    },
    /// A connection that opens.
    Tcp {
        /// The port, at the replica.
        port: u16,
    },
    /// A command in the container that exits with 0.
    Command {
        /// Program and arguments.
        command: Vec<String>,
    },
}

/// Something that must succeed before a replica's first start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitStep {
    /// Unique in the service.
    pub id: StepName,
    /// What is done.
    pub action: InitAction,
    /// The whole step may take this long, its own retries included.
    pub timeout: Millis,
    /// How often the step is tried again after a failure (`wait_*` steps poll until the timeout and need none).
    pub retries: u32,
    /// What a failed step means.
    pub on_failure: OnFailure,
}

/// What an init step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InitAction {
    /// Wait until a TCP connection opens, tried from inside the replica's network namespace.
    WaitTcp {
        /// A name or address.
        host: String,
        /// The port.
        port: u16,
    },
    /// Wait until a GET answers with the status.
    WaitHttp {
        /// An `http://` URL.
        url: String,
        /// The status waited for.
        expect_status: u16,
    },
    /// Run a command to its end in a container of the same image, environment, network and volumes.
    Run {
        /// Program and arguments.
        command: Vec<String>,
    },
}

/// What a failure that may be survivable means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It fails what it belongs to.
    Fail,
    /// It is recorded as a warning, and the work goes on.
    Warn,
    /// The work goes on.
    Continue,
}

/// What to do when init has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnInitFailure {
    /// Give the replica up.
    Fail,
    /// Try again at once.
    Restart,
    /// Try again after an exponentially growing time.
    Backoff,
}

/// What to do when a replica's process ends by itself, with whatever code, or its health check fails for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnPanic {
    /// Start it again after an exponentially growing time, which is forgotten after a calm while.
    Restart,
    /// Give the replica up.
    Shutdown,
    /// Give the replica up but keep its files, logs and network namespace for a look.
    Isolate,
}

/// Something mounted into the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Where; absolute.
    pub target: String,
    /// Mounted read-only?
    pub read_only: bool,
    /// What.
    pub source: VolumeSource,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeSource {
    /// A directory that the node keeps for the deployment, made on first use, never removed by itself.
    Named(VolumeName),
    /// A path of the node, which must exist.
    Bind(String),
    /// Memory, gone with the container.
    Tmpfs {
        /// Its ceiling; the kernel's default of half the memory without.
        size: Option<Memory>,
    },
}

/// A signal by its Linux number (x86-64 and arm64 agree), 1–31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

impl Signal {
    /// SIGTERM.
    pub const TERM: Signal = Signal(15);
    /// SIGKILL.
    pub const KILL: Signal = Signal(9);
    /// SIGSTOP.
    pub const STOP: Signal = Signal(19);

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The signal of a number from 1 to 31.
    pub fn from_number(number: u32) -> Option<Signal> {
        u8::try_from(number).ok().filter(|n| (1..=31).contains(n)).map(Signal)
    }

    /// Reads `SIGTERM`, `TERM` or `15`, in any case.
    pub fn parse(text: &str) -> Option<Signal> {
        if let Ok(number) = text.parse() {
            return Signal::from_number(number);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        SIGNALS.iter().position(|s| *s == name).and_then(|i| Signal::from_number(i as u32 + 1))
    }
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SIG{}", SIGNALS[usize::from(self.0) - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["SIGTERM", "term", "15"] {
            assert_eq!(Signal::parse(text), Some(Signal::TERM), "{text}");
        }
        assert_eq!(Signal::parse("SIGSYS").map(|s| s.number()), Some(31));
        assert_eq!(Signal::TERM.to_string(), "SIGTERM");
        assert_eq!(Signal::STOP.to_string(), "SIGSTOP");
        for bad in ["", "SIG", "0", "32", "SIGRTMIN", "-9"] {
            assert_eq!(Signal::parse(bad), None, "{bad}");
        }
    }
}
