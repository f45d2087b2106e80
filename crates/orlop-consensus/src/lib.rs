//! The replicated log: commands go in as opaque bytes, are made durable, and are applied in one order by every member.
//!
//! What a command means is the [`StateMachine`]'s affair. Promises: a command that [`Consensus::submit`] answered is on
//! the disks of a majority of the members (written *and* synced) and survives the death of the process and of the
//! machine; commands are applied in the order of their indexes, each once in the life of a process; commands that are
//! submitted together share one sync. docs/consensus.md says what lies on disk and what to do when it is damaged.

mod disk;
mod log;
mod machine;
mod member;
mod network;
mod options;
mod reached;
mod record;
mod room;
mod snapshot;
mod types;

pub use options::Options;
pub use room::Full;

use std::path::PathBuf;
use std::sync::Arc;

/// Encodes a state that was captured; called on a thread that may take its time.
pub type Encode = Box<dyn FnOnce() -> Vec<u8> + Send>;

/// What the log is applied to. Its methods are called by one task, one at a time, and must not block for long.
pub trait StateMachine: Send + Sync + 'static {
    /// Applies a committed command. Total and deterministic: every member, at every replay, comes to the same state and
    /// answer. `index` grows with every call, with gaps. Returns the answer for the submitter.
    fn apply(&self, index: u64, command: &[u8]) -> Vec<u8>;

    /// Captures the state as it is now, cheaply; the encoding happens later, while commands go on being applied, and
    /// must not see them.
    fn snapshot(&self) -> Encode;

    /// Replaces the state by that of a snapshot, which was taken after the command at `index` was applied.
    fn restore(&self, index: u64, snapshot: &[u8]) -> Result<(), InvalidSnapshot>;
}

/// A snapshot that the state machine does not understand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSnapshot(
    /// What is wrong with it.
    pub String,
);

/// A command that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its index in the log: the revision of the state after it.
    pub index: u64,
    /// What the state machine answered.
    pub answer: Vec<u8>,
}

/// Where a member stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// This member.
    pub member: u64,
    /// The member that leads, if one is known.
    pub leader: Option<u64>,
    /// The current term.
    pub term: u64,
    /// The index of the last command that is applied here.
    pub applied: u64,
    /// The index that the newest snapshot reaches to; 0 for none.
    pub snapshot: u64,
}

/// Why a member did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another process has the directory open.
    #[error("{} is in use by another process; stop it, or give this one a data directory of its own", directory.display())]
    InUse {
        /// The directory of the log.
        directory: PathBuf,
    },
    /// The directory cannot be read or written.
    #[error("could not use {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The disk is full. Nothing that was acknowledged is lost.
    #[error("the disk of {} is full; free some space there and start again", directory.display())]
    Full {
        /// The directory that could not be written to.
        directory: PathBuf,
    },
    /// What is on disk is damaged, and not in a way that a crash explains.
    #[error("{}: {problem}; {remedy}", path.display())]
    Damaged {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// The way out.
        remedy: String,
    },
    /// The options contradict each other.
    #[error("consensus options: {0}")]
    Options(String),
    /// The consensus protocol did not start.
    #[error("consensus did not start: {0}")]
    Protocol(String),
}

/// Why a command was not, or not surely, applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// Another member leads, or none. The command was not applied.
    #[error("this member does not lead the cluster{}", leader.map(|id| format!("; member {id} does")).unwrap_or_default())]
    NotLeader {
        /// The member that leads, if one is known.
        leader: Option<u64>,
    },
    /// The member is stopping. The command may or may not be applied.
    #[error("the member is shutting down; it is unknown whether the command was applied")]
    ShuttingDown,
    /// The command was not accepted.
    #[error("the command has {bytes} bytes; at most {max} are accepted")]
    TooLarge {
        /// The size of the command.
        bytes: usize,
        /// The largest that is accepted.
        max: usize,
    },
    /// The disk is full. The command was not applied and will not be, unless it is `unsure`: then the disk filled up while
    /// the command was under way, and it is applied when there is room, if the member lives to see it.
    #[error("{full}{}", if *unsure { ". This one was under way: whether it is done then is unknown, look before you repeat it" } else { "" })]
    Full {
        /// Which disk, and what is missing.
        full: Full,
        /// The command may still be applied.
        unsure: bool,
    },
    /// The log could not be written. The member takes no more commands until it is started again; whether this command
    /// is applied then is unknown.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// A log that cannot be written any more, until the member is started again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no writes are taken: the log in {} could not be written ({reason}); mend the disk, then start the control plane again",
    directory.display()
)]
pub struct Broken {
    /// The directory of the log.
    pub directory: PathBuf,
    /// What went wrong.
    pub reason: String,
}

/// Why a member takes no commands now. The text is a sentence for operators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The disk is full; commands are taken again when there is room.
    #[error("{0}")]
    Full(Full),
    /// The log could not be written.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// A running member; clones are handles of the same one.
#[derive(Clone)]
pub struct Consensus {
    member: Arc<member::Member>,
}

impl Consensus {
    /// Opens or creates the log in the directory, brings the state machine up to date, and, if the member is the only
    /// voter, leads: commands can be submitted when this returns. The machine must be empty. Must be called in a tokio
    /// runtime, which runs the member's tasks.
    pub async fn start(options: Options, machine: Arc<dyn StateMachine>) -> Result<Self, StartError> {
        Ok(Self { member: Arc::new(member::Member::start(options, machine).await?) })
    }

    /// Submits a command and waits until it is durable and applied. When the future is dropped earlier, the command may be
    /// applied or not.
    pub async fn submit(&self, command: Vec<u8>) -> Result<Applied, SubmitError> {
        self.member.submit(command).await
    }

    /// Waits until the state machine here has everything that was answered before the call, so that a read of it is
    /// linearizable. Returns the index that was reached.
    pub async fn read_index(&self) -> Result<u64, SubmitError> {
        self.member.read_index().await
    }

    /// Where the member stands now.
    pub fn status(&self) -> Status {
        self.member.status()
    }

    /// Why no commands are taken now, if they are not. Looks at the disk.
    pub fn trouble(&self) -> Option<Trouble> {
        self.member.trouble(0)
    }

    /// Stops the member and closes its log; the directory can be opened again when this returns. Commands that are being
    /// submitted end with [`SubmitError::ShuttingDown`].
    pub async fn shutdown(&self) {
        self.member.shutdown().await;
    }
}
