//! Commands about whom the cluster trusts, as entries of the log.

use super::trust::{bytes, stored_operator, stored_token, token};
use super::{parsed, required};
use crate::command::*;
use crate::trust::{OperatorRecord, SealedAuthority};
use orlop_model::trust::Digest;
use orlop_model::{MemberId, Millis, Timestamp};
use orlop_proto::store::v1 as pb;
use orlop_proto::{InvalidWire, Within};
use pb::command::Kind as Wire;

impl From<&InitialTrust> for pb::InitialTrust {
    fn from(trust: &InitialTrust) -> Self {
        Self {
            authority: trust.authority.certificate.to_vec(),
            authority_key: trust.authority.key.to_vec(),
            signing_key: Some((&trust.signing_key).into()),
        }
    }
}

impl TryFrom<pb::InitialTrust> for InitialTrust {
    type Error = InvalidWire;

    fn try_from(wire: pb::InitialTrust) -> Result<Self, InvalidWire> {
        Ok(Self {
            authority: SealedAuthority { certificate: wire.authority.into(), key: wire.authority_key.into() },
            signing_key: required("signing_key", wire.signing_key)?,
        })
    }
}

pub(super) fn stored_add_member(command: &AddMember) -> pb::AddMember {
    pb::AddMember {
        id: command.id.map_or(0, |id| id.0),
        name: command.name.to_string(),
        address: command.address.clone(),
    }
}

pub(super) fn add_member(wire: pb::AddMember) -> Result<AddMember, InvalidWire> {
    Ok(AddMember {
        id: Some(MemberId(wire.id)).filter(|id| id.0 != 0),
        name: parsed("name", &wire.name)?,
        address: wire.address,
    })
}

impl From<&TrustCommand> for Wire {
    fn from(command: &TrustCommand) -> Self {
        match command {
            TrustCommand::CreateJoinToken(c) => {
                Wire::CreateJoinToken(pb::CreateJoinToken { token: Some(stored_token(&c.token)) })
            }
            TrustCommand::UseJoinToken(c) => Wire::UseJoinToken(pb::UseJoinToken {
                id: c.id.to_string(),
                secret_hash: c.secret_hash.0.to_vec(),
                joins: Some(match &c.joins {
                    Joins::Node(node) => pb::use_join_token::Joins::Node(node.to_string()),
                    Joins::Member(member) => pb::use_join_token::Joins::Member(stored_add_member(member)),
                }),
            }),
            TrustCommand::RevokeJoinToken(c) => Wire::RevokeJoinToken(pb::RevokeJoinToken { id: c.id.to_string() }),
            TrustCommand::PutOperator(c) => {
                Wire::PutOperator(pb::PutOperator { operator: Some(stored_operator(&c.operator, Timestamp(0))) })
            }
            TrustCommand::RemoveOperator(c) => Wire::RemoveOperator(pb::RemoveOperator { name: c.name.to_string() }),
            TrustCommand::IssueOperatorToken(c) => Wire::IssueOperatorToken(pb::IssueOperatorToken {
                operator: c.operator.to_string(),
                token: c.token.to_string(),
                expires_at_ms: c.expires_at.0,
            }),
            TrustCommand::RevokeOperatorToken(c) => {
                Wire::RevokeOperatorToken(pb::RevokeOperatorToken { token: c.token.to_string() })
            }
            TrustCommand::RotateSigningKey(c) => {
                Wire::RotateSigningKey(pb::RotateSigningKey { key: Some((&c.key).into()), overlap_ms: c.overlap.0 })
            }
            TrustCommand::RevokeIdentity(c) => {
                Wire::RevokeIdentity(pb::RevokeIdentity { identity: c.identity.clone() })
            }
            TrustCommand::SetSecret(c) => Wire::SetSecret(pb::SetSecret {
                name: c.name.to_string(),
                version: c.version,
                sealed: c.sealed.to_vec(),
                key_version: c.key_version,
            }),
            TrustCommand::RemoveSecret(c) => Wire::RemoveSecret(pb::RemoveSecret { name: c.name.to_string() }),
            TrustCommand::SealSecretsAgain(c) => Wire::SealSecretsAgain(pb::SealSecretsAgain {
                key_version: c.key_version,
                secrets: c.secrets.iter().map(stored_resealed).collect(),
            }),
        }
    }
}

fn stored_resealed(secret: &ResealedSecret) -> pb::ResealedSecret {
    pb::ResealedSecret { name: secret.name.to_string(), version: secret.version, sealed: secret.sealed.to_vec() }
}

fn resealed(wire: pb::ResealedSecret) -> Result<ResealedSecret, InvalidWire> {
    let name = parsed("secrets.name", &wire.name)?;
    Ok(ResealedSecret { name, version: wire.version, sealed: wire.sealed.into() })
}

/// A command of the log that is about trust; `None` when it is another.
pub(super) fn trust_command(wire: Wire) -> Result<Option<TrustCommand>, InvalidWire> {
    Ok(Some(match wire {
        Wire::CreateJoinToken(c) => TrustCommand::CreateJoinToken(CreateJoinToken {
            token: c.token.ok_or_else(|| InvalidWire::missing("token")).and_then(|t| token(t).within("token"))?,
        }),
        Wire::UseJoinToken(c) => TrustCommand::UseJoinToken(UseJoinToken {
            id: parsed("id", &c.id)?,
            secret_hash: Digest(bytes("secret_hash", &c.secret_hash)?),
            joins: match c.joins.ok_or_else(|| InvalidWire::missing("joins"))? {
                pb::use_join_token::Joins::Node(node) => Joins::Node(parsed("node", &node)?),
                pb::use_join_token::Joins::Member(member) => Joins::Member(add_member(member)?),
            },
        }),
        Wire::RevokeJoinToken(c) => TrustCommand::RevokeJoinToken(RevokeJoinToken { id: parsed("id", &c.id)? }),
        Wire::PutOperator(c) => {
            let record: OperatorRecord = required("operator", c.operator)?;
            TrustCommand::PutOperator(PutOperator { operator: record.operator })
        }
        Wire::RemoveOperator(c) => TrustCommand::RemoveOperator(RemoveOperator { name: parsed("name", &c.name)? }),
        Wire::IssueOperatorToken(c) => TrustCommand::IssueOperatorToken(IssueOperatorToken {
            operator: parsed("operator", &c.operator)?,
            token: parsed("token", &c.token)?,
            expires_at: Timestamp(c.expires_at_ms),
        }),
        Wire::RevokeOperatorToken(c) => {
            TrustCommand::RevokeOperatorToken(RevokeOperatorToken { token: parsed("token", &c.token)? })
        }
        Wire::RotateSigningKey(c) => TrustCommand::RotateSigningKey(RotateSigningKey {
            key: required("key", c.key)?,
            overlap: Millis(c.overlap_ms),
        }),
        Wire::RevokeIdentity(c) => TrustCommand::RevokeIdentity(RevokeIdentity { identity: c.identity }),
        Wire::SetSecret(c) => TrustCommand::SetSecret(SetSecret {
            name: parsed("name", &c.name)?,
            version: c.version,
            sealed: c.sealed.into(),
            key_version: c.key_version,
        }),
        Wire::RemoveSecret(c) => TrustCommand::RemoveSecret(RemoveSecret { name: parsed("name", &c.name)? }),
        Wire::SealSecretsAgain(c) => TrustCommand::SealSecretsAgain(SealSecretsAgain {
            key_version: c.key_version,
            secrets: c.secrets.into_iter().map(resealed).collect::<Result<_, _>>()?,
        }),
        _ => return Ok(None),
    }))
}
