//! Who may call what: the one [`TABLE`], and the question that every call is put to it.
//!
//! What the table cannot see, because it stands in the request, handlers check: which deployment an operator means
//! ([`Caller::may`]), whose report a node sends ([`Caller::is_node`]), and which view is watched ([`may_watch`]).

mod table;

pub use table::{ELSEWHERE, TABLE};

use crate::caller::Caller;
use crate::identity::Identity;
use orlop_model::trust::Role;
use orlop_model::{NodeId, Timestamp, View};

/// Who answers a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// The member that leads; the others pass the call on to it.
    Leader,
    /// The member that is called.
    Any,
}

/// What a call of an operator is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Deployments, which the request names: the handler compares them with the operator's patterns.
    Deployment,
    /// The cluster as a whole: one of the operator's patterns has to be `*`.
    Cluster,
    /// The operator alone.
    Own,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// As in the path of the request, without the slash: `orlop.operator.v1.OperatorService/Deploy`.
    pub method: &'static str,
    /// Who answers.
    pub served: Served,
    /// May anybody?
    pub anonymous: bool,
    /// May the administrator of a member's machine, over the unix socket?
    pub local: bool,
    /// May members?
    pub member: bool,
    /// May nodes, for themselves?
    pub node: bool,
    /// May programs with a role?
    pub program: bool,
    /// May operators, with at least which role?
    pub operator: Option<(Role, Scope)>,
    /// May the holder of a certificate that has ended, within [`RENEWAL_GRACE`](orlop_model::trust::RENEWAL_GRACE)?
    pub expired: bool,
}

impl Rule {
    /// Does the method change nothing? Then any member may answer it, from what it knows, when the caller says that this
    /// will do.
    pub fn only_looks(&self) -> bool {
        matches!(self.operator, Some((Role::Viewer, _)))
    }
}

/// Why a call is refused before it is looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Not in the table.
    #[error("there is no method {0}; do the client and the control plane run versions that fit?")]
    NoSuchMethod(String),
    /// Nobody is known to call.
    #[error("{method} needs to know who calls; log in with `orlopctl login`, or call from a member's machine")]
    Unauthenticated {
        /// What was called.
        method: &'static str,
    },
    /// The certificate has ended.
    #[error("the certificate of {caller} has ended; it can be renewed, and nothing else be done with it")]
    Ended {
        /// Who called.
        caller: String,
    },
    /// An operator whose role is too low.
    #[error("{caller} is {found}, and {method} needs {needed}; ask an admin")]
    Role {
        /// Who called.
        caller: String,
        /// What was called.
        method: &'static str,
        /// The operator's role.
        found: Role,
        /// The least role that may.
        needed: Role,
    },
    /// An operator who is limited to some deployments.
    #[error("{caller} may act on some deployments only, and {method} is about the whole cluster; ask an admin")]
    Limited {
        /// Who called.
        caller: String,
        /// What was called.
        method: &'static str,
    },
    /// Not for this kind of caller.
    #[error("{caller} may not call {method}")]
    NotFor {
        /// Who called.
        caller: String,
        /// What was called.
        method: &'static str,
    },
}

/// The row of a method, named as in [`Rule::method`]; a slash before it is taken.
pub fn rule(method: &str) -> Option<&'static Rule> {
    let method = method.strip_prefix('/').unwrap_or(method);
    TABLE.iter().find(|rule| rule.method == method)
}

/// May the caller call the method? Revoked certificates and tokens are not the table's matter: the state knows those.
///
/// # Errors
/// Why not.
pub fn check(method: &str, caller: &Caller, now: Timestamp) -> Result<&'static Rule, Denied> {
    let rule = rule(method).ok_or_else(|| Denied::NoSuchMethod(method.chars().take(120).collect()))?;
    let allowed = match caller {
        Caller::Anonymous if !rule.anonymous => return Err(Denied::Unauthenticated { method: rule.method }),
        Caller::Anonymous => true,
        Caller::LocalAdmin => rule.local,
        Caller::Certificate(certificate) => {
            if certificate.expired(now) && !rule.expired {
                return Err(Denied::Ended { caller: caller.text() });
            }
            rule.anonymous
                || match certificate.identity {
                    Identity::Member { .. } => rule.member,
                    Identity::Node { .. } => rule.node,
                    Identity::Role { .. } => rule.program,
                }
        }
        Caller::Operator(operator) => match rule.operator {
            None => rule.anonymous,
            Some((needed, _)) if operator.role < needed => {
                let (found, caller) = (operator.role, caller.text());
                return Err(Denied::Role { caller, method: rule.method, found, needed });
            }
            Some((needed, Scope::Cluster)) if !caller.may(needed, None) => {
                return Err(Denied::Limited { caller: caller.text(), method: rule.method });
            }
            Some(_) => true,
        },
    };
    if allowed { Ok(rule) } else { Err(Denied::NotFor { caller: caller.text(), method: rule.method }) }
}

impl Caller {
    /// Is the caller the node itself? Nobody reports for another.
    pub fn is_node(&self, node: NodeId) -> bool {
        matches!(self.identity(), Some(Identity::Node { node: own, .. }) if own == node)
    }
}

/// May the caller watch the view?
///
/// - A node watches its own assignments and what all nodes share.
/// - A scheduler watches its own view.
/// - An operator watches what people are shown, within the operator's deployments, and no assignments, which carry secrets.
/// - The members watch everything but assignments, and the administrator of a member's machine everything.
pub fn may_watch(caller: &Caller, view: &View) -> bool {
    match (caller, view) {
        (Caller::Anonymous, _) => false,
        // Who administers a member's machine has the key that secrets are sealed with, too.
        (Caller::LocalAdmin, _) => true,
        (_, View::Node(node)) => caller.is_node(*node),
        (Caller::Operator(_), View::Operator(deployment) | View::Events(deployment)) => {
            caller.may(Role::Viewer, deployment.as_ref())
        }
        (Caller::Operator(_), View::Scheduler | View::Routes | View::Mesh) => caller.may(Role::Viewer, None),
        (Caller::Certificate(certificate), view) => match certificate.identity {
            Identity::Member { .. } => true,
            Identity::Node { .. } => matches!(view, View::Routes | View::Mesh),
            Identity::Role { .. } => matches!(view, View::Scheduler),
        },
    }
}

#[cfg(test)]
mod tests;
