//! The certificates that an identity has are refused; new ones are not.

use super::trust;
use crate::answer::{Answer, Refusal};
use crate::command::Change;
use crate::limit::{CALLER_BYTES_MAX, REVOKED_IDENTITIES_MAX};
use orlop_model::trust::REVOCATION_KEPT;
use orlop_model::{Level, Subject};

/// The certificates that an identity has now are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeIdentity {
    /// As it stands in certificates.
    pub identity: String,
}

impl RevokeIdentity {
    pub(in crate::command) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        let now = change.now;
        let trust = trust(change)?;
        if self.identity.len() > CALLER_BYTES_MAX || !self.identity.starts_with("orlop://") {
            return Err(Refusal::invalid("invalid_identity", "an identity begins with orlop://"));
        }
        trust.revoked_identities.retain(|_, at| now - *at <= REVOCATION_KEPT);
        let revoked = &mut trust.revoked_identities;
        if revoked.len() >= REVOKED_IDENTITIES_MAX && !revoked.contains_key(&self.identity) {
            let message = format!("{REVOKED_IDENTITIES_MAX} revocations are remembered, the most there may be");
            return Err(Refusal::exhausted("too_many_revoked", message));
        }
        revoked.insert(self.identity.clone(), now);
        let message = format!("the certificates of {} were revoked; it joins again with a new token", self.identity);
        change.tell(Level::Warning, Subject::default(), "identity_revoked", message);
        Ok(Answer::Done)
    }
}
