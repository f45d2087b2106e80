//! What a member is told when it starts.

use crate::StartError;
use openraft::{Config, SnapshotPolicy};
use std::path::PathBuf;
use std::time::Duration;

/// How a member keeps its log. [`Options::new`] gives values that suit a small cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where the log and the snapshots lie; made if absent, and used by one process only.
    pub directory: PathBuf,
    /// This member's number, from 1.
    pub member: u64,
    /// How long a follower hears nothing before it stands for election, at most: a random time between three quarters of
    /// this and this. At least 200 ms; the leader gives a sign of life ten times as often. A member without peers does not
    /// wait.
    pub election_timeout: Duration,
    /// How long a command or a read waits for a member that leads.
    pub leader_wait: Duration,
    /// How long a command waits for a majority before its fate is called unknown.
    pub commit_wait: Duration,
    /// How long a promotion waits until the member has caught up.
    pub catch_up_wait: Duration,
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
    /// Member 1, alone, with its log in `directory`: elections after 340–450 ms without a leader, waits of 5 s for
    /// a leader, 10 s for a majority and 60 s for a member to catch up, snapshots after 10,000 entries or 8 MiB of
    /// commands, 1,000 entries kept, commands of at most 1 MiB.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            member: 1,
            election_timeout: Duration::from_millis(450),
            leader_wait: Duration::from_secs(5),
            commit_wait: Duration::from_secs(10),
            catch_up_wait: Duration::from_secs(60),
            snapshot_after_entries: 10_000,
            snapshot_after_bytes: 8 << 20,
            keep_entries: 1_000,
            command_bytes_max: 1 << 20,
        }
    }

    /// The options in the protocol's own words.
    pub(crate) fn protocol(&self) -> Result<Config, StartError> {
        const COMMAND_BYTES_MAX: usize = 4 << 20;
        let wrong = |what: &str| Err(StartError::Options(what.to_owned()));
        if self.member == 0 {
            return wrong("members are numbered from 1");
        }
        if self.election_timeout < Duration::from_millis(200) || self.election_timeout > Duration::from_secs(3600) {
            return wrong("election_timeout is between 200 ms and 1 h");
        }
        if self.snapshot_after_entries == 0 || self.snapshot_after_bytes == 0 {
            return wrong("a snapshot after 0 entries or bytes would never end");
        }
        if self.command_bytes_max == 0 || self.command_bytes_max > COMMAND_BYTES_MAX {
            return wrong("command_bytes_max is between 1 and 4 MiB");
        }
        // The protocol waits for a lease, which is as long as the longest timeout, and then for the timeout.
        let half = u64::try_from(self.election_timeout.as_millis()).unwrap_or(u64::MAX) / 2;
        Config {
            cluster_name: "orlop".into(),
            election_timeout_min: half / 2,
            election_timeout_max: half,
            heartbeat_interval: half / 5,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_after_entries),
            replication_lag_threshold: self.snapshot_after_entries.saturating_add(self.keep_entries),
            max_in_snapshot_log_to_keep: self.keep_entries,
            // Purging costs a write: not after every entry.
            purge_batch_size: (self.snapshot_after_entries / 2).max(1),
            // Queues and their memory are sized for what one API server submits at once.
            api_batch_capacity: 1024,
            // Nothing to keep time for until there are other members.
            enable_tick: false,
            enable_pre_vote: Some(true),
            // A leader that starts again would lead on in its old term, and take for committed what was when that was last
            // written down: reads would miss writes that it had acknowledged itself. One that is elected anew begins its
            // term with an entry, and reads wait for that.
            enable_leader_restore: Some(false),
            // Members write an entry side by side, not one after the other.
            broadcast_submitted_on_append: Some(true),
            // A learner that lost its disk is to be filled anew; a voter that did refuses by itself.
            allow_log_reversion: Some(true),
            max_payload_entries: 1024,
            ..Config::default()
        }
        .validate()
        .map_err(|e| StartError::Options(e.to_string()))
    }
}
