//! Hosts of a cluster on one machine.
//!
//! A [`Host`] is a network namespace with an address of its own, directories of its own and names of its own for all that
//! a node puts on a machine, so that the programs of a node run in it as on a computer of their own; what they share with
//! the other hosts is the kernel, the file system and the process table. The [`Hosts`] of a cluster are ports of one
//! bridge, the switch, which lives in a namespace too; the machine has a port of it as well, so that its user reaches
//! every host, and every host the machine.
//!
//! ```text
//!  machine            namespace NAME-switch          namespace NAME-1
//!  ┌──────────────┐   ┌────────────────────────┐     ┌──────────────┐
//!  │ NAME ….254 ──┼───┤ outside  switch     p1 ├─────┤ eth0 ….1     │
//!  └──────────────┘   │                     p2 ├──┐  └──────────────┘
//!                     └────────────────────────┘  └── NAME-2 …
//! ```
//!
//! Nothing is remembered: the names say what belongs to a cluster, so that another process finds the hosts again
//! ([`Hosts::open`]) and takes them away, also after a crash ([`remove`]). Everything here blocks, and takes root.

mod host;
mod hosts;
mod places;
mod program;
mod removal;

pub use host::Host;
pub use hosts::{Config, HOSTS_MAX, Hosts};
pub use places::{Launch, Places, Role};
pub use removal::remove;

use std::path::PathBuf;

/// Why hosts could not be made, found or taken away.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// The configuration cannot be used.
    #[error("{what} is {found:?}: {remedy}")]
    Config {
        /// Which setting.
        what: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        remedy: String,
    },
    /// There are hosts of this name.
    #[error("there are hosts named {0} on this machine: take those away first, or choose another name")]
    Taken(String),
    /// There are no hosts of this name.
    #[error("there are no hosts named {0} on this machine")]
    Absent(String),
    /// A program that is needed could not be run.
    #[error("could not run {program}: {source}; install the package {package}")]
    NotRun {
        /// Its name.
        program: &'static str,
        /// What brings it.
        package: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A program refused.
    #[error("{command} failed: {message}")]
    Refused {
        /// With its arguments.
        command: String,
        /// What it said.
        message: String,
    },
    /// A file, directory, mount or namespace could not be handled.
    #[error("could not {doing} {}: {source}", path.display())]
    Io {
        /// What was tried ("make").
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Processes of a host do not end.
    #[error("processes {pids:?} of the host {host} do not end")]
    Processes {
        /// Its name.
        host: String,
        /// Their ids.
        pids: Vec<u32>,
    },
    /// A host's containerd or what it left could not be taken away.
    #[error(transparent)]
    Containerd(#[from] orlop_runtime::containerd::DaemonError),
}
