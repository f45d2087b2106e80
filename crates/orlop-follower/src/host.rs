//! What the machine is called.

use orlop_model::NodeName;

/// The machine's host name as a node's; as it is when it makes none, to be refused by that name at the start.
pub fn host_name() -> String {
    let found = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    NodeName::of_host(&found).map_or(found, |name| name.to_string())
}
