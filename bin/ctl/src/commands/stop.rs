//! `stop`.

use super::{scale, wait};
use crate::args::StopArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::StopOut;
use orlop_client::find;
use orlop_client::rollout::{End, Goal};

/// Ends a deployment or a service.
pub(crate) async fn stop(context: &Context, args: StopArgs) -> Result<(), Failure> {
    let client = context.client()?;
    let (deployment, service) = if args.name.contains('/') {
        let name = scale::service(&client, &args.name).await?;
        (name.deployment, Some(name.service))
    } else {
        (find::deployment(&client.state(None).await?, &args.name)?, None)
    };
    let revision = client.stop(&deployment, service.as_ref(), args.force).await?;
    let text = || {
        let how = if args.force { "is being stopped by force" } else { "is being stopped" };
        format!("{} {how}.", args.name)
    };
    context.print(text, StopOut { name: args.name.clone(), forced: args.force, revision: revision.0 })?;
    if args.wait.wait {
        let goal = Goal { deployment, service, revision, end: End::Gone };
        wait::wait(context, &client, goal, args.wait.timeout).await?;
    }
    Ok(())
}
