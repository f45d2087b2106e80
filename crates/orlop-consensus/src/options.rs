//! What a member is told when it starts.

use std::path::PathBuf;
use std::time::Duration;

/// How a member keeps its log. [`Options::new`] gives values that suit a small cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where the log and the snapshots lie; made if absent, and used by one process only.
    pub directory: PathBuf,
    /// This member's number, from 1.
    pub member: u64,
    /// How long a follower hears nothing before it stands for election: a random time between this and twice this. At
    /// least 200 ms. A member without peers does not wait.
    pub election_timeout: Duration,
    /// A snapshot is taken when so many entries were applied since the last.
    pub snapshot_after_entries: u64,
    /// A snapshot is taken when commands of so many bytes were applied since the last.
    pub snapshot_after_bytes: u64,
    /// So many entries before the newest snapshot are kept, for members that lag a little.
    pub keep_entries: u64,
    /// The largest command that is accepted, in bytes; at most 4 MiB.
    pub command_bytes_max: usize,
}

impl Options {
    /// Member 1, alone, with its log in `directory`: elections after 1–2 s, snapshots after 10,000 entries or 8 MiB of
    /// commands, 1,000 entries kept, commands of at most 1 MiB.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            member: 1,
            election_timeout: Duration::from_secs(1),
            snapshot_after_entries: 10_000,
            snapshot_after_bytes: 8 << 20,
            keep_entries: 1_000,
            command_bytes_max: 1 << 20,
        }
    }
}
