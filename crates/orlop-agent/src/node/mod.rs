//! The node itself: its place on disk, its id, its name and what it has.

mod address;
mod layout;
mod machine;

pub(crate) use address::address_towards;
pub(crate) use layout::{Layout, Lock};
pub(crate) use machine::{capacity, host_name};

use orlop_model::NodeId;
use std::io;
use std::path::PathBuf;

/// What keeps an agent from being this node.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A file or directory of the data directory.
    #[error("{doing} {}: {source}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another agent has the data directory.
    #[error(
        "another agent uses {}; stop it first, or give this one a data directory of its own", path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The file with the node's id holds something else.
    #[error("{} does not hold a node id ({problem}); if this machine was never a node, remove the file", path.display())]
    BadId {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The data directory is of another node than the identity.
    #[error(
        "{} belongs to {own}, and this machine has joined as {joined}; drain and remove that node, or give the agent another \
         data directory",
        data.display()
    )]
    OtherNode {
        /// Whose the directory is.
        own: NodeId,
        /// Who the machine has joined as.
        joined: NodeId,
        /// The directory.
        data: PathBuf,
    },
    /// The identity of the machine is not a node's.
    #[error("this machine's identity is {found}, which is no node's; join with a token for nodes")]
    NoNode {
        /// Whose it is.
        found: String,
    },
    /// The identity of the machine cannot be read.
    #[error(transparent)]
    Identity(#[from] orlop_client::IdentityError),
    /// The machine's host name is no node name.
    #[error("the host name {found:?} cannot be the node's name ({problem}); configure a name")]
    HostName {
        /// The host name.
        found: String,
        /// Why not.
        problem: String,
    },
    /// The machine does not tell what it has.
    #[error("the machine's memory could not be read from /proc/meminfo: {problem}")]
    Memory {
        /// Why not.
        problem: String,
    },
    /// Nothing is left for replicas.
    #[error("the reserve ({reserved}) leaves nothing of the machine's {resource} ({found}); make it smaller")]
    Reserve {
        /// cpu or memory.
        resource: &'static str,
        /// What is to be kept.
        reserved: String,
        /// What there is.
        found: String,
    },
}
