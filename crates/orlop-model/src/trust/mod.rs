//! Whom a cluster trusts with what: join tokens, operators and their roles, secrets, and the audit log.

mod audit;
mod hex;
mod join;
mod lifetime;
mod operator;
mod role;
mod secret;

pub use audit::{AuditRecord, BrokenChain, Digest, audit_hash, verify_audit};
pub use hex::{InvalidShortId, JoinTokenId, SigningKeyId};
pub use join::{JoinKind, JoinToken};
pub use lifetime::{CERTIFICATE_LIFETIME, OPERATOR_TOKEN_LIFETIME_MAX, RENEWAL_GRACE, REVOCATION_KEPT};
pub use operator::{InvalidOperatorName, Operator, OperatorName};
pub use role::{DeploymentPattern, InvalidPattern, Role, may};
pub use secret::{InvalidSecretName, SECRET_BYTES_MAX, SecretName, SecretValue};
