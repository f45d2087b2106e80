//! What the state keeps sealed, opened with this member's copy of the cluster's key.

use crate::machine::Machine;
use orlop_identity::NoRandomness;
use orlop_identity::authority::{Authority, AuthorityCertificate, PrivateKey};
use orlop_identity::seal::{ClusterKey, Purpose, Subject};
use orlop_identity::token::operator::SigningKey;
use orlop_model::trust::{SecretName, SecretValue};
use orlop_state::{SealedSecret, SigningKeyPair, State};
use ring::rand::SecureRandom;
use std::sync::Arc;
use tonic::Status;

/// The version of the key that seals the authority's key and the signing keys; they are never sealed again.
const KEY_VERSION: u32 = 1;

fn of_authority(fingerprint: &str) -> Subject<'_> {
    Subject { purpose: Purpose::Authority, name: fingerprint, version: 1 }
}

fn of_signing_key(id: &str) -> Subject<'_> {
    Subject { purpose: Purpose::Signing, name: id, version: 1 }
}

fn of_secret(name: &SecretName, version: u64) -> Subject<'_> {
    Subject { purpose: Purpose::Secret, name: name.as_str(), version }
}

/// Seals the authority's key.
pub(crate) fn authority(
    cluster_key: &ClusterKey,
    certificate: &AuthorityCertificate,
    key: &PrivateKey,
    random: &dyn SecureRandom,
) -> Result<Arc<[u8]>, NoRandomness> {
    let fingerprint = certificate.fingerprint().to_string();
    Ok(cluster_key.seal(of_authority(&fingerprint), KEY_VERSION, key.der(), random)?.into())
}

/// Seals a signing key.
pub(crate) fn signing_key(
    cluster_key: &ClusterKey,
    key: &SigningKey,
    random: &dyn SecureRandom,
) -> Result<SigningKeyPair, NoRandomness> {
    let public = key.public();
    let sealed = cluster_key.seal(of_signing_key(&public.id().to_string()), KEY_VERSION, key.seed(), random)?;
    Ok(SigningKeyPair { public_key: public.0, sealed: sealed.into() })
}

/// Seals the value of a secret.
pub(crate) fn secret(
    cluster_key: &ClusterKey,
    name: &SecretName,
    version: u64,
    key_version: u32,
    value: &[u8],
    random: &dyn SecureRandom,
) -> Result<Arc<[u8]>, NoRandomness> {
    Ok(cluster_key.seal(of_secret(name, version), key_version, value, random)?.into())
}

/// Opens a secret.
pub(crate) fn open_secret(
    cluster_key: &ClusterKey,
    name: &SecretName,
    secret: &SealedSecret,
) -> Result<SecretValue, Status> {
    let opened = cluster_key.open(of_secret(name, secret.version), &secret.sealed);
    opened.map(|value| SecretValue(value.into())).map_err(damaged)
}

/// The cluster's authority, with its key.
pub(crate) fn open_authority(cluster_key: &ClusterKey, machine: &Machine) -> Result<Authority, Status> {
    let sealed = machine.read(|state| state.authority().cloned()).ok_or_else(no_identities)?;
    let certificate = AuthorityCertificate::read(&sealed.certificate.to_vec().into()).map_err(damaged)?;
    let fingerprint = certificate.fingerprint().to_string();
    let key = cluster_key.open(of_authority(&fingerprint), &sealed.key).map_err(damaged)?;
    Authority::restore(certificate.der(), PrivateKey::read(&key).map_err(damaged)?).map_err(damaged)
}

/// The key that signs operators' tokens now.
pub(crate) fn open_signing_key(cluster_key: &ClusterKey, state: &State) -> Result<SigningKey, Status> {
    let newest = state.signing_keys().next().ok_or_else(no_identities)?;
    let seed = cluster_key.open(of_signing_key(&newest.id().to_string()), &newest.key.sealed).map_err(damaged)?;
    let seed = seed.try_into().map_err(|_| damaged("a signing key has not 32 bytes"))?;
    SigningKey::from_seed(seed).map_err(damaged)
}

fn damaged(problem: impl std::fmt::Display) -> Status {
    Status::internal(problem.to_string())
}

pub(crate) fn no_identities() -> Status {
    Status::failed_precondition("the cluster has no identities: make a new one with `control-plane init`")
}
