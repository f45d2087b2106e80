//! Secrets. A value is sealed before it becomes a command, and never leaves but to nodes that need it.

use super::{Service, done};
use crate::control::Call;
use crate::seal;
use crate::service::parsed;
use orlop_model::trust::{SECRET_BYTES_MAX, SecretName};
use orlop_proto::identity::v1 as pb;
use orlop_state::command::{RemoveSecret, ResealedSecret, SealSecretsAgain, SetSecret, TrustCommand};
use orlop_state::{Kind, SealedSecret};
use ring::rand::SystemRandom;
use tonic::{Request, Status};

/// About how many bytes of secrets are sealed again in one command.
const RESEALED_BYTES_MAX: usize = 1 << 20;

impl Service {
    pub(super) async fn set_secret(
        &self,
        request: Request<pb::SetSecretRequest>,
    ) -> Result<pb::SetSecretResponse, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let name: SecretName = parsed("name", &request.name)?;
        if !(1..=SECRET_BYTES_MAX).contains(&request.value.len()) {
            let length = request.value.len();
            return Err(Status::invalid_argument(format!(
                "the value of secret {name} has {length} bytes; 1 to {SECRET_BYTES_MAX} are taken"
            )));
        }
        let (version, key_version) =
            self.0.machine.read(|state| (state.next_secret_version(&name), state.secret_key_version()));
        let key = self.cluster_key()?;
        let sealed = seal::secret(key, &name, version, key_version, &request.value, &SystemRandom::new());
        let sealed = sealed.map_err(|e| Status::internal(e.to_string()))?;
        let set = TrustCommand::SetSecret(SetSecret { name: name.clone(), version, sealed, key_version });
        done::<()>(self.0.submit_as(&call, Kind::Trust(set)).await?)?;
        // Of a repeated request, the version that the first one made.
        let version = self.0.machine.read(|state| state.secret(&name).map_or(version, |secret| secret.version));
        Ok(pb::SetSecretResponse { version })
    }

    pub(super) async fn list_secrets(
        &self,
        _request: Request<pb::ListSecretsRequest>,
    ) -> Result<pb::ListSecretsResponse, Status> {
        let secrets = self.0.machine.read(|state| {
            let secret = |(name, secret): (&SecretName, &SealedSecret)| pb::Secret {
                name: name.to_string(),
                version: secret.version,
                changed_at_ms: secret.changed_at.0,
                key_version: secret.key_version,
                users: state.users_of_secret(name).map(ToString::to_string).collect(),
            };
            state.secrets().map(secret).collect()
        });
        Ok(pb::ListSecretsResponse { secrets })
    }

    pub(super) async fn remove_secret(
        &self,
        request: Request<pb::RemoveSecretRequest>,
    ) -> Result<pb::RemoveSecretResponse, Status> {
        let call = Call::of(&request)?;
        let remove = RemoveSecret { name: parsed("name", &request.into_inner().name)? };
        done(self.0.submit_as(&call, Kind::Trust(TrustCommand::RemoveSecret(remove))).await?)
    }

    pub(super) async fn rotate_secrets(
        &self,
        request: Request<pb::RotateSecretsRequest>,
    ) -> Result<pb::RotateSecretsResponse, Status> {
        // Several commands, each of which may come twice without harm.
        let call = Call { request: None, ..Call::of(&request)? };
        let cluster_key = self.cluster_key()?;
        let key_version = self.0.machine.read(|state| state.secret_key_version()).saturating_add(1);
        let mut sealed_again = 0;
        loop {
            let older = self.0.machine.read(|state| {
                let mut bytes = 0;
                let older = state.secrets().filter(|(_, secret)| secret.key_version < key_version);
                let part = older.take_while(|(_, secret)| {
                    let first = bytes == 0;
                    bytes += secret.sealed.len();
                    first || bytes <= RESEALED_BYTES_MAX
                });
                part.map(|(name, secret)| (name.clone(), secret.clone())).collect::<Vec<_>>()
            });
            let (count, mut secrets) = (older.len(), Vec::with_capacity(older.len()));
            for (name, secret) in older {
                let value = seal::open_secret(cluster_key, &name, &secret)?;
                let sealed =
                    seal::secret(cluster_key, &name, secret.version, key_version, &value.0, &SystemRandom::new());
                let sealed = sealed.map_err(|e| Status::internal(e.to_string()))?;
                secrets.push(ResealedSecret { name, version: secret.version, sealed });
            }
            if count > 0 || sealed_again == 0 {
                let again = TrustCommand::SealSecretsAgain(SealSecretsAgain { key_version, secrets });
                done::<()>(self.0.submit_as(&call, Kind::Trust(again)).await?)?;
            }
            sealed_again += count;
            if count == 0 {
                let secrets = u32::try_from(sealed_again).unwrap_or(u32::MAX);
                return Ok(pb::RotateSecretsResponse { key_version, secrets });
            }
        }
    }
}
