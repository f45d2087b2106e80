//! The life of a replica: `pending → preparing → initializing → starting → running{health} → stopping → finished`.
//!
//! Between a crash and the next attempt a replica is `backing_off`; its network namespace and address stay.

use crate::time::Timestamp;
use std::fmt;
use std::net::Ipv4Addr;

/// What the control plane wants of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Desired {
    /// Keep it running.
    Run,
    /// End it; the replica is forgotten once it is finished.
    Stop(StopOrder),
}

/// How to end a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopOrder {
    /// The stop signal, then SIGKILL when the service's grace period is over.
    Graceful,
    /// SIGKILL at once.
    Forced,
}

/// The result of the health check of a running replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// The service has no check: running is all there is to know.
    Unchecked,
    /// The last check passed.
    Healthy,
    /// `retries` checks failed in a row.
    Unhealthy,
}

/// Where a replica is in its life, as its node last reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Placed; the node has not begun.
    Pending,
    /// The image is being pulled, the network attached, the volumes made.
    Preparing,
    /// Init steps run.
    Initializing,
    /// The process runs; no check has passed yet.
    Starting,
    /// The process runs and its start was judged good, by its check or, without one, by having started.
    Running(Health),
    /// The process ended or an init step failed; the next attempt begins at the time given.
    BackingOff(Timestamp),
    /// The stop signal was sent.
    Stopping,
    /// Nothing of it runs, and nothing will.
    Finished(Outcome),
}

impl Phase {
    /// May requests be sent to it?
    pub fn is_ready(self) -> bool {
        matches!(self, Phase::Running(Health::Unchecked | Health::Healthy))
    }

    /// Did its process start (the `started` condition of `depends`)?
    pub fn is_started(self) -> bool {
        matches!(self, Phase::Starting | Phase::Running(_))
    }

    /// May there be a process to join: one that was started, or was asked to end and is not gone yet?
    pub fn may_have_process(self) -> bool {
        self.is_started() || self == Phase::Stopping
    }

    /// Is it over?
    pub fn is_finished(self) -> bool {
        matches!(self, Phase::Finished(_))
    }

    /// The phase's word, as shown to people.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Pending => "pending",
            Phase::Preparing => "preparing",
            Phase::Initializing => "initializing",
            Phase::Starting => "starting",
            Phase::Running(Health::Unchecked) => "running",
            Phase::Running(Health::Healthy) => "healthy",
            Phase::Running(Health::Unhealthy) => "unhealthy",
            Phase::BackingOff(_) => "backing-off",
            Phase::Stopping => "stopping",
            Phase::Finished(outcome) => outcome.word(),
        }
    }
}

/// How a replica ended for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Stopped because the control plane asked.
    Stopped,
    /// It failed and its policy says not to try again (`on_panic: shutdown`, `on_init_failure: fail`), or it can never
    /// start (no such command, no such image). The planner does not replace it until the generation changes.
    Failed,
    /// It failed under `on_panic: isolate`: nothing runs, its files, logs and network namespace are kept for a look
    /// until it is stopped. Not replaced until the generation changes.
    Isolated,
    /// Its node is gone.
    Lost,
}

impl Outcome {
    /// The outcome's word, as shown to people.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Stopped => "stopped",
            Outcome::Failed => "failed",
            Outcome::Isolated => "isolated",
            Outcome::Lost => "lost",
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Exit {
    /// The exit code; 128 + n when signal n ended it.
    pub code: u32,
    /// Did the kernel kill it for memory?
    pub out_of_memory: bool,
    /// When it ended.
    pub at: Timestamp,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            _ if self.out_of_memory => write!(f, "killed by the kernel for lack of memory"),
            code @ 129..=192 => write!(f, "ended by signal {}", code - 128),
            code => write!(f, "exited with code {code}"),
        }
    }
}

/// Why something is as it is, for people (`message`, one sentence, with what to do where that is known) and for
/// programs (`code`, snake_case, stable: `image_not_found`, `dependency_timeout`, …).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reason {
    /// A stable word.
    pub code: String,
    /// One sentence.
    pub message: String,
}

impl Reason {
    /// Makes a reason.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What a node reports of a replica; sent on transitions only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Where it is in its life.
    pub phase: Phase,
    /// When it got there, by the node's clock.
    pub since: Timestamp,
    /// How often its process was started again after the first start.
    pub restarts: u32,
    /// How often in a row it had failed when it failed last: to get ready for a start, to start, or to stay. Counted
    /// anew after a calm time; 0 for one that never failed.
    pub failures: u32,
    /// Its address on the overlay, once it has one.
    pub address: Option<Ipv4Addr>,
    /// Why it is in this phase, where that needs a word.
    pub reason: Option<Reason>,
    /// How its process last ended.
    pub last_exit: Option<Exit>,
    /// The manifest digest that its image name stood for (`sha256:…`).
    pub image_digest: Option<String>,
}

/// The reason's code of a replica that was given up with its node.
pub const NODE_LOST: &str = "node_lost";

impl ReplicaStatus {
    /// Was it given up because its node was silent for too long? It may run there all the same.
    pub fn is_given_up(&self) -> bool {
        self.phase == Phase::Finished(Outcome::Lost) && self.reason.as_ref().is_some_and(|r| r.code == NODE_LOST)
    }

    /// The status of a replica that was just placed.
    pub fn pending(now: Timestamp) -> Self {
        Self {
            phase: Phase::Pending,
            since: now,
            restarts: 0,
            failures: 0,
            address: None,
            reason: None,
            last_exit: None,
            image_digest: None,
        }
    }
}
