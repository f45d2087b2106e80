//! One module for each command: ask the control plane, print what it says.

mod deploy;
mod describe;
mod events;
mod exec;
mod help;
mod image;
mod logs;
mod scale;
mod spec;
mod status;
mod stop;
mod wait;

use crate::args::{Cli, Command, ImageCommand, NodeCommand, SpecCommand};
use crate::context::Context;
use crate::failure::{Failure, OK};

/// Runs the command; gives the exit code.
pub(crate) async fn run(cli: Cli) -> Result<u8, Failure> {
    let context = Context::new(&cli);
    let context = &context;
    match cli.command {
        Command::Deploy(args) => deploy::deploy(context, args).await?,
        Command::Plan(args) => deploy::plan(context, &args).await?,
        Command::Validate(args) => spec::validate(context, &args)?,
        Command::Spec(SpecCommand::Schema) => spec::schema()?,
        Command::Status(args) => status::status(context, args, status::What::Everything).await?,
        Command::Ps(args) => status::status(context, args, status::What::Replicas).await?,
        Command::Describe { name } => describe::describe(context, &name).await?,
        Command::Why { name } => describe::why(context, &name).await?,
        Command::Logs(args) => logs::logs(context, args).await?,
        Command::Exec(args) => return exec::exec(context, args).await,
        Command::Scale(args) => scale::scale(context, args).await?,
        Command::Stop(args) => stop::stop(context, args).await?,
        Command::Events(args) => events::events(context, args).await?,
        Command::Node(NodeCommand::Ls) => status::nodes(context).await?,
        Command::Image(ImageCommand::Import(args)) => image::import(context, args).await?,
        Command::Image(ImageCommand::Ls) => image::ls(context).await?,
        Command::Image(ImageCommand::Pack(args)) => image::pack(context, args)?,
        // It never comes here: see main.
        Command::Dev(_) => {}
        Command::Completions { shell } => help::completions(shell)?,
        Command::Help { topic } => help::help(&topic)?,
    }
    Ok(OK)
}
