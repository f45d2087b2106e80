//! From a view to what the planner sees.

use orlop_follower::ViewState;
use orlop_planner::Cluster;

/// The cluster as the view has it.
pub(crate) fn of_view(view: &ViewState) -> Cluster {
    Cluster {
        revision: view.revision,
        services: view.services().map(|service| (service.name.clone(), service.clone())).collect(),
        replicas: view.replicas().map(|replica| (replica.id, replica.clone())).collect(),
        nodes: view.nodes().map(|node| (node.id, node.clone())).collect(),
    }
}
