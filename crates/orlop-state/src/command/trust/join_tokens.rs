//! Join tokens: made, used, revoked. A use is one command, so that two who present the last use of a token at the same time
//! cannot both join.

use super::trust;
use crate::answer::{Answer, Refusal};
use crate::command::{AddMember, Change};
use crate::history::of_node;
use crate::limit::{JOIN_TOKEN_LIFETIME_MAX, JOIN_TOKEN_USES_MAX, JOIN_TOKENS_MAX};
use crate::trust::Presented;
use orlop_model::trust::{Digest, JoinKind, JoinToken, JoinTokenId};
use orlop_model::{Level, NodeId};

/// Makes a join token known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateJoinToken {
    /// The token, without its secret. `created_at` is the time of the command.
    pub token: JoinToken,
}

/// Somebody joins with a token, which counts down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UseJoinToken {
    /// Which token.
    pub id: JoinTokenId,
    /// SHA-256 of the secret that was presented.
    pub secret_hash: Digest,
    /// Who.
    pub joins: Joins,
}

/// Who joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joins {
    /// A node, with the id that its agent made.
    Node(NodeId),
    /// A member, which is added.
    Member(AddMember),
}

/// Nobody joins with a token any more. Who has joined stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeJoinToken {
    /// Which token.
    pub id: JoinTokenId,
}

impl CreateJoinToken {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        let now = change.now;
        let trust = trust(change)?;
        let mut token = self.token;
        if !(1..=JOIN_TOKEN_USES_MAX).contains(&token.uses_left) {
            let message = format!("a token is for 1 to {JOIN_TOKEN_USES_MAX} uses, not {}", token.uses_left);
            return Err(Refusal::invalid("invalid_uses", message));
        }
        if token.expires_at <= now || token.expires_at - now > JOIN_TOKEN_LIFETIME_MAX {
            let message = format!("a token expires within {JOIN_TOKEN_LIFETIME_MAX}");
            return Err(Refusal::invalid("invalid_lifetime", message));
        }
        if token.node.is_some() && token.kind != JoinKind::Node {
            return Err(Refusal::invalid("invalid_token", "only a token for nodes can be bound to a node"));
        }
        if trust.join_tokens.contains_key(&token.id) {
            let message = format!("token {} exists already; ask again", token.id);
            return Err(Refusal::conflict("token_exists", message));
        }
        if trust.join_tokens.len() >= JOIN_TOKENS_MAX {
            trust.join_tokens.retain(|_, token| token.uses_left > 0 && now < token.expires_at);
        }
        if trust.join_tokens.len() >= JOIN_TOKENS_MAX {
            let message = format!("there are {JOIN_TOKENS_MAX} join tokens, the most there may be; revoke some first");
            return Err(Refusal::exhausted("too_many_tokens", message));
        }
        token.created_at = now;
        trust.join_tokens.insert(token.id, token);
        Ok(Answer::Done)
    }
}

impl UseJoinToken {
    /// Who joins, as the audit log names it.
    pub(crate) fn who(&self) -> String {
        match &self.joins {
            Joins::Node(node) => format!("{node} by token {}", self.id),
            Joins::Member(member) => format!("member {} by token {}", member.name, self.id),
        }
    }

    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        let (kind, node) = match &self.joins {
            Joins::Node(node) => (JoinKind::Node, Some(*node)),
            Joins::Member(_) => (JoinKind::Member, None),
        };
        let presented = Presented { id: self.id, secret_hash: self.secret_hash, kind, node };
        change.state.check_join(&presented, change.now)?;
        let answer = match self.joins {
            Joins::Member(member) => member.apply(change)?,
            Joins::Node(node) => {
                change.tell(Level::Info, of_node(node), "node_joined", format!("{node} joined with token {}", self.id));
                Answer::Done
            }
        };
        if let Some(token) = trust(change)?.join_tokens.get_mut(&self.id) {
            token.uses_left -= 1;
        }
        Ok(answer)
    }
}

impl RevokeJoinToken {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        match trust(change)?.join_tokens.remove(&self.id) {
            Some(_) => Ok(Answer::Done),
            None => {
                let message = format!("there is no join token {}; `orlopctl token ls` lists them", self.id);
                Err(Refusal::not_found("token_unknown", message))
            }
        }
    }
}
