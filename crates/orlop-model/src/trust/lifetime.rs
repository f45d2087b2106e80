//! How long what proves an identity is good, and how long it is remembered that it is not.

use crate::time::Millis;

/// How long a certificate is good.
pub const CERTIFICATE_LIFETIME: Millis = Millis::from_secs(24 * 3600);
/// For so long after its end a certificate may still be renewed, and nothing else be done with it.
pub const RENEWAL_GRACE: Millis = Millis::from_secs(30 * 86_400);
/// For so long the revocation of an identity is remembered.
pub const REVOCATION_KEPT: Millis = Millis::from_secs(60 * 86_400);
/// The longest life of an operator's token, and the longest overlap of signing keys.
pub const OPERATOR_TOKEN_LIFETIME_MAX: Millis = Millis::from_secs(366 * 86_400);

// What was revoked can be neither used nor renewed by the time that the revocation is forgotten.
const _: () = assert!(REVOCATION_KEPT.0 > CERTIFICATE_LIFETIME.0 + RENEWAL_GRACE.0);
