//! `node cordon`, `node drain`, `node uncordon`, `node rm`.

use crate::args::WaitArgs;
use crate::context::Context;
use crate::failure::{Failure, TIMED_OUT};
use crate::output::NodeChangeOut;
use orlop_client::{ClusterState, find};
use orlop_model::Scheduling;
use orlop_model::view::View;

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

/// Has a node's replicas move away, and waits for it if that is asked for.
pub(crate) async fn drain(context: &Context, name: &str, wait: &WaitArgs) -> Result<(), Failure> {
    schedule(context, name, Scheduling::Draining).await?;
    if !wait.wait {
        return Ok(());
    }
    let client = context.client()?;
    let node = find::node(&client.state(None).await?, name)?.id;
    let mut state = ClusterState::default();
    let left = |state: &ClusterState| -> Vec<String> {
        let there = state.replicas.values().filter(|r| r.node == node && !r.status.phase.is_finished());
        there.map(|r| format!("{}/{}", r.service, r.slot)).collect()
    };
    let emptied = async {
        let mut watch = client.watch(View::Operator(None));
        loop {
            state.apply(watch.next().await?);
            if left(&state).is_empty() {
                return Ok::<(), Failure>(());
            }
        }
    };
    match tokio::time::timeout(wait.timeout.into(), emptied).await {
        Ok(emptied) => emptied,
        Err(_) => {
            let left = left(&state).join(", ");
            let message = format!(
                "node {name} still has {left} after {}, and it goes on without this program; see `orlopctl why NAME`",
                wait.timeout
            );
            Err(Failure::new(TIMED_OUT, message))
        }
    }
}

/// Forgets a node that is gone for good.
pub(crate) async fn remove(context: &Context, name: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let state = client.state(None).await?;
    let node = find::node(&state, name)?;
    let revision = client.remove_node(node.id).await?;
    context.print(|| format!("Node {} is removed.", node.name), NodeChangeOut::of(node, None, revision))
}
