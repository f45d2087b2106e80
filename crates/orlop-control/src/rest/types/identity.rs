//! Who may join, and who may call.

use super::Time;
use orlop_model::Timestamp;
use orlop_proto::identity::v1 as pb;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a join token makes of who joins with it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::rest) enum JoinKind {
    Node,
    /// A control-plane process.
    Member,
}

impl From<JoinKind> for pb::JoinKind {
    fn from(kind: JoinKind) -> Self {
        match kind {
            JoinKind::Node => pb::JoinKind::Node,
            JoinKind::Member => pb::JoinKind::Member,
        }
    }
}

/// A join token, as the cluster keeps it: without its secret.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct JoinToken {
    id: String,
    kind: JoinKind,
    /// How many may still join with it.
    uses_left: u32,
    expires_at: Time,
    created_at: Time,
    /// The one node that may join with it; null for any new one.
    node: Option<String>,
}

impl From<pb::JoinToken> for JoinToken {
    fn from(token: pb::JoinToken) -> Self {
        let kind = match token.kind() {
            pb::JoinKind::Member => JoinKind::Member,
            pb::JoinKind::Node | pb::JoinKind::Unspecified => JoinKind::Node,
        };
        Self {
            id: token.id,
            kind,
            uses_left: token.uses_left,
            expires_at: Timestamp(token.expires_at_ms).into(),
            created_at: Timestamp(token.created_at_ms).into(),
            node: Some(token.node).filter(|node| !node.is_empty()),
        }
    }
}

/// The join tokens that there are.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct JoinTokens {
    pub(in crate::rest) join_tokens: Vec<JoinToken>,
}

/// What kind of join token to make.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct MakeJoinToken {
    pub(in crate::rest) kind: JoinKind,
    /// How many may join with it.
    #[serde(default = "one", deserialize_with = "super::whole")]
    #[schemars(range(min = 1, max = 1000))]
    pub(in crate::rest) uses: u32,
    /// How long it is good, in seconds.
    #[serde(default = "hour", deserialize_with = "super::whole")]
    #[schemars(range(min = 60, max = 2_592_000))]
    pub(in crate::rest) lifetime_seconds: u64,
    /// Lets this node join, also when it is known already, and no other: its id.
    #[schemars(regex(pattern = r"^node_[0-9a-f]{32}$"))]
    pub(in crate::rest) node: Option<String>,
}

fn one() -> u32 {
    1
}

fn hour() -> u64 {
    3600
}

/// A new join token.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct JoinTokenMade {
    /// What to give to who joins. It is shown this once.
    pub(in crate::rest) token: String,
    pub(in crate::rest) stored: JoinToken,
}

/// What kind of thing an operator may do; each may do what the ones before it may.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::rest) enum Role {
    /// Look.
    Viewer,
    /// Change deployments.
    Deployer,
    /// Change the cluster.
    Admin,
}

/// Somebody who may call the control plane.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct Operator {
    name: String,
    role: Role,
    /// Names of deployments, or beginnings of names followed by `*`; `*` alone for all.
    deployments: Vec<String>,
}

impl From<pb::Operator> for Operator {
    fn from(operator: pb::Operator) -> Self {
        let role = match operator.role() {
            pb::Role::Admin => Role::Admin,
            pb::Role::Deployer => Role::Deployer,
            pb::Role::Viewer | pb::Role::Unspecified => Role::Viewer,
        };
        Self { name: operator.name, role, deployments: operator.deployments }
    }
}

/// The operators, by name.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct Operators {
    pub(in crate::rest) operators: Vec<Operator>,
}

/// What an operator shall be allowed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct PutOperator {
    role: Role,
    /// Names of deployments, or beginnings of names followed by `*`; `*` alone for all.
    #[schemars(
        length(min = 1, max = 100),
        inner(regex(pattern = r"^([a-z0-9][a-z0-9-]{0,61})?\*$|^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$"))
    )]
    deployments: Vec<String>,
}

impl PutOperator {
    pub(in crate::rest) fn named(self, name: String) -> pb::Operator {
        let role = match self.role {
            Role::Viewer => pb::Role::Viewer,
            Role::Deployer => pb::Role::Deployer,
            Role::Admin => pb::Role::Admin,
        };
        pb::Operator { name, role: role.into(), deployments: self.deployments }
    }
}

/// What token to make.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct MakeOperatorToken {
    /// How long it is good, in seconds.
    #[serde(default = "month", deserialize_with = "super::whole")]
    #[schemars(range(min = 60, max = 31_622_400))]
    pub(in crate::rest) lifetime_seconds: u64,
}

fn month() -> u64 {
    30 * 86_400
}

/// A new token of an operator.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::rest) struct OperatorTokenMade {
    /// For `orlopctl login`: the token, with the fingerprint of the cluster's authority. It is shown this once.
    pub(in crate::rest) login: String,
    /// To revoke it by.
    pub(in crate::rest) id: String,
    pub(in crate::rest) expires_at: Time,
}
