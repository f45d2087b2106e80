//! Operators. The state knows them and not their tokens: a token says who presents it, and what that one may do stands
//! here, so that a change acts at once.

use super::trust;
use crate::answer::{Answer, Refusal};
use crate::command::Change;
use crate::limit::{OPERATORS_MAX, PATTERNS_MAX, REVOKED_TOKENS_MAX};
use crate::trust::OperatorRecord;
use orlop_model::trust::{OPERATOR_TOKEN_LIFETIME_MAX, Operator, OperatorName};
use orlop_model::{OperatorTokenId, Timestamp};

/// Adds an operator, or changes what one may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutOperator {
    /// Who, and what the operator may do.
    pub operator: Operator,
}

/// Removes an operator. Whoever comes later under the same name is another: tokens from before stay dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoveOperator {
    /// Who.
    pub name: OperatorName,
}

/// An operator gets a token. It changes nothing but the audit log; the token is made when this is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssueOperatorToken {
    /// Who.
    pub operator: OperatorName,
    /// Which token.
    pub token: OperatorTokenId,
    /// Its end.
    pub expires_at: Timestamp,
}

/// A token is refused from now on. It is remembered until it must have expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeOperatorToken {
    /// Which token.
    pub token: OperatorTokenId,
}

impl PutOperator {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        let now = change.now;
        let trust = trust(change)?;
        if !(1..=PATTERNS_MAX).contains(&self.operator.deployments.len()) {
            let message = format!("an operator has 1 to {PATTERNS_MAX} patterns of deployments; `*` is all of them");
            return Err(Refusal::invalid("invalid_deployments", message));
        }
        if let Some(known) = trust.operators.get_mut(&self.operator.name) {
            known.operator = self.operator;
            return Ok(Answer::Done);
        }
        if trust.operators.len() >= OPERATORS_MAX {
            let message = format!("there are {OPERATORS_MAX} operators, the most there may be; remove some first");
            return Err(Refusal::exhausted("too_many_operators", message));
        }
        let name = self.operator.name.clone();
        trust.operators.insert(name, OperatorRecord { operator: self.operator, added_at: now });
        Ok(Answer::Done)
    }
}

impl RemoveOperator {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        match trust(change)?.operators.remove(&self.name) {
            Some(_) => Ok(Answer::Done),
            None => Err(unknown(&self.name)),
        }
    }
}

impl IssueOperatorToken {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        let now = change.now;
        if !trust(change)?.operators.contains_key(&self.operator) {
            return Err(unknown(&self.operator));
        }
        if self.expires_at <= now || self.expires_at - now > OPERATOR_TOKEN_LIFETIME_MAX {
            let message = format!("a token expires within {OPERATOR_TOKEN_LIFETIME_MAX}");
            return Err(Refusal::invalid("invalid_lifetime", message));
        }
        Ok(Answer::Done)
    }
}

impl RevokeOperatorToken {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        let now = change.now;
        let trust = trust(change)?;
        trust.revoked_tokens.retain(|_, until| now <= *until);
        if trust.revoked_tokens.len() >= REVOKED_TOKENS_MAX && !trust.revoked_tokens.contains_key(&self.token) {
            let message = format!(
                "{REVOKED_TOKENS_MAX} revoked tokens are remembered, the most there may be; remove the operator instead, \
                 or rotate the signing key"
            );
            return Err(Refusal::exhausted("too_many_revoked", message));
        }
        // When it expires is not known; by then it has.
        trust.revoked_tokens.insert(self.token, now + OPERATOR_TOKEN_LIFETIME_MAX);
        Ok(Answer::Done)
    }
}

fn unknown(name: &OperatorName) -> Refusal {
    let message = format!("there is no operator {name}; `orlopctl operator ls` lists them");
    Refusal::not_found("operator_unknown", message)
}
