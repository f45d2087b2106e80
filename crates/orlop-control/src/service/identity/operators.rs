//! Operators, their tokens, and the keys that sign these.

use super::convert::{of_operator, operator, span_or};
use super::{Service, done};
use crate::control::{Call, new_operator_token_id, now};
use crate::seal;
use crate::service::parsed;
use orlop_identity::token::Login;
use orlop_identity::token::operator::{Claims, SigningKey};
use orlop_model::{Millis, Timestamp};
use orlop_proto::InvalidWire;
use orlop_proto::identity::v1 as pb;
use orlop_state::command::{
    IssueOperatorToken, PutOperator, RemoveOperator, RevokeOperatorToken, RotateSigningKey, TrustCommand,
};
use orlop_state::{Kind, SigningKeyRecord};
use ring::rand::SystemRandom;
use tonic::{Request, Status};

/// How long a token is good, and keys overlap, when nobody says otherwise.
const LIFETIME: Millis = Millis::from_secs(30 * 86_400);

impl Service {
    pub(super) async fn put_operator(
        &self,
        request: Request<pb::PutOperatorRequest>,
    ) -> Result<pb::PutOperatorResponse, Status> {
        let call = Call::of(&request)?;
        let wire = request.into_inner().operator.ok_or_else(|| InvalidWire::missing("operator"))?;
        let put = PutOperator { operator: operator(wire)? };
        done(self.0.submit_as(&call, Kind::Trust(TrustCommand::PutOperator(put))).await?)
    }

    pub(super) async fn list_operators(
        &self,
        _request: Request<pb::ListOperatorsRequest>,
    ) -> Result<pb::ListOperatorsResponse, Status> {
        let operators = |state: &orlop_state::State| state.operators().map(|o| of_operator(&o.operator)).collect();
        Ok(pb::ListOperatorsResponse { operators: self.0.machine.read(operators) })
    }

    pub(super) async fn remove_operator(
        &self,
        request: Request<pb::RemoveOperatorRequest>,
    ) -> Result<pb::RemoveOperatorResponse, Status> {
        let call = Call::of(&request)?;
        let remove = RemoveOperator { name: parsed("name", &request.into_inner().name)? };
        done(self.0.submit_as(&call, Kind::Trust(TrustCommand::RemoveOperator(remove))).await?)
    }

    pub(super) async fn issue_operator_token(
        &self,
        request: Request<pb::IssueOperatorTokenRequest>,
    ) -> Result<pb::IssueOperatorTokenResponse, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let issued_at = Timestamp(now().0 / 1000 * 1000);
        let claims = Claims {
            operator: parsed("operator", &request.operator)?,
            token: new_operator_token_id(&call),
            issued_at,
            expires_at: issued_at + span_or(request.lifetime_ms, LIFETIME),
        };
        let issue = IssueOperatorToken {
            operator: claims.operator.clone(),
            token: claims.token,
            expires_at: claims.expires_at,
        };
        // Recorded before it is made: there is no token that the audit log does not know.
        done::<()>(self.0.submit_as(&call, Kind::Trust(TrustCommand::IssueOperatorToken(issue))).await?)?;
        let cluster_key = self.cluster_key()?;
        let (key, cluster) = self.0.machine.read(|state| (seal::open_signing_key(cluster_key, state), state.cluster()));
        let token = key?.sign(cluster.ok_or_else(seal::no_identities)?, &claims);
        let fingerprint = self.authority()?.certificate().fingerprint();
        Ok(pb::IssueOperatorTokenResponse {
            login: Login { fingerprint, token }.to_string(),
            id: claims.token.to_string(),
            expires_at_ms: claims.expires_at.0,
        })
    }

    pub(super) async fn revoke_operator_token(
        &self,
        request: Request<pb::RevokeOperatorTokenRequest>,
    ) -> Result<pb::RevokeOperatorTokenResponse, Status> {
        let call = Call::of(&request)?;
        let revoke = RevokeOperatorToken { token: parsed("id", &request.into_inner().id)? };
        done(self.0.submit_as(&call, Kind::Trust(TrustCommand::RevokeOperatorToken(revoke))).await?)
    }

    pub(super) async fn list_signing_keys(
        &self,
        _request: Request<pb::ListSigningKeysRequest>,
    ) -> Result<pb::ListSigningKeysResponse, Status> {
        let at = now();
        let keys = self.0.machine.read(|state| {
            let good = state.signing_keys().filter(|key| key.retires_at.is_none_or(|retires| at < retires));
            good.map(of_key).collect()
        });
        Ok(pb::ListSigningKeysResponse { keys })
    }

    pub(super) async fn rotate_signing_key(
        &self,
        request: Request<pb::RotateSigningKeyRequest>,
    ) -> Result<pb::RotateSigningKeyResponse, Status> {
        let call = Call::of(&request)?;
        let overlap = request.into_inner().overlap_ms.map_or(LIFETIME, Millis);
        let random = SystemRandom::new();
        let key = SigningKey::generate(&random).map_err(|e| Status::internal(e.to_string()))?;
        let key = seal::signing_key(self.cluster_key()?, &key, &random);
        let key = key.map_err(|e| Status::internal(e.to_string()))?;
        let rotate = TrustCommand::RotateSigningKey(RotateSigningKey { key, overlap });
        done::<()>(self.0.submit_as(&call, Kind::Trust(rotate)).await?)?;
        let key = self.0.machine.read(|state| state.signing_keys().next().map(of_key));
        Ok(pb::RotateSigningKeyResponse { key })
    }
}

fn of_key(record: &SigningKeyRecord) -> pb::SigningKey {
    pb::SigningKey {
        id: record.id().to_string(),
        added_at_ms: record.added_at.0,
        retires_at_ms: record.retires_at.map_or(0, |at| at.0),
    }
}
