//! Another key signs operators' tokens; those before stay good for a while.

use super::trust;
use crate::answer::{Answer, Refusal};
use crate::command::Change;
use crate::limit::SIGNING_KEYS_MAX;
use crate::trust::{SigningKeyPair, SigningKeyRecord};
use orlop_model::Millis;
use orlop_model::trust::OPERATOR_TOKEN_LIFETIME_MAX;

/// A new key signs from now on; the keys before retire after a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotateSigningKey {
    /// The new key.
    pub key: SigningKeyPair,
    /// How long what the keys before signed stays good. A key that retires sooner already does so.
    pub overlap: Millis,
}

impl RotateSigningKey {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        let now = change.now;
        let keys = &mut trust(change)?.signing_keys;
        if self.overlap > OPERATOR_TOKEN_LIFETIME_MAX {
            let message = format!("keys overlap for at most {OPERATOR_TOKEN_LIFETIME_MAX}");
            return Err(Refusal::invalid("invalid_overlap", message));
        }
        if keys.iter().any(|known| known.key.public_key == self.key.public_key) {
            return Err(Refusal::conflict("key_exists", "the key is there already; make another"));
        }
        let good = keys.iter().filter(|known| known.retires_at.is_none_or(|at| now < at)).count();
        if good >= SIGNING_KEYS_MAX {
            let message = format!("{good} keys are good still, the most there may be; rotate with `--overlap 0s`");
            return Err(Refusal::exhausted("too_many_keys", message));
        }
        keys.retain(|known| known.retires_at.is_none_or(|at| now < at));
        let retires_at = now + self.overlap;
        for known in keys.iter_mut() {
            known.retires_at = Some(known.retires_at.map_or(retires_at, |at| at.min(retires_at)));
        }
        keys.retain(|known| known.retires_at.is_none_or(|at| now < at));
        keys.insert(0, SigningKeyRecord { key: self.key, added_at: now, retires_at: None });
        Ok(Answer::Done)
    }
}
