//! `scale`.

use super::wait;
use crate::args::ScaleArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::ScaleOut;
use orlop_client::rollout::{End, Goal};
use orlop_client::{Error, OperatorClient, find};
use orlop_model::ServiceRef;

/// Sets how many replicas a service has.
pub(crate) async fn scale(context: &Context, args: ScaleArgs) -> Result<(), Failure> {
    let client = context.client()?;
    let service = service(&client, &args.service).await?;
    let scaled = client.scale(&service, args.replicas).await?;
    let text = || match scaled.previous == args.replicas {
        true => format!("{service} has {} replicas wanted already.", args.replicas),
        false => format!("{service}: {} replicas wanted, {} before.", args.replicas, scaled.previous),
    };
    let value = ScaleOut {
        service: service.to_string(),
        replicas: args.replicas,
        previous: scaled.previous,
        revision: scaled.revision.0,
    };
    context.print(text, value)?;
    if args.wait.wait {
        let goal = Goal {
            deployment: service.deployment.clone(),
            service: Some(service.service.clone()),
            revision: scaled.revision,
            end: End::Rolled { generation: None },
        };
        wait::wait(context, &client, goal, args.wait.timeout).await?;
    }
    Ok(())
}

/// The service that a name stands for.
pub(crate) async fn service(client: &OperatorClient, name: &str) -> Result<ServiceRef, Error> {
    let state = client.state(None).await?;
    Ok(find::service(&state, name)?.name.clone())
}
