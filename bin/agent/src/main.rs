//! `orlop-agent`: keeps the replicas of a node running; its end leaves them running.

mod settings;

use orlop_runtime::Containerd;
use settings::{Arguments, Settings};
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    orlop_program::run(
        "agent",
        |arguments: &Arguments| &arguments.common,
        async |_arguments, settings: Settings, stop| {
            let containerd = Containerd::new(settings.containerd()?)?;
            let mut agent = orlop_agent::start(settings.agent()?, Arc::new(containerd), stop.clone()).await?;
            Ok(agent.ended().await?)
        },
    )
}
