//! The cluster itself: members, backups, health.

use crate::control::{Call, Control};
use crate::handover::best_successor;
use crate::service::{Answers, parsed};
use crate::status;
use orlop_client::HostPort;
use orlop_consensus::{MemberInfo, Suffrage};
use orlop_identity::{Caller, Identity};
use orlop_model::{Member, MemberId};
use orlop_proto::admin::v1 as pb;
use orlop_state::Kind;
use orlop_state::command::{MoveMember, RemoveMember};
use std::collections::BTreeMap;
use tonic::{Request, Response, Status};

pub(crate) struct Service(pub(crate) Control);

#[tonic::async_trait]
impl pb::admin_service_server::AdminService for Service {
    type SaveSnapshotStream = Answers<pb::SaveSnapshotResponse>;

    async fn get_cluster(
        &self,
        request: Request<pb::GetClusterRequest>,
    ) -> Result<Response<pb::GetClusterResponse>, Status> {
        self.0.catch_up(&request).await?;
        let stand = self.0.consensus.status();
        // A leader that lost sight of its majority leads nobody.
        let leader = self.0.consensus.leadership().borrow().leader;
        let (cluster, named) = self.0.machine.read(|state| {
            let members: Vec<Member> = state.members().cloned().collect();
            (state.cluster(), members)
        });
        let mut known: BTreeMap<u64, MemberInfo> =
            self.0.consensus.members().into_iter().map(|member| (member.id, member)).collect();
        let mut members: Vec<pb::Member> =
            named.into_iter().map(|member| of_member(&member, known.remove(&member.id.0))).collect();
        // A member that was just removed may still vote.
        members.extend(known.into_values().map(of_unnamed));
        Ok(Response::new(pb::GetClusterResponse {
            cluster: cluster.map(|id| id.to_string()).unwrap_or_default(),
            members,
            answering: stand.member,
            leader: leader.unwrap_or(0),
            term: stand.term,
            revision: stand.applied,
        }))
    }

    async fn enroll_member(
        &self,
        request: Request<pb::EnrollMemberRequest>,
    ) -> Result<Response<pb::EnrollMemberResponse>, Status> {
        let call = Call::of(&request)?;
        let id = match &call.caller {
            Caller::Certificate(found) => match found.identity {
                Identity::Member { member, .. } => member,
                _ => return Err(Status::permission_denied("only a member enrolls, and only itself")),
            },
            _ => return Err(Status::permission_denied("only a member enrolls, and only itself")),
        };
        let address = request.into_inner().address;
        let _: HostPort = parsed("address", &address)?;
        self.0.submit_as(&call, Kind::MoveMember(MoveMember { id, address: address.clone() })).await?;
        let known = self.0.consensus.members().into_iter().find(|member| member.id == id.0);
        match &known {
            Some(member) if member.suffrage == Suffrage::Voter && member.address == address => {
                return Ok(Response::new(pb::EnrollMemberResponse { suffrage: pb::Suffrage::Voter.into() }));
            }
            Some(member) if member.address != address => {
                self.0.consensus.change_address(id.0, &address).await.map_err(status::of_membership)?;
            }
            Some(_) => {}
            None => self.0.consensus.add_learner(id.0, &address).await.map_err(status::of_membership)?,
        }
        self.0.consensus.promote(id.0).await.map_err(status::of_membership)?;
        Ok(Response::new(pb::EnrollMemberResponse { suffrage: pb::Suffrage::Voter.into() }))
    }

    async fn remove_member(
        &self,
        request: Request<pb::RemoveMemberRequest>,
    ) -> Result<Response<pb::RemoveMemberResponse>, Status> {
        let call = Call::of(&request)?;
        let member = request.into_inner().member;
        let id = MemberId(member);
        let known = self.0.consensus.members();
        if self.0.machine.read(|state| state.member(id).is_none()) && known.iter().all(|m| m.id != member) {
            return Err(Status::not_found(format!(
                "there is no member {member}; `orlopctl cluster members` lists them"
            )));
        }
        if self.0.machine.read(|state| state.members().all(|known| known.id == id)) {
            return Err(Status::failed_precondition(format!(
                "member {member} is the last one; a cluster without members is none"
            )));
        }
        if known.iter().any(|m| m.id == member) {
            self.0.consensus.remove(member).await.map_err(status::of_membership)?;
        }
        if self.0.machine.read(|state| state.member(id).is_some()) {
            self.0.submit_as(&call, Kind::RemoveMember(RemoveMember { id })).await?;
        }
        Ok(Response::new(pb::RemoveMemberResponse {}))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        let member = request.into_inner().member;
        let own = self.0.consensus.status().member;
        let to = match member {
            0 => best_successor(&self.0.consensus.members(), own)
                .ok_or_else(|| Status::failed_precondition("there is no other member that could lead"))?,
            member => member,
        };
        let begun = std::time::Instant::now();
        self.0.consensus.transfer_leadership(to).await.map_err(status::of_membership)?;
        let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(Response::new(pb::TransferLeaderResponse { leader: to, took_us }))
    }

    async fn save_snapshot(
        &self,
        _request: Request<pb::SaveSnapshotRequest>,
    ) -> Result<Response<Self::SaveSnapshotStream>, Status> {
        Ok(Response::new(self.0.save_snapshot()?))
    }

    async fn examine_cluster(
        &self,
        _request: Request<pb::ExamineClusterRequest>,
    ) -> Result<Response<pb::ExamineClusterResponse>, Status> {
        Ok(Response::new(pb::ExamineClusterResponse { examinations: self.0.examine_cluster().await }))
    }

    async fn examine(&self, _request: Request<pb::ExamineRequest>) -> Result<Response<pb::ExamineResponse>, Status> {
        Ok(Response::new(self.0.examine().await?))
    }
}

fn of_member(member: &Member, known: Option<MemberInfo>) -> pb::Member {
    let mut wire = match known {
        Some(known) => of_unnamed(known),
        None => pb::Member { suffrage: pb::Suffrage::Invited.into(), ..pb::Member::default() },
    };
    wire.id = member.id.0;
    wire.name = member.name.to_string();
    wire.added_at_ms = member.added_at.0;
    if wire.address.is_empty() {
        wire.address = member.address.clone();
    }
    wire
}

fn of_unnamed(known: MemberInfo) -> pb::Member {
    let suffrage = match known.suffrage {
        Suffrage::Voter => pb::Suffrage::Voter,
        Suffrage::Learner => pb::Suffrage::Learner,
    };
    pb::Member {
        id: known.id,
        name: String::new(),
        address: known.address,
        suffrage: suffrage.into(),
        matched: known.matched,
        silent_ms: known.answered.map(|silent| u64::try_from(silent.as_millis()).unwrap_or(u64::MAX)),
        added_at_ms: 0,
    }
}
