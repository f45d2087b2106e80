//! Secrets, sealed. A new value is a change of what its users run: they get a new workload generation, so that their
//! replicas are replaced as by a deploy. Users that have it in files only, and ask for no restart, keep their generation:
//! their nodes hear of the value, and change the files.

use super::trust;
use crate::answer::{Answer, Refusal};
use crate::command::Change;
use crate::entity::Entity;
use crate::history::of_service;
use crate::limit::{SEALED_BYTES_MAX, SECRETS_MAX};
use crate::trust::SealedSecret;
use orlop_model::trust::SecretName;
use orlop_model::{Generation, Level, ReplicaId, ServiceRef, ServiceStatus, Subject};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Gives a secret a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetSecret {
    /// Which secret.
    pub name: SecretName,
    /// Must be [`State::next_secret_version`](crate::State::next_secret_version); it is sealed with the value.
    pub version: u64,
    /// The value, sealed.
    pub sealed: Arc<[u8]>,
    /// The version of the key that sealed it.
    pub key_version: u32,
}

/// Removes a secret that nobody uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoveSecret {
    /// Which secret.
    pub name: SecretName,
}

/// Secrets are sealed with another key. Their values, and so their users, stay as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealSecretsAgain {
    /// The version of the key; it may not be lower than the one before.
    pub key_version: u32,
    /// Which secrets.
    pub secrets: Vec<ResealedSecret>,
}

/// A secret that was sealed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResealedSecret {
    /// Which secret.
    pub name: SecretName,
    /// The version of the value that was sealed. If the secret has another by now, it stays as it is.
    pub version: u64,
    /// The value, sealed.
    pub sealed: Arc<[u8]>,
}

impl SetSecret {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        let (now, next) = (change.now, change.state.next_secret_version(&self.name));
        let trust = trust(change)?;
        check_sealed(&self.sealed)?;
        if self.version != next {
            let message = format!("secret {} was changed by somebody else in between; try again", self.name);
            return Err(Refusal::conflict("secret_changed", message));
        }
        if trust.secrets.len() >= SECRETS_MAX && !trust.secrets.contains_key(&self.name) {
            let message = format!("there are {SECRETS_MAX} secrets, the most there may be; remove some first");
            return Err(Refusal::exhausted("too_many_secrets", message));
        }
        let (name, version) = (self.name, self.version);
        let secret = SealedSecret { version, sealed: self.sealed, key_version: self.key_version, changed_at: now };
        trust.secrets.insert(name.clone(), secret);
        change.tell(Level::Info, Subject::default(), "secret_set", format!("secret {name} has version {version} now"));
        update_users(change, &name);
        Ok(Answer::Done)
    }
}

/// Gives the users of a secret that cannot take a new value as they run a new workload generation, and tells nodes the value.
fn update_users(change: &mut Change<'_>, name: &SecretName) {
    let now = change.now;
    let users: Vec<ServiceRef> = change.state.users_of_secret(name).cloned().collect();
    let mut generations = BTreeMap::new();
    for service in users {
        let replicas: Vec<ReplicaId> = change.state.replicas_of(&service).map(|replica| replica.id).collect();
        let Some(record) = change.state.services.get(&service) else { continue };
        let runs = record.state.stopping.is_none();
        let workload = record.state.spec.workload.clone();
        if runs && workload.changing_files().any(|file| file.secret == *name) {
            let message = format!("{service} has secret {name} in a file, which gets the new value");
            change.tell(Level::Info, of_service(&service), "secret_changed", message);
        }
        if runs && workload.is_replaced_by(name) {
            let deployment = service.deployment.clone();
            let generation = *generations.entry(deployment.clone()).or_insert_with(|| {
                let current = change.state.generation_of(&deployment).max(change.state.generation_floor);
                Generation(current.0.saturating_add(1))
            });
            if let Some(deployment) = change.state.deployments.get_mut(&deployment) {
                deployment.generation = generation;
                deployment.changed_at = now;
            }
            let run: BTreeSet<Generation> =
                change.state.replicas_of(&service).map(|replica| replica.generation).collect();
            if let Some(record) = change.state.services.get_mut(&service) {
                record.earlier.insert(record.state.workload_generation, record.state.spec.clone());
                record.earlier.retain(|generation, _| run.contains(generation));
                record.state.generation = generation;
                record.state.workload_generation = generation;
                record.state.changed_at = now;
                record.state.status = ServiceStatus::default();
            }
            change.changed.insert(Entity::Deployment(deployment));
            change.changed.insert(Entity::Service(service.clone()));
            let message = format!("{service} uses secret {name}, which has a new value: its replicas are replaced");
            change.tell(Level::Info, of_service(&service), "secret_changed", message);
        }
        // A replica that waits for its replacement, and starts again before, does so with the value of now.
        for id in replicas {
            if let Some(replica) = change.state.replica(id).cloned() {
                change.touch(&replica);
            }
        }
    }
}

impl RemoveSecret {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        if change.state.secret(&self.name).is_none() {
            trust(change)?;
            let message = format!("there is no secret {}; `orlopctl secret ls` lists them", self.name);
            return Err(Refusal::not_found("secret_unknown", message));
        }
        if let Some(user) = change.state.users_of_secret(&self.name).next() {
            let message = format!("secret {} is used by {user}; deploy that without it, or stop it first", self.name);
            return Err(Refusal::precondition("secret_used", message));
        }
        let trust = trust(change)?;
        if let Some(secret) = trust.secrets.remove(&self.name) {
            trust.secret_version_floor = trust.secret_version_floor.max(secret.version);
        }
        change.tell(Level::Info, Subject::default(), "secret_removed", format!("secret {} was removed", self.name));
        Ok(Answer::Done)
    }
}

impl SealSecretsAgain {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        let trust = trust(change)?;
        if self.key_version < trust.secret_key_version {
            let message = format!("secrets are sealed with version {} of the key already", trust.secret_key_version);
            return Err(Refusal::conflict("key_version_passed", message));
        }
        for secret in &self.secrets {
            check_sealed(&secret.sealed)?;
        }
        trust.secret_key_version = self.key_version;
        for resealed in self.secrets {
            let known = trust.secrets.get_mut(&resealed.name);
            if let Some(secret) = known.filter(|secret| secret.version == resealed.version) {
                secret.sealed = resealed.sealed;
                secret.key_version = self.key_version;
            }
        }
        Ok(Answer::Done)
    }
}

fn check_sealed(sealed: &[u8]) -> Result<(), Refusal> {
    if sealed.is_empty() || sealed.len() > SEALED_BYTES_MAX {
        let message = format!("a sealed secret has 1 to {SEALED_BYTES_MAX} bytes, not {}", sealed.len());
        return Err(Refusal::invalid("secret_too_large", message));
    }
    Ok(())
}
