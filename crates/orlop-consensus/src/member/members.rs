//! The members: who they are, and their changes, one at a time.

use super::Member;
use crate::MembersError;
use openraft::async_runtime::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::impls::BasicNode;
use openraft::{ChangeMembers, TokioInstant};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// A member may vote when at most so many entries are not yet there: the rest comes while the change is written.
const CAUGHT_UP: u64 = 100;

/// How often it is looked whether a member answers.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Whether a member votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suffrage {
    /// It votes, and counts for the majority.
    Voter,
    /// It only learns.
    Learner,
}

/// A member, as this one knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberInfo {
    /// Its number.
    pub id: u64,
    /// Where it is reached.
    pub address: String,
    /// Whether it votes.
    pub suffrage: Suffrage,
    /// The index up to which its log is that of the leader; known to the leader only.
    pub matched: Option<u64>,
    /// How long ago it answered the leader; known to the leader only, and none when it never did in this term.
    pub answered: Option<Duration>,
}

impl Member {
    pub(crate) fn members(&self) -> Vec<MemberInfo> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let info = |(id, node): (&u64, &BasicNode)| {
            let own = *id == self.id();
            let matched = metrics.replication.as_ref().map(|replication| match own {
                true => metrics.last_log_index.unwrap_or(0),
                false => replication.get(id).copied().flatten().map_or(0, |matched| matched.index()),
            });
            let answered = metrics.heartbeat.as_ref().and_then(|heartbeat| match own {
                true => Some(Duration::ZERO),
                false => heartbeat.get(id).copied().flatten().map(|at| TokioInstant::now() - *at),
            });
            let suffrage = if voters.contains(id) { Suffrage::Voter } else { Suffrage::Learner };
            MemberInfo { id: *id, address: node.addr.clone(), suffrage, matched, answered }
        };
        membership.nodes().map(info).collect()
    }

    pub(super) fn address_of(&self, member: u64) -> Option<String> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().get_node(&member).map(|node| node.addr.clone())
    }

    fn find(&self, member: u64) -> Result<MemberInfo, MembersError> {
        let found = self.members().into_iter().find(|info| info.id == member);
        found.ok_or(MembersError::NoSuchMember { member })
    }

    /// Fails early where only the leader can answer; that it leads is confirmed by the change itself.
    fn must_lead(&self) -> Result<(), MembersError> {
        if self.raft.is_leader() { Ok(()) } else { Err(MembersError::NotLeader { leader: self.status().leader }) }
    }

    /// A leader that removes itself leads on until that is done and the others know. The protocol does not survive that it
    /// makes another change meanwhile.
    fn must_lead_on(&self) -> Result<(), MembersError> {
        self.must_lead()?;
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let wanted = metrics.membership_config.membership().get_joint_config().last();
        match wanted.is_some_and(|voters| voters.contains(&self.id())) {
            true => Ok(()),
            false => Err(MembersError::NotLeader { leader: None }),
        }
    }

    pub(crate) async fn add_learner(&self, member: u64, address: &str) -> Result<(), MembersError> {
        self.must_lead_on()?;
        if let Ok(MemberInfo { address, .. }) = self.find(member) {
            return Err(MembersError::Exists { member, address });
        }
        let node = BasicNode { addr: address.to_owned() };
        self.change(ChangeMembers::AddNodes(BTreeMap::from([(member, node)]))).await
    }

    pub(crate) async fn promote(&self, member: u64) -> Result<(), MembersError> {
        self.must_lead_on()?;
        if self.find(member)?.suffrage == Suffrage::Voter {
            return Ok(());
        }
        self.wait_caught_up(member).await?;
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([member]))).await
    }

    async fn wait_caught_up(&self, member: u64) -> Result<(), MembersError> {
        let mut metrics = self.raft.metrics();
        let caught_up = async {
            loop {
                self.must_lead_on()?;
                let matched = self.find(member)?.matched.unwrap_or(0);
                let last = metrics.borrow_and_update().last_log_index.unwrap_or(0);
                if matched > 0 && matched + CAUGHT_UP >= last {
                    return Ok(());
                }
                if metrics.changed().await.is_err() {
                    return Err(MembersError::ShuttingDown);
                }
            }
        };
        let waited = self.options.catch_up_wait;
        timeout(waited, caught_up).await.unwrap_or_else(|_| {
            let matched = self.find(member)?.matched.unwrap_or(0);
            let last = self.raft.metrics().borrow_watched().last_log_index.unwrap_or(0);
            Err(MembersError::Behind { member, waited, matched, last })
        })
    }

    pub(crate) async fn remove(&self, member: u64) -> Result<(), MembersError> {
        if member == self.id() { self.must_lead() } else { self.must_lead_on() }?;
        let only = BTreeSet::from([member]);
        if self.find(member)?.suffrage == Suffrage::Learner {
            return self.change(ChangeMembers::RemoveNodes(only)).await;
        }
        let rest: Vec<MemberInfo> =
            self.members().into_iter().filter(|info| info.suffrage == Suffrage::Voter && info.id != member).collect();
        let lately = self.options.election_timeout * 2;
        let answering = rest.iter().filter(|info| info.answered.is_some_and(|age| age <= lately)).count();
        if answering * 2 <= rest.len() {
            return Err(MembersError::NoMajority { member, answering, voters: rest.len() });
        }
        self.change(ChangeMembers::RemoveVoters(only)).await
    }

    pub(crate) async fn change_address(&self, member: u64, address: &str) -> Result<(), MembersError> {
        self.must_lead_on()?;
        self.find(member)?;
        let node = BasicNode { addr: address.to_owned() };
        self.change(ChangeMembers::SetNodes(BTreeMap::from([(member, node)]))).await
    }

    pub(crate) async fn transfer_leadership(&self, to: u64) -> Result<(), MembersError> {
        self.must_lead()?;
        if to == self.id() {
            return Ok(());
        }
        if self.find(to)?.suffrage != Suffrage::Voter {
            return Err(MembersError::NotVoter { member: to });
        }
        let waited = self.options.election_timeout * 2;
        // Once it is asked, this member takes no more commands: it must be there.
        let answers = async {
            while self.find(to)?.answered.is_none_or(|age| age > self.options.election_timeout) {
                sleep(LOOK_AGAIN).await;
            }
            Ok(())
        };
        timeout(waited, answers).await.unwrap_or(Err(MembersError::NotTaken { member: to, waited }))?;
        let mut metrics = self.raft.metrics();
        let triggered = self.raft.trigger().transfer_leader(to).await;
        triggered.map_err(|_| MembersError::ShuttingDown)?;
        let taken = async {
            while metrics.borrow_and_update().current_leader != Some(to) {
                if metrics.changed().await.is_err() {
                    return Err(MembersError::ShuttingDown);
                }
            }
            Ok(())
        };
        timeout(waited, taken).await.unwrap_or(Err(MembersError::NotTaken { member: to, waited }))
    }

    async fn change(&self, change: ChangeMembers<u64, BasicNode>) -> Result<(), MembersError> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(MembersError::ShuttingDown);
        }
        let deadline = Instant::now() + self.options.commit_wait;
        let changed = loop {
            let changed = timeout_at(deadline, self.raft.change_membership(change.clone(), false)).await;
            // Refused before it was begun, by a leader that has not heard of a majority for a moment.
            match &changed {
                Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))))
                    if to.leader_id.is_none_or(|leader| leader == self.id())
                        && self.raft.is_leader()
                        && Instant::now() < deadline =>
                {
                    sleep(LOOK_AGAIN).await;
                }
                _ => break changed,
            }
        };
        let unknown = |reason: String| Err(MembersError::Unknown { reason });
        match changed {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => {
                Err(MembersError::NotLeader { leader: to.leader_id })
            }
            Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => Err(match error {
                ChangeMembershipError::LearnerNotFound(missing) => {
                    MembersError::NoSuchMember { member: missing.node_id }
                }
                ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_) => {
                    MembersError::Busy
                }
                other => MembersError::Unknown { reason: other.to_string() },
            }),
            Ok(Err(RaftError::APIError(other))) => unknown(other.to_string()),
            Ok(Err(RaftError::Fatal(_))) if self.stopping.load(Ordering::Acquire) => Err(MembersError::ShuttingDown),
            Ok(Err(RaftError::Fatal(fatal))) => unknown(fatal.to_string()),
            Err(_) => unknown(format!("no majority of the members confirmed it within {:?}", self.options.commit_wait)),
        }
    }
}
