//! Makes the cluster: gives it its id and the address range that nodes' subnets are cut from.

use crate::answer::{Answer, Refusal};
use crate::command::Change;
use crate::entity::Entity;
use crate::limit::NODE_PREFIX;
use crate::state::Cluster;
use orlop_model::{ClusterId, Level, Subject};

/// Makes the cluster. Submitted by the control plane at its first start; a cluster that is made stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitCluster {
    /// The new cluster's id.
    pub cluster: ClusterId,
    /// The range that every node's /24 is cut from.
    pub range: ipnet::Ipv4Net,
}

impl InitCluster {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        if let Some(cluster) = change.state.cluster {
            let message = format!("the cluster {} with the range {} is made already", cluster.id, cluster.range);
            return Err(Refusal::precondition("cluster_exists", message));
        }
        if self.range.prefix_len() > NODE_PREFIX {
            let message =
                format!("the range {} has no room for a node's /{NODE_PREFIX}; give a larger one", self.range);
            return Err(Refusal::invalid("range_too_small", message));
        }
        change.state.cluster = Some(Cluster { id: self.cluster, range: self.range.trunc() });
        change.changed.insert(Entity::Cluster);
        let message = format!("the cluster {} was made, with the address range {}", self.cluster, self.range.trunc());
        change.tell(Level::Info, Subject::default(), "cluster_made", message);
        Ok(Answer::Done)
    }
}
