//! Who is who: joining, certificates, operators and their tokens, secrets, and the audit log.
//!
//! The table of `orlop-identity` has let the caller in before a handler runs, and a handler runs on the leader only.

mod audit;
mod convert;
mod joining;
mod operators;
mod secrets;

use crate::control::Control;
use crate::{seal, status};
use orlop_identity::{Authority, ClusterKey};
use orlop_proto::identity::v1 as pb;
use tonic::{Request, Response, Status};

pub(crate) struct Service(pub(crate) Control);

impl Service {
    fn cluster_key(&self) -> Result<&ClusterKey, Status> {
        self.0.trust.key().map_err(|problem| Status::failed_precondition(problem.to_string()))
    }

    fn authority(&self) -> Result<Authority, Status> {
        seal::open_authority(self.cluster_key()?, &self.0.machine)
    }
}

macro_rules! calls {
    ($($(#[$attribute:meta])* $name:ident: $request:ident -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl pb::identity_service_server::IdentityService for Service {
            $(
                $(#[$attribute])*
                async fn $name(&self, request: Request<pb::$request>) -> Result<Response<pb::$response>, Status> {
                    Service::$name(self, request).await.map(Response::new)
                }
            )*
        }
    };
}

calls! {
    join: JoinRequest -> JoinResponse;
    renew: RenewRequest -> RenewResponse;
    issue_role: IssueRoleRequest -> IssueRoleResponse;
    who_am_i: WhoAmIRequest -> WhoAmIResponse;
    create_join_token: CreateJoinTokenRequest -> CreateJoinTokenResponse;
    list_join_tokens: ListJoinTokensRequest -> ListJoinTokensResponse;
    revoke_join_token: RevokeJoinTokenRequest -> RevokeJoinTokenResponse;
    revoke_identity: RevokeIdentityRequest -> RevokeIdentityResponse;
    put_operator: PutOperatorRequest -> PutOperatorResponse;
    list_operators: ListOperatorsRequest -> ListOperatorsResponse;
    remove_operator: RemoveOperatorRequest -> RemoveOperatorResponse;
    issue_operator_token: IssueOperatorTokenRequest -> IssueOperatorTokenResponse;
    revoke_operator_token: RevokeOperatorTokenRequest -> RevokeOperatorTokenResponse;
    list_signing_keys: ListSigningKeysRequest -> ListSigningKeysResponse;
    rotate_signing_key: RotateSigningKeyRequest -> RotateSigningKeyResponse;
    set_secret: SetSecretRequest -> SetSecretResponse;
    list_secrets: ListSecretsRequest -> ListSecretsResponse;
    remove_secret: RemoveSecretRequest -> RemoveSecretResponse;
    rotate_secrets: RotateSecretsRequest -> RotateSecretsResponse;
    list_audit: ListAuditRequest -> ListAuditResponse;
}

/// An answer that says nothing but that the command was taken.
fn done<T: Default>((_, answer): (orlop_model::Revision, orlop_state::Answer)) -> Result<T, Status> {
    match answer {
        orlop_state::Answer::Done => Ok(T::default()),
        answer => Err(status::unexpected(&answer)),
    }
}
