//! What goes wrong, with what a person can do about it.

use crate::Full;
use std::path::PathBuf;
use std::time::Duration;

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
    /// This member has a cluster already.
    #[error("this member belongs to a cluster already; nothing was changed")]
    Initialized,
    /// The consensus protocol did not start.
    #[error("consensus did not start: {0}")]
    Protocol(String),
}

/// Why a command was not, or not surely, applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// Another member leads, or none, and none could be reached that does. The command was not applied.
    #[error("this member does not lead the cluster{}", leader.map(|id| format!("; member {id} does")).unwrap_or_default())]
    NotLeader {
        /// The member that leads, if one is known.
        leader: Option<u64>,
    },
    /// No member led for as long as a command may wait for one. The command was not applied.
    #[error(
        "the cluster had no leader for {waited:?}{}; does a majority of the members run, and do they reach each other?",
        reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default()
    )]
    NoLeader {
        /// For how long.
        waited: Duration,
        /// What the last attempt to reach one came to.
        reason: Option<String>,
    },
    /// The command was under way when its fate was lost sight of: it may be applied, now or later, or not.
    #[error("it is unknown whether the command was applied: {reason}; look before you repeat it")]
    Unknown {
        /// What happened.
        reason: String,
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

impl SubmitError {
    /// May the command be applied all the same?
    pub fn is_unsure(&self) -> bool {
        match self {
            Self::NotLeader { .. } | Self::NoLeader { .. } | Self::TooLarge { .. } => false,
            Self::Full { unsure, .. } => *unsure,
            Self::ShuttingDown | Self::Unknown { .. } | Self::Broken(_) => true,
        }
    }
}

/// Why a read cannot be linearizable now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Another member leads, or none.
    #[error("this member does not lead the cluster{}", leader.map(|id| format!("; member {id} does")).unwrap_or_default())]
    NotLeader {
        /// The member that leads, if one is known.
        leader: Option<u64>,
    },
    /// Nobody said in time how far the log is committed.
    #[error("it could not be confirmed that the state is the newest: {reason}; a stale read needs no confirmation")]
    Unconfirmed {
        /// What happened.
        reason: String,
    },
    /// The member is stopping.
    #[error("the member is shutting down")]
    ShuttingDown,
}

/// Why the members were not, or not surely, changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembersError {
    /// Another member leads, or none: ask that one.
    #[error("this member does not lead the cluster{}", leader.map(|id| format!("; member {id} does")).unwrap_or_default())]
    NotLeader {
        /// The member that leads, if one is known.
        leader: Option<u64>,
    },
    /// There is no such member.
    #[error("there is no member {member}")]
    NoSuchMember {
        /// Its number.
        member: u64,
    },
    /// It is a member already.
    #[error("member {member} is there already, at {address}")]
    Exists {
        /// Its number.
        member: u64,
        /// Its address.
        address: String,
    },
    /// The member lags too far behind to vote.
    #[error("member {member} has not caught up after {waited:?}: it has {matched} of {last} entries{}; is it running, and reachable?", if *matched == 0 { " (nothing yet)" } else { "" })]
    Behind {
        /// Its number.
        member: u64,
        /// How long it was waited for.
        waited: Duration,
        /// The index up to which it has the log.
        matched: u64,
        /// The index of the last entry.
        last: u64,
    },
    /// It votes not.
    #[error("member {member} has no vote; promote it first")]
    NotVoter {
        /// Its number.
        member: u64,
    },
    /// Without this member there would be no majority of members that answer.
    #[error(
        "without member {member} only {answering} of {voters} voters would answer, and no majority would be left; bring the \
         others back first, or add members"
    )]
    NoMajority {
        /// Its number.
        member: u64,
        /// Voters that would be left and answered lately.
        answering: usize,
        /// Voters that would be left.
        voters: usize,
    },
    /// Another change is under way.
    #[error("another change of the members is under way; try again when it is done")]
    Busy,
    /// The member did not take over in time; the old leader leads on.
    #[error("member {member} did not take over within {waited:?}; is it running, and up to date?")]
    NotTaken {
        /// Its number.
        member: u64,
        /// For how long it was waited.
        waited: Duration,
    },
    /// The change was under way when its fate was lost sight of.
    #[error("it is unknown whether the members were changed: {reason}; look at them before you repeat it")]
    Unknown {
        /// What happened.
        reason: String,
    },
    /// The member is stopping.
    #[error("the member is shutting down")]
    ShuttingDown,
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
