//! The members of the control plane, by name and address. Who of them votes is the log's own affair; here they get an id
//! that is never given twice, which is what a certificate speaks of.

use crate::answer::{Answer, Refusal};
use crate::command::Change;
use crate::entity::Entity;
use crate::limit::MEMBERS_MAX;
use orlop_model::limit::WORD_BYTES_MAX;
use orlop_model::{Level, Member, MemberId, NodeName, Subject};

/// Makes a member known, before it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddMember {
    /// Its id, if it has one: the first member has before there is a log. Else it gets the revision of this command.
    pub id: Option<MemberId>,
    /// Its name, unique among the members.
    pub name: NodeName,
    /// Where it is reached, as `host:port`.
    pub address: String,
}

/// Says that a member is reached elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveMember {
    /// Which member.
    pub id: MemberId,
    /// Where it is reached now, as `host:port`.
    pub address: String,
}

/// Forgets a member. Its certificates are worth nothing from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoveMember {
    /// Which member.
    pub id: MemberId,
}

impl AddMember {
    pub(in crate::command) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        check_address(&self.address)?;
        let id = self.id.unwrap_or(MemberId(change.state.revision.0));
        let members = &change.state.members;
        if let Some(known) = members.get(&id) {
            let message = format!("member {id} is there already, as {}", known.name);
            return Err(Refusal::conflict("member_exists", message));
        }
        if let Some(other) = members.values().find(|member| member.name == self.name) {
            let message = format!(
                "{} is the name of member {}; remove that one first (`orlopctl cluster remove {}`), or use another name",
                self.name, other.id, other.id
            );
            return Err(Refusal::conflict("member_name_taken", message));
        }
        if members.len() >= MEMBERS_MAX {
            let message = format!("there are {MEMBERS_MAX} members, the most there can be; remove one first");
            return Err(Refusal::exhausted("too_many_members", message));
        }
        let (name, address) = (self.name, self.address);
        let message = format!("member {name} was added, with the id {id}, at {address}");
        change.state.members.insert(id, Member { id, name, address, added_at: change.now });
        change.changed.insert(Entity::Member(id));
        change.tell(Level::Info, Subject::default(), "member_added", message);
        Ok(Answer::MemberAdded { member: id })
    }
}

impl MoveMember {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        check_address(&self.address)?;
        let Some(member) = change.state.members.get_mut(&self.id) else { return Err(unknown(self.id)) };
        if member.address == self.address {
            return Ok(Answer::Done);
        }
        let message =
            format!("member {} is reached at {} now, no more at {}", member.name, self.address, member.address);
        member.address = self.address;
        change.changed.insert(Entity::Member(self.id));
        change.tell(Level::Info, Subject::default(), "member_moved", message);
        Ok(Answer::Done)
    }
}

impl RemoveMember {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        if change.state.members.len() == 1 && change.state.members.contains_key(&self.id) {
            let message = format!("member {} is the last one; a cluster without members is none", self.id);
            return Err(Refusal::precondition("last_member", message));
        }
        let Some(member) = change.state.members.remove(&self.id) else { return Err(unknown(self.id)) };
        change.changed.insert(Entity::Member(self.id));
        let message = format!("member {} ({}) was removed", member.name, member.id);
        change.tell(Level::Warning, Subject::default(), "member_removed", message);
        Ok(Answer::Done)
    }
}

fn check_address(address: &str) -> Result<(), Refusal> {
    if address.is_empty() || address.len() > WORD_BYTES_MAX {
        let message = format!("an address has 1 to {WORD_BYTES_MAX} bytes, as HOST:PORT");
        return Err(Refusal::invalid("invalid_address", message));
    }
    Ok(())
}

fn unknown(id: MemberId) -> Refusal {
    let message = format!("there is no member {id}; `orlopctl cluster members` lists them");
    Refusal::not_found("member_not_found", message)
}
