//! Bounds of what a cluster's state holds. They may be raised by a later version, never lowered.

/// Events that are kept; older ones are forgotten.
pub const EVENTS_MAX: usize = 10_000;
/// The most members, those included that do not vote yet.
pub const MEMBERS_MAX: usize = 16;
/// The most deployments.
pub const DEPLOYMENTS_MAX: usize = 1_000;
/// The most services of all deployments together.
pub const SERVICES_MAX: usize = 10_000;
/// The most replicas of all services together, those included that are ending.
pub const REPLICAS_MAX: usize = 100_000;
/// The most replicas reported on in one command.
pub const REPORTS_MAX: usize = 10_000;
/// The most events recorded with one command.
pub const RECORDS_MAX: usize = 1_000;
/// The most endpoints that the proxy of one node reports as not served.
pub const UNSERVED_MAX: usize = 1_000;
/// The most endpoint faults that are kept of one service, of all its endpoints and nodes together.
pub const FAULTS_PER_SERVICE_MAX: usize = 64;
/// The longest name of a scheduler, in bytes.
pub const HOLDER_BYTES_MAX: usize = 256;
/// The prefix length of a node's subnet: 254 replicas.
pub const NODE_PREFIX: u8 = 24;
