//! What this machine is called.

use crate::identity::IdentityError;
use orlop_model::{NodeId, NodeName};
use std::path::Path;
use std::{fs, io};

/// The id of the agent whose data directory this is, or else one for it to begin with.
///
/// # Errors
/// The file with the id cannot be read, or holds something else.
pub fn node_id(agent_data_dir: &Path) -> Result<NodeId, IdentityError> {
    let path = agent_data_dir.join("node-id");
    let read = fs::read_to_string(&path)
        .and_then(|text| text.trim().parse().map_err(|invalid| io::Error::new(io::ErrorKind::InvalidData, invalid)));
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(NodeId::from_u128(uuid::Uuid::now_v7().as_u128())),
        read => read.map_err(|source| IdentityError::Io { path, source }),
    }
}

/// The host name cannot be that of a node or a member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the host name {found:?} cannot be a name here: {problem}")]
pub struct NoHostName {
    /// What the machine is called.
    pub found: String,
    /// What is wrong with it.
    pub problem: String,
}

/// The machine's host name.
///
/// # Errors
/// When it makes no name of a node or a member.
pub fn host_name() -> Result<NodeName, NoHostName> {
    let failed = |errno: nix::Error| NoHostName { found: String::new(), problem: errno.to_string() };
    let found = nix::unistd::gethostname().map_err(failed)?.to_string_lossy().into_owned();
    NodeName::of_host(&found).map_err(|invalid| NoHostName { found, problem: invalid.to_string() })
}
