//! `describe` and `why`.

use crate::context::Context;
use crate::failure::Failure;
use crate::output::{
    DeploymentOut, DescribeDeploymentOut, DescribeNodeOut, DescribeReplicaOut, DescribeServiceOut, EventOut, NodeOut,
    ReplicaOut, ServiceOut, WhyOut, replicas,
};
use crate::render;
use orlop_client::find::{self, Found};
use orlop_client::why;
use orlop_model::{Replica, ServiceState, Subject};

const EVENTS: u32 = 20;

/// Shows everything that is known of a thing.
pub(crate) async fn describe(context: &Context, name: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let state = client.state(None).await?;
    let found = find::anything(&state, name)?;
    let (events, _) = client.events(&subject(&found), EVENTS).await?;
    let listed = || events.iter().map(EventOut::of).collect();
    let now = context.now();
    match found {
        Found::Deployment(deployment) => {
            let own = client.state(Some(&deployment.name)).await?;
            context.print(
                || render::describe_deployment(&own, deployment, &events, now),
                DescribeDeploymentOut {
                    deployment: DeploymentOut::of(deployment),
                    services: own.services.values().map(|s| ServiceOut::of(&own, s)).collect(),
                    replicas: replicas(&own),
                    events: listed(),
                },
            )
        }
        Found::Service(service) => context.print(
            || render::describe_service(&state, service, &events, now),
            DescribeServiceOut {
                service: ServiceOut::of(&state, service),
                replicas: state.replicas_of(&service.name).map(|r| ReplicaOut::of(&state, r)).collect(),
                events: listed(),
            },
        ),
        Found::Replica(replica) => context.print(
            || render::describe_replica(&state, replica, &events, now),
            DescribeReplicaOut { replica: ReplicaOut::of(&state, replica), events: listed() },
        ),
        Found::Node(node) => context.print(
            || render::describe_node(&state, node, &events, now),
            DescribeNodeOut {
                node: NodeOut::of(&state, node),
                replica_list: state
                    .replicas
                    .values()
                    .filter(|r| r.node == node.id)
                    .map(|r| ReplicaOut::of(&state, r))
                    .collect(),
                events: listed(),
            },
        ),
    }
}

/// Says why a service or a replica is as it is.
pub(crate) async fn why(context: &Context, name: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let state = client.state(None).await?;
    let found = find::anything(&state, name)?;
    let (events, _) = client.events(&subject(&found), EVENTS).await?;
    let now = context.now();
    let (name, explanation) = match found {
        Found::Deployment(deployment) => {
            (deployment.name.to_string(), why::deployment(&state, &deployment.name, &events, now))
        }
        Found::Service(service) => (service.name.to_string(), why::service(&state, service, &events, now)),
        Found::Replica(replica) => {
            (format!("{}/{}", replica.service, replica.slot), why::replica(&state, replica, &events, now))
        }
        Found::Node(node) => {
            return Err(Failure::usage(format!(
                "why explains deployments, services and replicas; for the node see `orlopctl describe {}`",
                node.name
            )));
        }
    };
    let lines = || explanation.iter().map(|line| format!("{}\n", render::plain(line))).collect::<String>();
    let text = || render::writes_refused(&state) + &lines();
    let writes_refused = state.writes_refused.clone();
    context.print(text, WhyOut { name, writes_refused, explanation: explanation.clone() })
}

fn subject(found: &Found) -> Subject {
    match found {
        Found::Deployment(deployment) => Subject { deployment: Some(deployment.name.clone()), ..Subject::default() },
        Found::Service(ServiceState { name, .. }) => Subject {
            deployment: Some(name.deployment.clone()),
            service: Some(name.service.clone()),
            ..Subject::default()
        },
        Found::Replica(Replica { id, .. }) => Subject { replica: Some(*id), ..Subject::default() },
        Found::Node(node) => Subject { node: Some(node.id), ..Subject::default() },
    }
}
