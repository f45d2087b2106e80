//! Joining, and certificates.

use super::convert::{addresses, join_kind, of_operator, of_token, span_or};
use super::{Service, done};
use crate::control::{Call, now};
use crate::service::{parsed, parsed_if_set};
use crate::status;
use orlop_client::HostPort;
use orlop_identity::authority::{Addresses, AuthorityError, PublicKey};
use orlop_identity::token::JoinToken;
use orlop_identity::{Authority, Caller, Identity, PeerCertificate, ProgramRole};
use orlop_model::trust::{self, CERTIFICATE_LIFETIME, JoinKind, Operator};
use orlop_model::{Member, Millis, NodeId, Timestamp};
use orlop_proto::identity::v1 as pb;
use orlop_state::command::{
    AddMember, CreateJoinToken, Joins, RevokeIdentity, RevokeJoinToken, TrustCommand, UseJoinToken,
};
use orlop_state::{Answer, Kind, Presented, Refusal};
use ring::rand::SystemRandom;
use std::time::Duration;
use tonic::{Request, Status};

/// How long a join token is good when nobody says otherwise.
const TOKEN_LIFETIME: Millis = Millis::from_secs(3600);
/// How long a join waits at most for the second to end in which earlier certificates were revoked.
const REVOCATION_WAIT: Duration = Duration::from_secs(3);

impl Service {
    pub(super) async fn join(&self, request: Request<pb::JoinRequest>) -> Result<pb::JoinResponse, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let token: JoinToken = request.token.parse().map_err(|e| unauthenticated(&e))?;
        let authority = self.authority()?;
        if authority.certificate().fingerprint() != token.fingerprint {
            return Err(Status::unauthenticated(
                "the token is of another cluster, or of this one before it was made anew; make a new one here with \
                 `orlopctl token create`",
            ));
        }
        let key = PublicKey::of_request(&request.certificate_request).map_err(|e| invalid(&e))?;
        let (joins, addresses) = match token.kind {
            JoinKind::Node => (Joins::Node(parsed("node", &request.node)?), Addresses::default()),
            JoinKind::Member => {
                let _: HostPort = parsed("member_address", &request.member_address)?;
                let name = parsed("member_name", &request.member_name)?;
                let member = AddMember { id: None, name, address: request.member_address.clone() };
                (Joins::Member(member), with_loopback(addresses(&request.addresses)?))
            }
        };
        // Looked at before it becomes a command: who has no good token writes nothing to the log.
        let node = match &joins {
            Joins::Node(node) => Some(*node),
            Joins::Member(_) => None,
        };
        let presented = Presented { id: token.id, secret_hash: token.secret_hash(), kind: token.kind, node };
        self.0.machine.read(|state| state.check_join(&presented, now()).map(drop)).map_err(of_join)?;
        let cluster = authority.certificate().cluster();
        if let Some(node) = node {
            self.outlast_revocation(Identity::Node { cluster, node }).await?;
        }
        let using = UseJoinToken { id: token.id, secret_hash: token.secret_hash(), joins };
        let (_, answer) = self.0.submit_as(&call, Kind::Trust(TrustCommand::UseJoinToken(using))).await?;
        let identity = match (answer, node) {
            (Answer::Done, Some(node)) => Identity::Node { cluster, node },
            (Answer::MemberAdded { member }, None) => Identity::Member { cluster, member },
            (answer, _) => return Err(status::unexpected(&answer)),
        };
        let cluster_key = match identity {
            Identity::Member { .. } => self.cluster_key()?.bytes().to_vec(),
            Identity::Node { .. } | Identity::Role { .. } => Vec::new(),
        };
        let certificate = Some(certify(&authority, &key, identity, &addresses)?);
        Ok(pb::JoinResponse { certificate, cluster_key, members: self.members() })
    }

    pub(super) async fn renew(&self, request: Request<pb::RenewRequest>) -> Result<pb::RenewResponse, Status> {
        let Caller::Certificate(shown) = Call::of(&request)?.caller else {
            return Err(Status::permission_denied("only who has a certificate renews it"));
        };
        let request = request.into_inner();
        let key = PublicKey::of_request(&request.certificate_request).map_err(|e| invalid(&e))?;
        let certificate = Some(certify(&self.authority()?, &key, shown.identity, &Addresses::default())?);
        // It may have been revoked since the call came in.
        self.0.trust.check(&shown)?;
        Ok(pb::RenewResponse { certificate, members: self.members() })
    }

    pub(super) async fn issue_role(
        &self,
        request: Request<pb::IssueRoleRequest>,
    ) -> Result<pb::IssueRoleResponse, Status> {
        let request = request.into_inner();
        let role = match pb::ProgramRole::try_from(request.role) {
            Ok(pb::ProgramRole::Scheduler) => ProgramRole::Scheduler,
            Ok(pb::ProgramRole::Unspecified) | Err(_) => {
                return Err(Status::invalid_argument(format!("role: found {}, which is none", request.role)));
            }
        };
        let key = PublicKey::of_request(&request.certificate_request).map_err(|e| invalid(&e))?;
        let authority = self.authority()?;
        let identity = Identity::Role { cluster: authority.certificate().cluster(), role };
        let certificate = Some(certify(&authority, &key, identity, &Addresses::default())?);
        Ok(pb::IssueRoleResponse { certificate })
    }

    pub(super) async fn who_am_i(&self, request: Request<pb::WhoAmIRequest>) -> Result<pb::WhoAmIResponse, Status> {
        let caller = Call::of(&request)?.caller;
        let (cluster, authority) =
            self.0.machine.read(|state| (state.cluster(), state.authority().map(|a| a.certificate.to_vec())));
        let operator = match &caller {
            Caller::Operator(known) => Some(of_operator(&Operator {
                name: known.name.clone(),
                role: known.role,
                deployments: known.deployments.clone(),
            })),
            _ => None,
        };
        let cluster = cluster.map(|id| id.to_string()).unwrap_or_default();
        Ok(pb::WhoAmIResponse { caller: caller.text(), cluster, operator, authority: authority.unwrap_or_default() })
    }

    pub(super) async fn create_join_token(
        &self,
        request: Request<pb::CreateJoinTokenRequest>,
    ) -> Result<pb::CreateJoinTokenResponse, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let kind = join_kind(request.kind)?;
        let node: Option<NodeId> = parsed_if_set("node", &request.node)?;
        let fingerprint = self.authority()?.certificate().fingerprint();
        let token = JoinToken::make(kind, fingerprint, &SystemRandom::new()).map_err(|e| internal(&e))?;
        let at = now();
        let stored = trust::JoinToken {
            id: token.id,
            kind,
            secret_hash: token.secret_hash(),
            uses_left: request.uses.max(1),
            created_at: at,
            expires_at: at + span_or(request.lifetime_ms, TOKEN_LIFETIME),
            node,
        };
        let create = TrustCommand::CreateJoinToken(CreateJoinToken { token: stored.clone() });
        done::<()>(self.0.submit_as(&call, Kind::Trust(create)).await?)?;
        // A repeated request is answered as the first one was, which made another token that nobody has seen.
        if call.request.is_some() && self.0.machine.read(|state| state.join_tokens().all(|known| known.id != token.id))
        {
            return Err(Status::aborted("the token was made by a call before, whose answer was lost; make another"));
        }
        Ok(pb::CreateJoinTokenResponse { token: token.to_string(), stored: Some(of_token(&stored)) })
    }

    pub(super) async fn list_join_tokens(
        &self,
        _request: Request<pb::ListJoinTokensRequest>,
    ) -> Result<pb::ListJoinTokensResponse, Status> {
        let tokens = self.0.machine.read(|state| state.join_tokens().map(of_token).collect());
        Ok(pb::ListJoinTokensResponse { tokens })
    }

    pub(super) async fn revoke_join_token(
        &self,
        request: Request<pb::RevokeJoinTokenRequest>,
    ) -> Result<pb::RevokeJoinTokenResponse, Status> {
        let call = Call::of(&request)?;
        let revoke = RevokeJoinToken { id: parsed("id", &request.into_inner().id)? };
        done(self.0.submit_as(&call, Kind::Trust(TrustCommand::RevokeJoinToken(revoke))).await?)
    }

    pub(super) async fn revoke_identity(
        &self,
        request: Request<pb::RevokeIdentityRequest>,
    ) -> Result<pb::RevokeIdentityResponse, Status> {
        let call = Call::of(&request)?;
        let identity: Identity = parsed("identity", &request.into_inner().identity)?;
        let own = self.0.machine.read(|state| state.cluster());
        if own != Some(identity.cluster()) {
            return Err(Status::invalid_argument(format!("{identity} is of another cluster")));
        }
        let revoke = RevokeIdentity { identity: identity.to_string() };
        done(self.0.submit_as(&call, Kind::Trust(TrustCommand::RevokeIdentity(revoke))).await?)
    }

    /// Waits until a new certificate of an identity is good. They know whole seconds only, and in the one in which the
    /// earlier ones were revoked none is.
    async fn outlast_revocation(&self, identity: Identity) -> Result<(), Status> {
        let text = identity.to_string();
        let begun = tokio::time::Instant::now();
        while self.0.machine.read(|state| state.is_revoked(&text, Timestamp(now().0 / 1000 * 1000))) {
            if begun.elapsed() > REVOCATION_WAIT {
                return Err(Status::unavailable(format!(
                    "{identity} was revoked at a time that is still to come by this member's clock; compare the clocks of \
                     the members with `orlopctl cluster doctor`"
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Where the members are.
    fn members(&self) -> Vec<String> {
        // One that nobody reaches has no address that can be read.
        let reached = |member: &Member| Some(member.address.parse::<HostPort>().ok()?.to_string());
        self.0.machine.read(|state| state.members().filter_map(reached).collect())
    }
}

fn certify(
    authority: &Authority,
    key: &PublicKey,
    identity: Identity,
    addresses: &Addresses,
) -> Result<pb::Certificate, Status> {
    let issued = authority.issue(key, identity, addresses, CERTIFICATE_LIFETIME, now(), &SystemRandom::new());
    let leaf = issued.map_err(|e| match e {
        AuthorityError::Name(_) => invalid(&e),
        _ => internal(&e),
    })?;
    let read = PeerCertificate::read(&leaf).map_err(|e| internal(&e))?;
    Ok(pb::Certificate {
        certificate: leaf.to_vec(),
        authority: authority.certificate().der().to_vec(),
        identity: identity.to_string(),
        not_after_ms: read.not_after.0,
    })
}

/// A member is dialled on its own machine too.
fn with_loopback(mut addresses: Addresses) -> Addresses {
    addresses.ips.push([127, 0, 0, 1].into());
    addresses.names.push("localhost".into());
    addresses
}

/// A token that is not good leaves the caller unknown.
fn of_join(refusal: Refusal) -> Status {
    if refusal.reason.code.starts_with("token_") {
        return Status::unauthenticated(refusal.reason.message);
    }
    status::of_refusal(refusal)
}

fn unauthenticated(problem: &dyn std::fmt::Display) -> Status {
    Status::unauthenticated(problem.to_string())
}

fn invalid(problem: &dyn std::fmt::Display) -> Status {
    Status::invalid_argument(problem.to_string())
}

fn internal(problem: &dyn std::fmt::Display) -> Status {
    Status::internal(problem.to_string())
}
