//! The shell of every follower's loop: connect, resume, keep a copy on disk, nudge, report, back off, drain.
//!
//! A [`Follower`] keeps a copy of one view of the cluster and tells its owner when it changed. It never gives up: while
//! the control plane is away the last good view stays, marked as not live, also over a restart of the process. A
//! [`Reporter`] is the way back: it delivers reports in order, each key's newest only, for as long as it takes. The crate
//! knows nothing of what a view means.

pub mod backoff;
mod cache;
mod files;
mod follow;
mod host;
mod report;
#[cfg(test)]
mod samples;
mod view;

pub use backoff::Backoff;
pub use files::{private_directory, write_whole};
pub use follow::{Follower, FollowerConfig, StartError, Stopped};
pub use host::host_name;
pub use report::{Reporter, ReporterConfig, SendError, Unsent};
pub use view::ViewState;
