//! Whom the cluster trusts, the audit log, and commands that were answered.

use super::{list, parsed, required};
use crate::answer::Answer;
use crate::audit::Audit;
use crate::limit::AUDIT_MAX;
use crate::requests::{RequestId, Requests};
use crate::trust::{OperatorRecord, SealedAuthority, SealedSecret, SigningKeyPair, SigningKeyRecord, Trust};
use orlop_model::trust::{AuditRecord, Digest, JoinKind, JoinToken, Operator, Role, audit_hash};
use orlop_model::{NodeId, Timestamp};
use orlop_proto::store::v1 as pb;
use orlop_proto::{InvalidWire, Within};
use std::collections::VecDeque;
use std::sync::Arc;

pub(super) fn bytes<const N: usize>(field: &str, bytes: &[u8]) -> Result<[u8; N], InvalidWire> {
    bytes.try_into().map_err(|_| InvalidWire::new(field, format!("has {} bytes, not {N}", bytes.len())))
}

fn join_kind(wire: i32) -> Result<JoinKind, InvalidWire> {
    match pb::JoinKind::try_from(wire) {
        Ok(pb::JoinKind::Node) => Ok(JoinKind::Node),
        Ok(pb::JoinKind::Member) => Ok(JoinKind::Member),
        _ => Err(InvalidWire::new("kind", format!("found {wire}, which this version does not know"))),
    }
}

fn role(wire: i32) -> Result<Role, InvalidWire> {
    match pb::Role::try_from(wire) {
        Ok(pb::Role::Viewer) => Ok(Role::Viewer),
        Ok(pb::Role::Deployer) => Ok(Role::Deployer),
        Ok(pb::Role::Admin) => Ok(Role::Admin),
        _ => Err(InvalidWire::new("role", format!("found {wire}, which this version does not know"))),
    }
}

impl From<&SigningKeyPair> for pb::SigningKeyPair {
    fn from(key: &SigningKeyPair) -> Self {
        Self { public_key: key.public_key.to_vec(), sealed: key.sealed.to_vec() }
    }
}

impl TryFrom<pb::SigningKeyPair> for SigningKeyPair {
    type Error = InvalidWire;

    fn try_from(wire: pb::SigningKeyPair) -> Result<Self, InvalidWire> {
        Ok(Self { public_key: bytes("public_key", &wire.public_key)?, sealed: wire.sealed.into() })
    }
}

pub(super) fn stored_token(token: &JoinToken) -> pb::StoredJoinToken {
    let kind = match token.kind {
        JoinKind::Node => pb::JoinKind::Node,
        JoinKind::Member => pb::JoinKind::Member,
    };
    pb::StoredJoinToken {
        id: token.id.to_string(),
        kind: kind.into(),
        secret_hash: token.secret_hash.0.to_vec(),
        uses_left: token.uses_left,
        created_at_ms: token.created_at.0,
        expires_at_ms: token.expires_at.0,
        node: token.node.as_ref().map(NodeId::to_string).unwrap_or_default(),
    }
}

pub(super) fn token(wire: pb::StoredJoinToken) -> Result<JoinToken, InvalidWire> {
    Ok(JoinToken {
        id: parsed("id", &wire.id)?,
        kind: join_kind(wire.kind)?,
        secret_hash: Digest(bytes("secret_hash", &wire.secret_hash)?),
        uses_left: wire.uses_left,
        created_at: Timestamp(wire.created_at_ms),
        expires_at: Timestamp(wire.expires_at_ms),
        node: match wire.node.as_str() {
            "" => None,
            node => Some(parsed("node", node)?),
        },
    })
}

pub(super) fn stored_operator(operator: &Operator, added_at: Timestamp) -> pb::StoredOperator {
    let role = match operator.role {
        Role::Viewer => pb::Role::Viewer,
        Role::Deployer => pb::Role::Deployer,
        Role::Admin => pb::Role::Admin,
    };
    pb::StoredOperator {
        name: operator.name.to_string(),
        role: role.into(),
        deployments: operator.deployments.iter().map(ToString::to_string).collect(),
        added_at_ms: added_at.0,
    }
}

impl TryFrom<pb::StoredOperator> for OperatorRecord {
    type Error = InvalidWire;

    fn try_from(wire: pb::StoredOperator) -> Result<Self, InvalidWire> {
        let patterns = wire.deployments.iter().map(|pattern| parsed("deployments", pattern));
        let operator = Operator {
            name: parsed("name", &wire.name)?,
            role: role(wire.role)?,
            deployments: patterns.collect::<Result<_, _>>()?,
        };
        Ok(Self { operator, added_at: Timestamp(wire.added_at_ms) })
    }
}

impl From<&Trust> for pb::StoredTrust {
    fn from(trust: &Trust) -> Self {
        Self {
            authority: trust.authority.certificate.to_vec(),
            authority_key: trust.authority.key.to_vec(),
            signing_keys: trust.signing_keys.iter().map(stored_key).collect(),
            join_tokens: trust.join_tokens.values().map(stored_token).collect(),
            operators: trust.operators.values().map(|o| stored_operator(&o.operator, o.added_at)).collect(),
            revoked_tokens: trust
                .revoked_tokens
                .iter()
                .map(|(token, until)| pb::RevokedToken { token: token.to_string(), until_ms: until.0 })
                .collect(),
            revoked_identities: trust
                .revoked_identities
                .iter()
                .map(|(identity, at)| pb::RevokedIdentity { identity: identity.clone(), at_ms: at.0 })
                .collect(),
            secrets: trust
                .secrets
                .iter()
                .map(|(name, secret)| pb::StoredSecret {
                    name: name.to_string(),
                    version: secret.version,
                    sealed: secret.sealed.to_vec(),
                    key_version: secret.key_version,
                    changed_at_ms: secret.changed_at.0,
                })
                .collect(),
            secret_key_version: trust.secret_key_version,
            secret_version_floor: trust.secret_version_floor,
        }
    }
}

fn stored_key(record: &SigningKeyRecord) -> pb::StoredSigningKey {
    pb::StoredSigningKey {
        key: Some((&record.key).into()),
        added_at_ms: record.added_at.0,
        retires_at_ms: record.retires_at.map(|at| at.0),
    }
}

impl TryFrom<pb::StoredTrust> for Trust {
    type Error = InvalidWire;

    fn try_from(wire: pb::StoredTrust) -> Result<Self, InvalidWire> {
        let key = |stored: pb::StoredSigningKey| -> Result<_, InvalidWire> {
            Ok(SigningKeyRecord {
                key: required("signing_keys.key", stored.key)?,
                added_at: Timestamp(stored.added_at_ms),
                retires_at: stored.retires_at_ms.map(Timestamp),
            })
        };
        let secret = |stored: pb::StoredSecret| -> Result<_, InvalidWire> {
            let secret = SealedSecret {
                version: stored.version,
                sealed: stored.sealed.into(),
                key_version: stored.key_version,
                changed_at: Timestamp(stored.changed_at_ms),
            };
            Ok((parsed("secrets.name", &stored.name)?, secret))
        };
        let revoked = |stored: pb::RevokedToken| -> Result<_, InvalidWire> {
            Ok((parsed("revoked_tokens.token", &stored.token)?, Timestamp(stored.until_ms)))
        };
        let known = |stored| token(stored).map(|token| (token.id, token)).within("join_tokens");
        let operators: Vec<OperatorRecord> = list("operators", wire.operators)?;
        Ok(Self {
            authority: SealedAuthority { certificate: wire.authority.into(), key: wire.authority_key.into() },
            signing_keys: wire.signing_keys.into_iter().map(key).collect::<Result<_, _>>()?,
            join_tokens: wire.join_tokens.into_iter().map(known).collect::<Result<_, _>>()?,
            operators: operators.into_iter().map(|record| (record.operator.name.clone(), record)).collect(),
            revoked_tokens: wire.revoked_tokens.into_iter().map(revoked).collect::<Result<_, _>>()?,
            revoked_identities: wire
                .revoked_identities
                .into_iter()
                .map(|stored| (stored.identity, Timestamp(stored.at_ms)))
                .collect(),
            secrets: wire.secrets.into_iter().map(secret).collect::<Result<_, _>>()?,
            secret_key_version: wire.secret_key_version,
            secret_version_floor: wire.secret_version_floor,
        })
    }
}

/// Nothing of a log that has no records.
pub(super) fn stored_audit(audit: &Audit) -> Option<pb::StoredAudit> {
    (audit.recorded > 0).then(|| pb::StoredAudit {
        recorded: audit.recorded,
        before: audit.before.0.to_vec(),
        records: audit
            .records
            .iter()
            .map(|record| pb::AuditRecord {
                at_ms: record.at.0,
                caller: record.caller.clone(),
                action: record.action.clone(),
                subject: record.subject.clone(),
                outcome: record.outcome.clone(),
            })
            .collect(),
    })
}

/// The hashes are not stored: they follow from the first one, and a record that is not what it was gives another head.
pub(super) fn audit(wire: Option<pb::StoredAudit>) -> Result<Audit, InvalidWire> {
    let Some(wire) = wire else { return Ok(Audit::default()) };
    let before = Digest(bytes("before", &wire.before).within("audit")?);
    let older = wire.recorded.checked_sub(wire.records.len() as u64).filter(|_| wire.records.len() <= AUDIT_MAX);
    let older = older.ok_or_else(|| InvalidWire::new("audit.records", "are not the newest"))?;
    let (mut head, mut records) = (before, VecDeque::with_capacity(wire.records.len()));
    for (sequence, stored) in (older + 1..).zip(wire.records) {
        let mut record = AuditRecord {
            sequence,
            at: Timestamp(stored.at_ms),
            caller: stored.caller,
            action: stored.action,
            subject: stored.subject,
            outcome: stored.outcome,
            hash: Digest::default(),
        };
        record.hash = audit_hash(&head, &record);
        head = record.hash;
        records.push_back(Arc::new(record));
    }
    Ok(Audit { recorded: wire.recorded, before, records })
}

pub(super) fn stored_requests(requests: &Requests) -> Vec<pb::StoredRequest> {
    let stored = requests.iter().map(|(at, (id, caller), answer)| pb::StoredRequest {
        id: id.0.to_vec(),
        caller: caller.clone().unwrap_or_default(),
        at_ms: at.0,
        answer: Some((&**answer).into()),
    });
    stored.collect()
}

pub(super) fn requests(wire: Vec<pb::StoredRequest>) -> Result<Requests, InvalidWire> {
    let mut requests = Requests::default();
    for stored in wire {
        let key = (RequestId(bytes("requests.id", &stored.id)?), Some(stored.caller).filter(|c| !c.is_empty()));
        let answer: Answer = required("requests.answer", stored.answer)?;
        requests.remember(Timestamp(stored.at_ms), key, Arc::new(answer));
    }
    Ok(requests)
}
