//! Bounds of what a cluster's state holds. They may be raised by a later version, never lowered.

use orlop_model::Millis;
use orlop_model::trust::SECRET_BYTES_MAX;

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
/// The most join tokens, those included that cannot be used any more.
pub const JOIN_TOKENS_MAX: usize = 1_000;
/// The most uses of one join token.
pub const JOIN_TOKEN_USES_MAX: u32 = 1_000;
/// The longest life of a join token.
pub const JOIN_TOKEN_LIFETIME_MAX: Millis = Millis::from_secs(30 * 86_400);
/// The most operators.
pub const OPERATORS_MAX: usize = 1_000;
/// The most patterns of deployments that one operator is limited to.
pub const PATTERNS_MAX: usize = 100;
/// The most revoked tokens of operators that are remembered.
pub const REVOKED_TOKENS_MAX: usize = 10_000;
/// The most keys of operators' tokens, those included that retire.
pub const SIGNING_KEYS_MAX: usize = 16;
/// The most identities whose certificates are refused.
pub const REVOKED_IDENTITIES_MAX: usize = 10_000;
/// The most secrets.
pub const SECRETS_MAX: usize = 1_000;
/// The longest sealed value, in bytes: a secret, and what sealing adds.
pub const SEALED_BYTES_MAX: usize = SECRET_BYTES_MAX + 64;
/// The longest certificate of an authority, in bytes.
pub const AUTHORITY_BYTES_MAX: usize = 4096;
/// The longest name of a caller, in bytes; a longer one is cut.
pub const CALLER_BYTES_MAX: usize = 256;
/// Records of the audit log that are kept.
pub const AUDIT_MAX: usize = 10_000;
/// The most commands that are answered again when they are repeated.
pub const REQUESTS_MAX: usize = 10_000;
/// For so long they are, if they are not too many.
pub const REQUEST_KEPT: Millis = Millis::from_secs(600);
