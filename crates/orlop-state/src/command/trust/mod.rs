//! Commands about whom the cluster trusts.

mod join_tokens;
mod operators;
mod revoke_identity;
mod secrets;
mod signing_keys;

pub use join_tokens::{CreateJoinToken, Joins, RevokeJoinToken, UseJoinToken};
pub use operators::{IssueOperatorToken, PutOperator, RemoveOperator, RevokeOperatorToken};
pub use revoke_identity::RevokeIdentity;
pub use secrets::{RemoveSecret, ResealedSecret, SealSecretsAgain, SetSecret};
pub use signing_keys::RotateSigningKey;

use super::Change;
use crate::answer::{Answer, Refusal};
use crate::trust::Trust;

/// A change of whom the cluster trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustCommand {
    /// Makes a join token known.
    CreateJoinToken(CreateJoinToken),
    /// Somebody joins.
    UseJoinToken(UseJoinToken),
    /// Nobody joins with a token any more.
    RevokeJoinToken(RevokeJoinToken),
    /// Adds or changes an operator.
    PutOperator(PutOperator),
    /// Removes an operator.
    RemoveOperator(RemoveOperator),
    /// An operator gets a token.
    IssueOperatorToken(IssueOperatorToken),
    /// A token of an operator is refused from now on.
    RevokeOperatorToken(RevokeOperatorToken),
    /// Another key signs operators' tokens.
    RotateSigningKey(RotateSigningKey),
    /// The certificates of an identity are refused.
    RevokeIdentity(RevokeIdentity),
    /// Gives a secret a value.
    SetSecret(SetSecret),
    /// Removes a secret.
    RemoveSecret(RemoveSecret),
    /// Secrets are sealed with another key.
    SealSecretsAgain(SealSecretsAgain),
}

impl TrustCommand {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        match self {
            TrustCommand::CreateJoinToken(command) => command.apply(change),
            TrustCommand::UseJoinToken(command) => command.apply(change),
            TrustCommand::RevokeJoinToken(command) => command.apply(change),
            TrustCommand::PutOperator(command) => command.apply(change),
            TrustCommand::RemoveOperator(command) => command.apply(change),
            TrustCommand::IssueOperatorToken(command) => command.apply(change),
            TrustCommand::RevokeOperatorToken(command) => command.apply(change),
            TrustCommand::RotateSigningKey(command) => command.apply(change),
            TrustCommand::RevokeIdentity(command) => command.apply(change),
            TrustCommand::SetSecret(command) => command.apply(change),
            TrustCommand::RemoveSecret(command) => command.apply(change),
            TrustCommand::SealSecretsAgain(command) => command.apply(change),
        }
    }
}

/// What the cluster trusts; a cluster that an early version made has nothing of it.
fn trust<'a>(change: &'a mut Change<'_>) -> Result<&'a mut Trust, Refusal> {
    change.state.trust.as_mut().ok_or_else(|| {
        let message = "the cluster has no identities: a version made it that knew none; make a new one with `control-plane \
                       init`";
        Refusal::precondition("no_identities", message)
    })
}
