//! The calls about who is who, with domain types.

use crate::address::Address;
use crate::calls::{Calls, calls};
use crate::change::change;
use crate::credentials::Credentials;
use crate::error::Error;
use orlop_identity::{AuthorityCertificate, Identity};
use orlop_model::trust::{
    AuditRecord, Digest, JoinKind, JoinToken, JoinTokenId, Operator, OperatorName, Role, SecretName, SigningKeyId,
};
use orlop_model::{ClusterId, Millis, NodeId, OperatorTokenId, ServiceRef, Timestamp};
use orlop_proto::InvalidWire;
use orlop_proto::identity::v1 as pb;
use pb::identity_service_client::IdentityServiceClient;
use rustls::pki_types::CertificateDer;
use tonic::{Response, Status};

/// The largest answer that is taken, in bytes: a whole audit log.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// A connection to a control plane for whoever decides whom it trusts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TrustClient {
    identity: IdentityServiceClient<Calls>,
    address: Address,
}

/// Who the control plane takes the caller for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// As in the audit log.
    pub name: String,
    /// The cluster.
    pub cluster: ClusterId,
    /// What an operator may do.
    pub operator: Option<Operator>,
    /// The cluster's authority, if it has one.
    pub authority: Option<AuthorityCertificate>,
}

/// A join token that was just made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJoinToken {
    /// What is given to who joins.
    pub text: String,
    /// What the cluster keeps of it.
    pub kept: JoinToken,
}

/// A token that was just issued to an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedToken {
    /// What the operator gives to `orlopctl login`.
    pub login: String,
    /// To revoke it by.
    pub id: OperatorTokenId,
    /// Its end.
    pub expires_at: Timestamp,
}

/// A key that signs operators' tokens, or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SigningKey {
    /// Which.
    pub id: SigningKeyId,
    /// When it began to sign.
    pub added_at: Timestamp,
    /// From then on what it signed is refused; `None` for the key that signs.
    pub retires_at: Option<Timestamp>,
}

/// A secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Which.
    pub name: SecretName,
    /// Grows with every value.
    pub version: u64,
    /// When the value was set.
    pub changed_at: Timestamp,
    /// The version of the key that it is sealed with.
    pub key_version: u32,
    /// Who uses it.
    pub users: Vec<ServiceRef>,
}

/// A part of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLog {
    /// Oldest first, without gaps.
    pub records: Vec<AuditRecord>,
    /// The sequence of the newest record ever made, and its hash.
    pub head: (u64, Digest),
    /// The hash of the record before the first one here.
    pub before: Digest,
}

impl TrustClient {
    /// A client of the control plane at an address, as whoever the credentials say. It dials when first used.
    ///
    /// # Errors
    /// When the credentials do not go with the address.
    pub fn new(address: Address, credentials: &Credentials) -> Result<Self, Error> {
        let identity = IdentityServiceClient::new(calls(&address, credentials)?);
        Ok(Self { identity: identity.max_decoding_message_size(ANSWER_BYTES_MAX), address })
    }

    fn answer<T>(&self, answer: Result<Response<T>, Status>) -> Result<T, Error> {
        answer.map(Response::into_inner).map_err(|status| Error::from_status(&status, &self.address))
    }

    fn client(&self) -> IdentityServiceClient<Calls> {
        self.identity.clone()
    }

    /// Who the control plane takes the caller for.
    pub async fn who_am_i(&self) -> Result<Caller, Error> {
        let wire = self.answer(self.client().who_am_i(pb::WhoAmIRequest {}).await)?;
        let authority = match wire.authority.is_empty() {
            true => None,
            false => Some(AuthorityCertificate::read(&CertificateDer::from(wire.authority)).map_err(invalid)?),
        };
        Ok(Caller {
            name: wire.caller,
            cluster: parsed("cluster", &wire.cluster)?,
            operator: wire.operator.map(operator).transpose()?,
            authority,
        })
    }

    /// Makes a join token: for how many uses, for how long, and, if it is bound, for which node.
    pub async fn create_join_token(
        &self,
        kind: JoinKind,
        uses: u32,
        lifetime: Millis,
        node: Option<NodeId>,
    ) -> Result<NewJoinToken, Error> {
        let kind = match kind {
            JoinKind::Node => pb::JoinKind::Node,
            JoinKind::Member => pb::JoinKind::Member,
        };
        let node = node.map(|node| node.to_string()).unwrap_or_default();
        let request = pb::CreateJoinTokenRequest { kind: kind.into(), uses, lifetime_ms: lifetime.0, node };
        let answer = change(&self.address, &request, async |call| self.client().create_join_token(call).await).await?;
        let kept = answer.stored.ok_or_else(|| InvalidWire::missing("stored"))?;
        Ok(NewJoinToken { text: answer.token, kept: token(kept)? })
    }

    /// The join tokens that the cluster keeps.
    pub async fn join_tokens(&self) -> Result<Vec<JoinToken>, Error> {
        let answer = self.answer(self.client().list_join_tokens(pb::ListJoinTokensRequest {}).await)?;
        answer.tokens.into_iter().map(token).collect()
    }

    /// Lets nobody join with a token any more.
    pub async fn revoke_join_token(&self, id: JoinTokenId) -> Result<(), Error> {
        let request = pb::RevokeJoinTokenRequest { id: id.to_string() };
        change(&self.address, &request, async |call| self.client().revoke_join_token(call).await).await.map(drop)
    }

    /// Refuses the certificates that an identity has now.
    pub async fn revoke_identity(&self, identity: Identity) -> Result<(), Error> {
        let request = pb::RevokeIdentityRequest { identity: identity.to_string() };
        change(&self.address, &request, async |call| self.client().revoke_identity(call).await).await.map(drop)
    }

    /// Adds an operator, or changes what one may do.
    pub async fn put_operator(&self, operator: &Operator) -> Result<(), Error> {
        let role = match operator.role {
            Role::Viewer => pb::Role::Viewer,
            Role::Deployer => pb::Role::Deployer,
            Role::Admin => pb::Role::Admin,
        };
        let deployments = operator.deployments.iter().map(ToString::to_string).collect();
        let operator = pb::Operator { name: operator.name.to_string(), role: role.into(), deployments };
        let request = pb::PutOperatorRequest { operator: Some(operator) };
        change(&self.address, &request, async |call| self.client().put_operator(call).await).await.map(drop)
    }

    /// The operators.
    pub async fn operators(&self) -> Result<Vec<Operator>, Error> {
        let answer = self.answer(self.client().list_operators(pb::ListOperatorsRequest {}).await)?;
        answer.operators.into_iter().map(operator).collect()
    }

    /// Removes an operator; all tokens of the operator die.
    pub async fn remove_operator(&self, name: &OperatorName) -> Result<(), Error> {
        let request = pb::RemoveOperatorRequest { name: name.to_string() };
        change(&self.address, &request, async |call| self.client().remove_operator(call).await).await.map(drop)
    }

    /// Gives an operator a token.
    pub async fn issue_operator_token(&self, name: &OperatorName, lifetime: Millis) -> Result<IssuedToken, Error> {
        let request = pb::IssueOperatorTokenRequest { operator: name.to_string(), lifetime_ms: lifetime.0 };
        let wire = change(&self.address, &request, async |call| self.client().issue_operator_token(call).await).await?;
        Ok(IssuedToken { login: wire.login, id: parsed("id", &wire.id)?, expires_at: Timestamp(wire.expires_at_ms) })
    }

    /// Refuses a token of an operator from now on.
    pub async fn revoke_operator_token(&self, id: OperatorTokenId) -> Result<(), Error> {
        let request = pb::RevokeOperatorTokenRequest { id: id.to_string() };
        change(&self.address, &request, async |call| self.client().revoke_operator_token(call).await).await.map(drop)
    }

    /// The keys whose tokens are taken, newest first.
    pub async fn signing_keys(&self) -> Result<Vec<SigningKey>, Error> {
        let answer = self.answer(self.client().list_signing_keys(pb::ListSigningKeysRequest {}).await)?;
        answer.keys.into_iter().map(signing_key).collect()
    }

    /// Signs with a new key from now on; tokens of those before stay good for the overlap.
    pub async fn rotate_signing_key(&self, overlap: Millis) -> Result<SigningKey, Error> {
        let request = pb::RotateSigningKeyRequest { overlap_ms: Some(overlap.0) };
        let answer = change(&self.address, &request, async |call| self.client().rotate_signing_key(call).await).await?;
        signing_key(answer.key.ok_or_else(|| InvalidWire::missing("key"))?)
    }

    /// Gives a secret a value; says its version.
    pub async fn set_secret(&self, name: &SecretName, value: Vec<u8>) -> Result<u64, Error> {
        let request = pb::SetSecretRequest { name: name.to_string(), value };
        Ok(change(&self.address, &request, async |call| self.client().set_secret(call).await).await?.version)
    }

    /// The secrets, without their values.
    pub async fn secrets(&self) -> Result<Vec<Secret>, Error> {
        let answer = self.answer(self.client().list_secrets(pb::ListSecretsRequest {}).await)?;
        answer.secrets.into_iter().map(secret).collect()
    }

    /// Removes a secret that nobody uses.
    pub async fn remove_secret(&self, name: &SecretName) -> Result<(), Error> {
        let request = pb::RemoveSecretRequest { name: name.to_string() };
        change(&self.address, &request, async |call| self.client().remove_secret(call).await).await.map(drop)
    }

    /// Seals all secrets under a new key; says its version, and how many were sealed.
    pub async fn rotate_secrets(&self) -> Result<(u32, u32), Error> {
        let answer = self.answer(self.client().rotate_secrets(pb::RotateSecretsRequest {}).await)?;
        Ok((answer.key_version, answer.secrets))
    }

    /// Records of the audit log: the newest so many, or so many from a sequence on.
    pub async fn audit(&self, since: Option<u64>, limit: u32) -> Result<AuditLog, Error> {
        let request = pb::ListAuditRequest { since: since.unwrap_or(0), limit };
        let wire = self.answer(self.client().list_audit(request).await)?;
        Ok(AuditLog {
            records: wire.records.into_iter().map(record).collect::<Result<_, _>>()?,
            head: (wire.head_sequence, digest("head_hash", &wire.head_hash)?),
            before: digest("before_hash", &wire.before_hash)?,
        })
    }
}

fn invalid(problem: impl std::fmt::Display) -> Error {
    Error::Invalid(problem.to_string())
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(field: &str, text: &str) -> Result<T, Error> {
    Ok(text.parse().map_err(|e: T::Err| InvalidWire::new(field, e.to_string()))?)
}

fn digest(field: &str, bytes: &[u8]) -> Result<Digest, Error> {
    let bytes = bytes.try_into().map_err(|_| InvalidWire::new(field, "has not 32 bytes"))?;
    Ok(Digest(bytes))
}

fn token(wire: pb::JoinToken) -> Result<JoinToken, Error> {
    let kind = match wire.kind() {
        pb::JoinKind::Node => JoinKind::Node,
        pb::JoinKind::Member => JoinKind::Member,
        pb::JoinKind::Unspecified => return Err(InvalidWire::missing("kind").into()),
    };
    Ok(JoinToken {
        id: parsed("id", &wire.id)?,
        kind,
        // The cluster keeps it to itself.
        secret_hash: Digest::default(),
        uses_left: wire.uses_left,
        created_at: Timestamp(wire.created_at_ms),
        expires_at: Timestamp(wire.expires_at_ms),
        node: match wire.node.as_str() {
            "" => None,
            node => Some(parsed("node", node)?),
        },
    })
}

fn operator(wire: pb::Operator) -> Result<Operator, Error> {
    let role = match wire.role() {
        pb::Role::Viewer => Role::Viewer,
        pb::Role::Deployer => Role::Deployer,
        pb::Role::Admin => Role::Admin,
        pb::Role::Unspecified => return Err(InvalidWire::missing("role").into()),
    };
    let patterns = wire.deployments.iter().map(|text| parsed("deployments", text));
    Ok(Operator { name: parsed("name", &wire.name)?, role, deployments: patterns.collect::<Result<_, _>>()? })
}

fn signing_key(wire: pb::SigningKey) -> Result<SigningKey, Error> {
    Ok(SigningKey {
        id: parsed("id", &wire.id)?,
        added_at: Timestamp(wire.added_at_ms),
        retires_at: Some(Timestamp(wire.retires_at_ms)).filter(|at| at.0 != 0),
    })
}

fn secret(wire: pb::Secret) -> Result<Secret, Error> {
    let users = wire.users.iter().map(|user| parsed("users", user));
    Ok(Secret {
        name: parsed("name", &wire.name)?,
        version: wire.version,
        changed_at: Timestamp(wire.changed_at_ms),
        key_version: wire.key_version,
        users: users.collect::<Result<_, _>>()?,
    })
}

fn record(wire: pb::AuditRecord) -> Result<AuditRecord, Error> {
    Ok(AuditRecord {
        sequence: wire.sequence,
        at: Timestamp(wire.at_ms),
        caller: wire.caller,
        action: wire.action,
        subject: wire.subject,
        outcome: wire.outcome,
        hash: digest("hash", &wire.hash)?,
    })
}
