//! What the machine is called.

/// The machine's host name as a node's; as it is when it makes none, to be refused by that name at the start.
pub fn host_name() -> String {
    orlop_client::host_name().map_or_else(|invalid| invalid.found, |name| name.to_string())
}
