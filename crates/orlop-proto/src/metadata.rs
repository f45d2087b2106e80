//! The names of the metadata that calls carry beside their message.

/// Names a change, so that asking for it again does not make it again: a UUID.
pub const REQUEST_ID: &str = "orlop-request-id";
/// `true`: any member may answer the read, from what it knows, which may be old.
pub const STALE: &str = "orlop-stale";
/// The address of the engine that has the store: the one that was asked did not look at the request.
pub const STANDING_BY: &str = "orlop-standing-by";
