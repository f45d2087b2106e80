//! `deploy` and `plan`.

use super::{spec, wait};
use crate::args::{DeployArgs, FileArgs, Format};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{ChangeOut, DeployOut, PlanOut, StepOut};
use crate::render;
use orlop_client::rollout::{End, Goal};
use orlop_model::spec::Deployment;
use orlop_model::{ChangeKind, Generation, ServiceChange};

/// Makes a deployment what the file says.
pub(crate) async fn deploy(context: &Context, args: DeployArgs) -> Result<(), Failure> {
    let deployment = spec::read(&args.file)?;
    if args.dry_run {
        show_plan(context, &deployment).await?;
        if context.format == Format::Table {
            crate::context::print_text("\nNothing was done (--dry-run).")?;
        }
        return Ok(());
    }
    let client = context.client()?;
    let expected = args.expect_generation.map(Generation);
    let deployed = client.deploy(&deployment, expected).await.map_err(Failure::of_spec)?;
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
    show_plan(context, &spec::read(args)?).await
}

async fn show_plan(context: &Context, deployment: &Deployment) -> Result<(), Failure> {
    let client = context.client()?;
    let planned = client.plan(deployment).await.map_err(Failure::of_spec)?;
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
