//! The node's subnet, from the mesh view.

use crate::config::Config;
use crate::service::ServeError;
use ipnet::Ipv4Net;
use orlop_follower::{Follower, FollowerConfig};
use orlop_model::{NodeName, View};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Follows the mesh view until `stop` and tells the subnet of the node by the configured name. A node that is missing
/// from the view keeps the subnet that it had: its replicas run on.
pub(crate) async fn follow(
    config: &Config,
    stop: CancellationToken,
) -> Result<(watch::Receiver<Option<Ipv4Net>>, Follower), ServeError> {
    let name: NodeName = config.node()?;
    let channel = orlop_client::connect(&config.control_plane).map_err(|error| ServeError::Follow(Box::new(error)))?;
    let cache_path = Some(config.data_dir.join("mesh.view"));
    let follower = FollowerConfig { name: "overlay", channel, view: View::Mesh, cache_path };
    let mut follower = Follower::start(follower, stop).await.map_err(|error| ServeError::Follow(Box::new(error)))?;
    let (tell, subnet) = watch::channel(None);
    let handle = follower.clone();
    tokio::spawn(async move {
        while let Ok(view) = follower.changed().await {
            let Some(node) = view.nodes().find(|node| node.name == name) else { continue };
            tell.send_if_modified(|told| told.replace(node.subnet) != Some(node.subnet));
        }
    });
    Ok((subnet, handle))
}
