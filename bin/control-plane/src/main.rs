//! `orlop-control-plane`: holds the cluster's state and answers everybody who asks for it or wants it changed.

mod init;
mod settings;

use settings::{Command, Flags, Settings};
use std::process::ExitCode;

fn main() -> ExitCode {
    orlop_program::run(
        "control-plane",
        |flags: &Flags| &flags.common,
        async |flags, settings: Settings, stop| match flags.command {
            Some(Command::Init(args)) => init::init(args, settings.config()?).await,
            None => Ok(orlop_control::serve(settings.config()?, stop).await?),
        },
    )
}
