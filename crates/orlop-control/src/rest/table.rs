//! The table of operations: both the router and the document are made from it, so nothing is in one and not in the other.

use super::operation::Operation;
use super::operations::{about, deployments, events, logs, nodes, operators, replicas, services, tokens};

/// All operations, in the order in which the document shows them.
pub(super) fn all() -> Vec<Operation> {
    let groups = [
        deployments::operations(),
        services::operations(),
        logs::operations(),
        replicas::operations(),
        nodes::operations(),
        events::operations(),
        tokens::operations(),
        operators::operations(),
        about::operations(),
    ];
    groups.into_iter().flatten().collect()
}

/// What the groups are.
pub(super) const GROUPS: &[(&str, &str)] = &[
    ("deployments", "Named applications: everything in one spec file."),
    ("services", "The workloads of a deployment."),
    ("replicas", "Instances of services, placed on nodes."),
    ("nodes", "Machines with an agent."),
    ("events", "What happened."),
    ("identity", "Who may join, and who may call."),
    ("cluster", "The cluster as a whole, and this document."),
];
