//! The table. A method that is not in it cannot be called; a test finds those that were forgotten.

use super::Scope::{Cluster, Deployment, Own};
use super::Served::{Any, Leader};
use super::{Rule, Scope, Served};
use orlop_model::trust::Role::{self, Admin, Deployer, Viewer};

/// Services of `proto/` that the control plane does not serve: the overlay daemon's is guarded by the permissions of its
/// unix socket; an engine listens on loopback alone, and asks nobody who they are.
pub const ELSEWHERE: [&str; 3] =
    ["orlop.overlay.v1.OverlayService", "orlop.engine.v1.EngineService", "orlop.engine.v1.WorkerService"];

/// Every method of the control plane, and who may call it.
pub const TABLE: &[Rule] = &[
    // Who is who.
    anybody("orlop.identity.v1.IdentityService/Join"),
    everyone("orlop.identity.v1.IdentityService/WhoAmI"),
    renewal("orlop.identity.v1.IdentityService/Renew"),
    admin("orlop.identity.v1.IdentityService/IssueRole"),
    admin("orlop.identity.v1.IdentityService/CreateJoinToken"),
    admin("orlop.identity.v1.IdentityService/ListJoinTokens"),
    admin("orlop.identity.v1.IdentityService/RevokeJoinToken"),
    admin("orlop.identity.v1.IdentityService/RevokeIdentity"),
    admin("orlop.identity.v1.IdentityService/PutOperator"),
    admin("orlop.identity.v1.IdentityService/ListOperators"),
    admin("orlop.identity.v1.IdentityService/RemoveOperator"),
    admin("orlop.identity.v1.IdentityService/IssueOperatorToken"),
    admin("orlop.identity.v1.IdentityService/RevokeOperatorToken"),
    admin("orlop.identity.v1.IdentityService/ListSigningKeys"),
    admin("orlop.identity.v1.IdentityService/RotateSigningKey"),
    // Secrets are the cluster's: a deployer limited to some deployments could read another's by naming it.
    people("orlop.identity.v1.IdentityService/SetSecret", Leader, Deployer, Cluster),
    people("orlop.identity.v1.IdentityService/ListSecrets", Leader, Viewer, Cluster),
    people("orlop.identity.v1.IdentityService/RemoveSecret", Leader, Deployer, Cluster),
    admin("orlop.identity.v1.IdentityService/RotateSecrets"),
    admin("orlop.identity.v1.IdentityService/ListAudit"),
    // The cluster itself.
    // Nodes learn from it where the members are.
    Rule {
        member: true,
        node: true,
        program: true,
        ..people("orlop.admin.v1.AdminService/GetCluster", Leader, Viewer, Own)
    },
    members("orlop.admin.v1.AdminService/EnrollMember"),
    admin("orlop.admin.v1.AdminService/RemoveMember"),
    admin("orlop.admin.v1.AdminService/TransferLeader"),
    admin("orlop.admin.v1.AdminService/SaveSnapshot"),
    // Wanted most when there is no leader.
    people("orlop.admin.v1.AdminService/ExamineCluster", Any, Viewer, Cluster),
    Rule { member: true, ..people("orlop.admin.v1.AdminService/Examine", Any, Viewer, Cluster) },
    // Members among themselves.
    peers("orlop.peer.v1.PeerService/Append"),
    peers("orlop.peer.v1.PeerService/AppendStream"),
    peers("orlop.peer.v1.PeerService/Vote"),
    peers("orlop.peer.v1.PeerService/OfferSnapshot"),
    peers("orlop.peer.v1.PeerService/SendSnapshot"),
    peers("orlop.peer.v1.PeerService/InstallSnapshot"),
    peers("orlop.peer.v1.PeerService/TransferLeader"),
    peers("orlop.peer.v1.PeerService/Submit"),
    peers("orlop.peer.v1.PeerService/ReadIndex"),
    // Nodes.
    nodes("orlop.node.v1.NodeService/Register"),
    nodes("orlop.node.v1.NodeService/Report"),
    nodes("orlop.node.v1.NodeService/RecordEvents"),
    nodes("orlop.node.v1.NodeService/ReportEndpoints"),
    nodes("orlop.node.v1.NodeService/Attend"),
    nodes("orlop.node.v1.NodeService/OpenSession"),
    // People and their tools.
    people("orlop.operator.v1.OperatorService/Deploy", Leader, Deployer, Deployment),
    people("orlop.operator.v1.OperatorService/Plan", Leader, Viewer, Deployment),
    people("orlop.operator.v1.OperatorService/Scale", Leader, Deployer, Deployment),
    people("orlop.operator.v1.OperatorService/Stop", Leader, Deployer, Deployment),
    people("orlop.operator.v1.OperatorService/GetState", Leader, Viewer, Deployment),
    people("orlop.operator.v1.OperatorService/ListEvents", Leader, Viewer, Deployment),
    people("orlop.operator.v1.OperatorService/Logs", Leader, Viewer, Deployment),
    people("orlop.operator.v1.OperatorService/Exec", Leader, Deployer, Deployment),
    people("orlop.operator.v1.OperatorService/ImportImage", Leader, Deployer, Cluster),
    people("orlop.operator.v1.OperatorService/ListImages", Leader, Viewer, Cluster),
    people("orlop.operator.v1.OperatorService/RemoveImages", Leader, Admin, Cluster),
    people("orlop.operator.v1.OperatorService/ScheduleNode", Leader, Admin, Cluster),
    people("orlop.operator.v1.OperatorService/RemoveNode", Leader, Admin, Cluster),
    // Schedulers.
    programs("orlop.scheduler.v1.SchedulerService/AcquireLease"),
    programs("orlop.scheduler.v1.SchedulerService/SubmitPlan"),
    // Which view, `may_watch` decides.
    Rule {
        member: true,
        node: true,
        program: true,
        ..people("orlop.watch.v1.WatchService/Watch", Any, Viewer, Deployment)
    },
];

const fn nobody(method: &'static str, served: Served) -> Rule {
    Rule {
        method,
        served,
        anonymous: false,
        local: false,
        member: false,
        node: false,
        program: false,
        operator: None,
        expired: false,
    }
}

/// Whoever connects.
const fn anybody(method: &'static str) -> Rule {
    Rule { anonymous: true, local: true, expired: true, ..nobody(method, Leader) }
}

/// Whoever is known.
const fn everyone(method: &'static str) -> Rule {
    let operator = Some((Viewer, Own));
    Rule { local: true, member: true, node: true, program: true, operator, ..nobody(method, Leader) }
}

/// Whoever has a certificate, also one that has ended. Members renew theirs themselves.
const fn renewal(method: &'static str) -> Rule {
    Rule { node: true, program: true, expired: true, ..nobody(method, Leader) }
}

/// Operators, and the administrator of a member's machine.
const fn people(method: &'static str, served: Served, role: Role, scope: Scope) -> Rule {
    Rule { local: true, operator: Some((role, scope)), ..nobody(method, served) }
}

const fn admin(method: &'static str) -> Rule {
    people(method, Leader, Admin, Cluster)
}

const fn members(method: &'static str) -> Rule {
    Rule { member: true, ..nobody(method, Leader) }
}

/// Members, at the very member that they call.
const fn peers(method: &'static str) -> Rule {
    Rule { served: Any, ..members(method) }
}

/// Nodes, each for itself; and whoever may open the socket of a member's machine, as an agent without an identity does.
const fn nodes(method: &'static str) -> Rule {
    Rule { node: true, local: true, ..nobody(method, Leader) }
}

/// Programs with a role; and those beside a member, over its socket.
const fn programs(method: &'static str) -> Rule {
    Rule { program: true, local: true, ..nobody(method, Leader) }
}
