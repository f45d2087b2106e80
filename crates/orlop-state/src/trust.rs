//! Whom the cluster trusts with what, as the state keeps it, and the questions that can be asked of it.
//!
//! What is sealed is opaque here: the key that opens it is on the members' disks and never in the state.

use crate::answer::Refusal;
use crate::state::State;
use orlop_model::trust::{Digest, JoinKind, JoinToken, JoinTokenId, Operator, OperatorName, SecretName, SigningKeyId};
use orlop_model::{Millis, NodeId, OperatorTokenId, ServiceRef, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Whom the cluster trusts with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trust {
    pub(crate) authority: SealedAuthority,
    /// Newest first; the first one signs.
    pub(crate) signing_keys: Vec<SigningKeyRecord>,
    pub(crate) join_tokens: BTreeMap<JoinTokenId, JoinToken>,
    pub(crate) operators: BTreeMap<OperatorName, OperatorRecord>,
    /// With the time by which they have expired.
    pub(crate) revoked_tokens: BTreeMap<OperatorTokenId, Timestamp>,
    /// Identities, as text, whose certificates are refused that were issued until then.
    pub(crate) revoked_identities: BTreeMap<String, Timestamp>,
    pub(crate) secrets: BTreeMap<SecretName, SealedSecret>,
    pub(crate) secret_key_version: u32,
    /// The highest version of any secret that was removed, so that a version never means two values of one name.
    pub(crate) secret_version_floor: u64,
}

/// The cluster's certificate authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedAuthority {
    /// Its certificate, DER.
    pub certificate: Arc<[u8]>,
    /// Its key, sealed.
    pub key: Arc<[u8]>,
}

/// A key that signs operators' tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKeyPair {
    /// Ed25519.
    pub public_key: [u8; 32],
    /// The secret half, sealed.
    pub sealed: Arc<[u8]>,
}

/// A key that signs or signed operators' tokens, with its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKeyRecord {
    /// The key.
    pub key: SigningKeyPair,
    /// When it began to sign.
    pub added_at: Timestamp,
    /// From then on what it signed is refused; `None` for the key that signs.
    pub retires_at: Option<Timestamp>,
}

impl SigningKeyRecord {
    /// The key's id.
    pub fn id(&self) -> SigningKeyId {
        SigningKeyId::of(&self.key.public_key)
    }
}

/// An operator, with the time from which tokens count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorRecord {
    /// Who, and what the operator may do.
    pub operator: Operator,
    /// Tokens that were made before are of an operator of the same name who was removed.
    pub added_at: Timestamp,
}

/// A secret as the state has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// Grows with every value.
    pub version: u64,
    /// The value, sealed.
    pub sealed: Arc<[u8]>,
    /// The version of the key that sealed it.
    pub key_version: u32,
    /// When the value was set.
    pub changed_at: Timestamp,
}

/// Of two times of one clock second, a token's is cut to the second.
const SECOND: Millis = Millis(1000);

impl State {
    /// The cluster's authority; `None` before the cluster has identities.
    pub fn authority(&self) -> Option<&SealedAuthority> {
        self.trust.as_ref().map(|trust| &trust.authority)
    }

    /// The keys of operators' tokens, newest first; the first one signs. One whose time has come is still among them.
    pub fn signing_keys(&self) -> impl Iterator<Item = &SigningKeyRecord> {
        self.trust.iter().flat_map(|trust| &trust.signing_keys)
    }

    /// The join tokens, by id; expired and used up ones are kept for a while, so that they can be told from unknown ones.
    pub fn join_tokens(&self) -> impl Iterator<Item = &JoinToken> {
        self.trust.iter().flat_map(|trust| trust.join_tokens.values())
    }

    /// The operators, by name.
    pub fn operators(&self) -> impl Iterator<Item = &OperatorRecord> {
        self.trust.iter().flat_map(|trust| trust.operators.values())
    }

    /// The operator whom a token names, if it is still good: the operator exists, did so when the token was made, and the
    /// token was not revoked. Its signature and its time have been checked by the caller.
    pub fn operator_of(&self, name: &OperatorName, token: OperatorTokenId, issued_at: Timestamp) -> Option<&Operator> {
        let trust = self.trust.as_ref()?;
        let record = trust.operators.get(name)?;
        let since = Timestamp(record.added_at.0 / SECOND.0 * SECOND.0);
        (issued_at >= since && !trust.revoked_tokens.contains_key(&token)).then_some(&record.operator)
    }

    /// Was the certificate of an identity, given as text, revoked? `issued_at` is when it was issued.
    pub fn is_revoked(&self, identity: &str, issued_at: Timestamp) -> bool {
        let trust = self.trust.iter();
        trust.filter_map(|trust| trust.revoked_identities.get(identity)).any(|until| issued_at <= *until)
    }

    /// The secrets, by name.
    pub fn secrets(&self) -> impl Iterator<Item = (&SecretName, &SealedSecret)> {
        self.trust.iter().flat_map(|trust| &trust.secrets)
    }

    /// A secret.
    pub fn secret(&self, name: &SecretName) -> Option<&SealedSecret> {
        self.trust.as_ref()?.secrets.get(name)
    }

    /// The version that the next value of a secret has.
    pub fn next_secret_version(&self, name: &SecretName) -> u64 {
        let floor = self.trust.as_ref().map_or(0, |trust| trust.secret_version_floor);
        self.secret(name).map_or(floor, |secret| secret.version).saturating_add(1)
    }

    /// The version of the key that secrets are to be sealed with.
    pub fn secret_key_version(&self) -> u32 {
        self.trust.as_ref().map_or(1, |trust| trust.secret_key_version)
    }

    /// The services that name a secret, or have a replica of an earlier generation that does.
    pub fn users_of_secret<'a>(&'a self, name: &'a SecretName) -> impl Iterator<Item = &'a ServiceRef> + 'a {
        self.services.iter().filter_map(move |(service, record)| {
            let mut specs = record.earlier.values().chain([&record.state.spec]);
            specs.any(|spec| spec.workload.secrets().contains(name)).then_some(service)
        })
    }

    /// May somebody join with a token? What is presented is compared in constant time, and who does not know the secret
    /// learns nothing of the token.
    ///
    /// # Errors
    /// Why not.
    pub fn check_join(&self, with: &Presented, now: Timestamp) -> Result<&JoinToken, Refusal> {
        let unknown = || {
            let message = format!(
                "join token {} is not known here: it was revoked, or is of another cluster; make a new one with \
                 `orlopctl token create`",
                with.id
            );
            Refusal::not_found("token_unknown", message)
        };
        let token = self.trust.as_ref().and_then(|trust| trust.join_tokens.get(&with.id)).ok_or_else(unknown)?;
        if !token.secret_hash.same(&with.secret_hash) {
            return Err(unknown());
        }
        let refused = |code: &str, what: String| {
            let message = format!("join token {} {what}; make a new one with `orlopctl token create`", token.id);
            Err(Refusal::precondition(code, message))
        };
        if now >= token.expires_at {
            return refused("token_expired", "has expired".into());
        }
        if token.uses_left == 0 {
            return refused("token_used_up", "was used as often as it may be".into());
        }
        if token.kind != with.kind {
            return refused("token_of_other_kind", format!("is for a {}, not for a {}", token.kind, with.kind));
        }
        match (token.node, with.node) {
            (Some(bound), Some(node)) if bound != node => {
                refused("token_of_other_node", format!("is for {bound} alone, not for {node}"))
            }
            (None, Some(node)) if self.nodes.contains_key(&node) => {
                let message = format!(
                    "{node} is known already; if it is this machine, make a token for it with `orlopctl token create \
                     --node {node}`, else give the machine an empty data directory"
                );
                Err(Refusal::conflict("node_known", message))
            }
            _ => Ok(token),
        }
    }
}

/// A join token as somebody presents it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// Which token.
    pub id: JoinTokenId,
    /// SHA-256 of the secret.
    pub secret_hash: Digest,
    /// As what one wants to join.
    pub kind: JoinKind,
    /// Which node, for a node.
    pub node: Option<NodeId>,
}
