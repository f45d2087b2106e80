//! `node cordon`, `node uncordon`, `node rm`.

use crate::context::Context;
use crate::failure::Failure;
use crate::output::NodeChangeOut;
use orlop_client::find;
use orlop_model::Scheduling;

/// Says whether a node is to have replicas.
pub(crate) async fn schedule(context: &Context, name: &str, scheduling: Scheduling) -> Result<(), Failure> {
    let client = context.client()?;
    let state = client.state(None).await?;
    let node = find::node(&state, name)?;
    let revision = client.schedule_node(node.id, scheduling).await?;
    let text = || match scheduling {
        Scheduling::Open => format!("Node {} takes replicas.", node.name),
        Scheduling::Cordoned => format!("Node {} gets no new replicas.", node.name),
        Scheduling::Draining => format!("Node {} gets no new replicas, and its own move away.", node.name),
    };
    context.print(text, NodeChangeOut::of(node, Some(scheduling), revision))
}

/// Forgets a node that is gone for good.
pub(crate) async fn remove(context: &Context, name: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let state = client.state(None).await?;
    let node = find::node(&state, name)?;
    let revision = client.remove_node(node.id).await?;
    context.print(|| format!("Node {} is removed.", node.name), NodeChangeOut::of(node, None, revision))
}
