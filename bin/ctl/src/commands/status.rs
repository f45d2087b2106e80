//! `status`, `ps`, `node ls`.

use crate::args::{Format, StatusArgs};
use crate::context::{Context, print_text};
use crate::failure::Failure;
use crate::output::{NodeOut, StatusOut, replicas};
use crate::render;
use orlop_client::{ClusterState, OperatorClient, find};
use orlop_model::DeploymentName;
use orlop_model::view::View;
use std::io::IsTerminal;
use std::time::Duration;

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// `status`.
    Everything,
    /// `ps`.
    Replicas,
}

/// How long changes that come together are collected before they are shown.
const SETTLE: Duration = Duration::from_millis(100);

/// How often a screen is drawn again when nothing changes.
const TICK: Duration = Duration::from_secs(2);

/// Shows services and replicas, once or as they change.
pub(crate) async fn status(context: &Context, args: StatusArgs, what: What) -> Result<(), Failure> {
    let client = context.client()?;
    let deployment = match &args.deployment {
        None => None,
        Some(name) => Some(deployment(&client, name).await?),
    };
    let mut state = client.state(deployment.as_ref()).await?;
    if !args.watch {
        return show(context, &state, what, false);
    }
    show(context, &state, what, true)?;
    let mut watch = client.watch(View::Operator(deployment.clone()));
    if let Some(cluster) = state.cluster {
        watch = watch.since(cluster, state.revision);
    }
    let ticks = std::io::stdout().is_terminal() && context.format == Format::Table;
    loop {
        let before = state.clone();
        match tokio::time::timeout(TICK, watch.next()).await {
            Ok(changes) => state.apply(changes?),
            // Whether the control plane is well is no part of a view. And ages grow on a screen that somebody looks at.
            Err(_) => {
                if let Ok(now) = client.state(deployment.as_ref()).await {
                    (state.scheduler, state.writes_refused) = (now.scheduler, now.writes_refused);
                }
                if ticks {
                    show(context, &state, what, true)?;
                    continue;
                }
            }
        }
        while let Ok(changes) = tokio::time::timeout(SETTLE, watch.next()).await {
            state.apply(changes?);
        }
        // The first message after a new connection may bring nothing new.
        if before != (ClusterState { revision: before.revision, ..state.clone() }) {
            show(context, &state, what, true)?;
        }
    }
}

async fn deployment(client: &OperatorClient, name: &str) -> Result<DeploymentName, Failure> {
    Ok(find::deployment(&client.state(None).await?, name)?)
}

fn show(context: &Context, state: &ClusterState, what: What, again: bool) -> Result<(), Failure> {
    let now = context.now();
    let text = || match what {
        What::Everything => render::status(state, now),
        What::Replicas if state.replicas.is_empty() => "There are no replicas.\n".to_owned(),
        What::Replicas => render::replicas(state, now),
    };
    if again && context.format == Format::Table {
        // From the top of a cleared screen; where there is none, one picture after the other.
        let (before, after) = if std::io::stdout().is_terminal() { ("\x1b[H\x1b[2J", "") } else { ("", "\n") };
        return print_text(&format!("{before}{}{after}", text()));
    }
    match (what, again) {
        (What::Everything, false) => context.print(text, StatusOut::of(state)),
        (What::Everything, true) => context.print_one(text, StatusOut::of(state)),
        (What::Replicas, false) => context.print_list(&render::writes_refused(state), text, replicas(state)),
        (What::Replicas, true) => context.print_one(text, replicas(state)),
    }
}

/// Lists the nodes.
pub(crate) async fn nodes(context: &Context) -> Result<(), Failure> {
    let state = context.client()?.state(None).await?;
    let value: Vec<NodeOut> = state.nodes.values().map(|node| NodeOut::of(&state, node)).collect();
    context.print_list(&render::writes_refused(&state), || render::nodes(&state, context.now()), value)
}
