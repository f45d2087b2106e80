//! `deploy` and `plan`.

use super::{spec, wait};
use crate::args::{DeployArgs, FileArgs, Format};
use crate::context::Context;
use crate::failure::{CONFLICT, Failure};
use crate::output::{ChangeOut, DeployOut, PlanOut, StepOut};
use crate::render;
use orlop_client::OperatorClient;
use orlop_client::rollout::{End, Goal};
use orlop_model::spec::Deployment;
use orlop_model::{ChangeKind, DeploymentName, Generation, ServiceChange};

/// Makes a deployment what the file says.
pub(crate) async fn deploy(context: &Context, args: DeployArgs) -> Result<(), Failure> {
    let deployment = spec::read(&args.file)?;
    let expected = args.expect_generation.map(Generation);
    if args.dry_run {
        show_plan(context, &deployment, expected).await?;
        if context.format == Format::Table {
            crate::context::print_text("\nNothing was done (--dry-run).")?;
        }
        return Ok(());
    }
    let client = context.client()?;
    // Compare-and-set also where nobody asks for it: whoever deploys at the same time is told, and neither is lost.
    let expected = match expected {
        Some(expected) => expected,
        None => generation_now(&client, &deployment.name).await?,
    };
    let deployed = client.deploy(&deployment, Some(expected)).await.map_err(Failure::of_spec)?;
    let text = || {
        let name = &deployment.name;
        if deployed.changes.iter().all(|change| change.kind == ChangeKind::Unchanged) {
            return format!("{name} is as the file says already (generation {}).\n", deployed.generation);
        }
        let stays = |change: &ServiceChange| matches!(change.kind, ChangeKind::Unchanged | ChangeKind::Retried);
        if deployed.changes.iter().all(stays) {
            return format!(
                "{name} is as the file says already (generation {}); what had failed is tried again:\n{}",
                deployed.generation,
                render::changes(&deployed.changes)
            );
        }
        let next = if args.wait.wait { "" } else { "Follow it with `orlopctl status -w`.\n" };
        format!("{name} is at generation {}:\n{}{next}", deployed.generation, render::changes(&deployed.changes))
    };
    let value = DeployOut {
        deployment: deployment.name.to_string(),
        generation: deployed.generation.0,
        revision: deployed.revision.0,
        changes: deployed.changes.iter().map(ChangeOut::of).collect(),
    };
    context.print(text, value)?;
    if args.wait.wait {
        let goal = Goal {
            deployment: deployment.name.clone(),
            service: None,
            revision: deployed.revision,
            end: End::Rolled { generation: Some(deployed.generation) },
        };
        wait::wait(context, &client, goal, args.wait.timeout).await?;
    }
    Ok(())
}

/// Shows what a deploy would do.
pub(crate) async fn plan(context: &Context, args: &FileArgs) -> Result<(), Failure> {
    show_plan(context, &spec::read(args)?, None).await
}

/// A deployment's generation; 0 when it does not exist.
async fn generation_now(client: &OperatorClient, name: &DeploymentName) -> Result<Generation, Failure> {
    let state = client.state(Some(name)).await?;
    Ok(state.deployments.get(name).map_or(Generation(0), |found| found.generation))
}

async fn show_plan(context: &Context, deployment: &Deployment, expected: Option<Generation>) -> Result<(), Failure> {
    let client = context.client()?;
    let planned = client.plan(deployment).await.map_err(Failure::of_spec)?;
    if let Some(expected) = expected.filter(|expected| *expected != planned.generation) {
        let (name, is) = (&deployment.name, planned.generation);
        let message =
            format!("{name} is at generation {is}, not {expected}: a deploy would be refused; nothing was done");
        return Err(Failure::new(CONFLICT, message));
    }
    // For the names of nodes and slots.
    let state = client.state(None).await?;
    let value = PlanOut {
        deployment: deployment.name.to_string(),
        generation: planned.generation.0,
        changes: planned.changes.iter().map(ChangeOut::of).collect(),
        steps: planned.steps.iter().map(StepOut::of).collect(),
    };
    context.print(|| render::plan(&state, &deployment.name, &planned), value)
}
