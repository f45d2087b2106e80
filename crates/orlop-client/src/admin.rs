//! The calls about the cluster itself, with domain types.

use crate::address::Address;
use crate::calls::{Calls, calls};
use crate::credentials::Credentials;
use crate::error::Error;
use orlop_model::{ClusterId, Member, MemberId, Millis, Revision, Timestamp};
use orlop_proto::InvalidWire;
use orlop_proto::admin::v1 as pb;
use orlop_proto::metadata::STALE;
use pb::admin_service_client::AdminServiceClient;
use std::time::Duration;
use tonic::{Response, Status};

/// A connection to a control plane for whoever runs it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AdminClient {
    admin: AdminServiceClient<Calls>,
    address: Address,
}

/// The members of a cluster, as one of them knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterMembers {
    /// The cluster.
    pub cluster: ClusterId,
    /// In the order of their ids.
    pub members: Vec<MemberState>,
    /// Which one answered.
    pub answering: MemberId,
    /// Which one leads, if one does.
    pub leader: Option<MemberId>,
    /// The term of the election that it won.
    pub term: u64,
    /// What the one that answered has applied.
    pub revision: Revision,
}

/// How a member stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberState {
    /// Who it is, and where.
    pub member: Member,
    /// Does it vote?
    pub suffrage: Suffrage,
    /// The last entry of the log that it is known to have; only the leader knows.
    pub matched: Option<u64>,
    /// How long ago it answered the leader; only the leader knows.
    pub silent: Option<Millis>,
}

/// Whether a member votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suffrage {
    /// It has joined and does not run yet.
    Invited,
    /// It is being brought up to date.
    Learner,
    /// It votes.
    Voter,
}

/// What a member said of itself, or why it did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examination {
    /// Who.
    pub member: MemberId,
    /// Its name.
    pub name: String,
    /// What it said; or why it could not be asked.
    pub found: Result<Health, String>,
}

/// What a member said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// By how many milliseconds its clock is ahead of the asking member's.
    pub clock_ahead_ms: i64,
    /// How long asking took: the clock's error is half of it at most.
    pub asking: Duration,
    /// Its version.
    pub version: String,
    /// One write with a sync: the median of ten.
    pub disk_median: Duration,
    /// The slowest of the ten.
    pub disk_slowest: Duration,
    /// Free for its log, in bytes.
    pub disk_free: u64,
    /// The end of its certificate, if it has one.
    pub certificate_not_after: Option<Timestamp>,
    /// The end of the cluster's authority, if it has one.
    pub authority_not_after: Option<Timestamp>,
    /// What it has applied.
    pub revision: Revision,
    /// Whom it takes for the leader.
    pub leader: Option<MemberId>,
    /// In which term.
    pub term: u64,
    /// Why it takes no writes; empty when it does.
    pub writes_refused: String,
    /// Its memory, in bytes.
    pub resident: u64,
    /// When the newest backup was made of those that it makes by itself, if it makes any.
    pub backup: Option<Timestamp>,
    /// Why there is no newer one although it is due; empty when all is well.
    pub backup_problem: String,
}

impl AdminClient {
    /// A client of the control plane at an address, as whoever the credentials say. It dials when first used.
    ///
    /// # Errors
    /// When the credentials do not go with the address.
    pub fn new(address: Address, credentials: &Credentials) -> Result<Self, Error> {
        Ok(Self { admin: AdminServiceClient::new(calls(&address, credentials)?), address })
    }

    fn answer<T>(&self, answer: Result<Response<T>, Status>) -> Result<T, Error> {
        answer.map(Response::into_inner).map_err(|status| Error::from_status(&status, &self.address))
    }

    /// The members, as the leader knows them, or whichever member answers when there is none.
    pub async fn members(&self) -> Result<ClusterMembers, Error> {
        let mut answer = self.admin.clone().get_cluster(pb::GetClusterRequest {}).await;
        if answer.as_ref().is_err_and(|status| status.code() == tonic::Code::Unavailable) {
            let mut request = tonic::Request::new(pb::GetClusterRequest {});
            request.metadata_mut().insert(STALE, tonic::metadata::MetadataValue::from_static("true"));
            answer = self.admin.clone().get_cluster(request).await;
        }
        Ok(self.answer(answer)?.try_into()?)
    }

    /// Takes a member's vote and its certificates.
    pub async fn remove_member(&self, member: MemberId) -> Result<(), Error> {
        let request = pb::RemoveMemberRequest { member: member.0 };
        self.answer(self.admin.clone().remove_member(request).await).map(drop)
    }

    /// Hands leadership over, to the member that suits best when none is named. Says who leads and how long it took.
    pub async fn transfer_leader(&self, to: Option<MemberId>) -> Result<(MemberId, Duration), Error> {
        let request = pb::TransferLeaderRequest { member: to.map_or(0, |id| id.0) };
        let answer = self.answer(self.admin.clone().transfer_leader(request).await)?;
        Ok((MemberId(answer.leader), Duration::from_micros(answer.took_us)))
    }

    /// What every member says of itself.
    pub async fn examine(&self) -> Result<Vec<Examination>, Error> {
        let answer = self.answer(self.admin.clone().examine_cluster(pb::ExamineClusterRequest {}).await)?;
        Ok(answer.examinations.into_iter().map(Into::into).collect())
    }

    /// The state as a backup; `write` gets its bytes in order.
    pub async fn save_snapshot(&self, mut write: impl FnMut(&[u8]) -> std::io::Result<()>) -> Result<(), Error> {
        let mut chunks = self.answer(self.admin.clone().save_snapshot(pb::SaveSnapshotRequest {}).await)?;
        loop {
            match chunks.message().await {
                Ok(Some(message)) => {
                    write(&message.chunk).map_err(|e| Error::Invalid(format!("the backup cannot be written: {e}")))?;
                }
                Ok(None) => return Ok(()),
                Err(status) => return Err(Error::from_status(&status, &self.address)),
            }
        }
    }
}

impl TryFrom<pb::GetClusterResponse> for ClusterMembers {
    type Error = InvalidWire;

    fn try_from(wire: pb::GetClusterResponse) -> Result<Self, InvalidWire> {
        let cluster =
            wire.cluster.parse().map_err(|e: orlop_model::id::InvalidId| InvalidWire::new("cluster", e.to_string()))?;
        Ok(Self {
            cluster,
            members: wire.members.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            answering: MemberId(wire.answering),
            leader: Some(MemberId(wire.leader)).filter(|id| id.0 != 0),
            term: wire.term,
            revision: Revision(wire.revision),
        })
    }
}

impl TryFrom<pb::Member> for MemberState {
    type Error = InvalidWire;

    fn try_from(wire: pb::Member) -> Result<Self, InvalidWire> {
        let suffrage = match wire.suffrage() {
            pb::Suffrage::Invited => Suffrage::Invited,
            pb::Suffrage::Learner => Suffrage::Learner,
            pb::Suffrage::Voter => Suffrage::Voter,
            pb::Suffrage::Unspecified => return Err(InvalidWire::missing("suffrage")),
        };
        // One that was just removed has lost its name.
        let name = if wire.name.is_empty() { format!("member-{}", wire.id) } else { wire.name };
        let name = name.parse().map_err(|e: orlop_model::InvalidName| InvalidWire::new("name", e.to_string()))?;
        Ok(Self {
            member: Member {
                id: MemberId(wire.id),
                name,
                address: wire.address,
                added_at: Timestamp(wire.added_at_ms),
            },
            suffrage,
            matched: wire.matched,
            silent: wire.silent_ms.map(Millis),
        })
    }
}

impl From<pb::Examination> for Examination {
    fn from(wire: pb::Examination) -> Self {
        let at = |ms: u64| Some(Timestamp(ms)).filter(|at| at.0 != 0);
        let (clock_ahead_ms, asking) = (wire.clock_ahead_ms, Duration::from_micros(wire.asking_us));
        let found = wire.found.ok_or(wire.problem).map(|found| Health {
            clock_ahead_ms,
            asking,
            version: found.version,
            disk_median: Duration::from_micros(found.disk_median_us),
            disk_slowest: Duration::from_micros(found.disk_slowest_us),
            disk_free: found.disk_free_bytes,
            certificate_not_after: at(found.certificate_not_after_ms),
            authority_not_after: at(found.authority_not_after_ms),
            revision: Revision(found.revision),
            leader: Some(MemberId(found.leader)).filter(|id| id.0 != 0),
            term: found.term,
            writes_refused: found.writes_refused,
            resident: found.resident_bytes,
            backup: at(found.backup_at_ms),
            backup_problem: found.backup_problem,
        });
        Self { member: MemberId(wire.member), name: wire.name, found }
    }
}
