//! One module for each command: ask the control plane, print what it says.

mod cluster;
mod deploy;
mod describe;
mod disaster;
mod events;
mod exec;
mod help;
mod image;
mod join;
mod logs;
mod node;
mod scale;
mod spec;
mod status;
mod stop;
mod trust;
mod wait;
mod work;

use crate::args::work::{QueueCommand, WorkerCommand};
use crate::args::{Command, ImageCommand, NodeCommand, SpecCommand};
use crate::context::{Context, reader_gone};
use crate::failure::{Failure, OK};
use orlop_model::Scheduling;

/// Runs the command; gives the exit code.
pub(crate) async fn run(context: &Context, command: Command) -> Result<u8, Failure> {
    // These go on until they are stopped; without a reader nobody else would do that before there is more to print.
    let goes_on = match &command {
        Command::Status(args) | Command::Ps(args) => args.watch,
        Command::Logs(args) => args.follow,
        Command::Events(args) => args.watch,
        _ => false,
    };
    if !goes_on {
        return answer(context, command).await;
    }
    tokio::select! {
        biased;
        ended = answer(context, command) => ended,
        () = reader_gone() => Ok(OK),
    }
}

async fn answer(context: &Context, command: Command) -> Result<u8, Failure> {
    match command {
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
        Command::Node(NodeCommand::Cordon { node }) => node::schedule(context, &node, Scheduling::Cordoned).await?,
        Command::Node(NodeCommand::Drain { node, wait }) => node::drain(context, &node, &wait).await?,
        Command::Node(NodeCommand::Uncordon { node }) => node::schedule(context, &node, Scheduling::Open).await?,
        Command::Node(NodeCommand::Rm { node }) => node::remove(context, &node).await?,
        Command::Image(ImageCommand::Import(args)) => image::import(context, args).await?,
        Command::Image(ImageCommand::Ls) => image::ls(context).await?,
        Command::Image(ImageCommand::Rm(args)) => image::rm(context, &args).await?,
        Command::Image(ImageCommand::Prune(args)) => image::prune(context, &args).await?,
        Command::Image(ImageCommand::Pack(args)) => image::pack(context, args)?,
        Command::Cluster(command) => cluster::cluster(context, command).await?,
        Command::Join(args) => join::join(context, args).await?,
        Command::Token(command) => trust::token(context, command).await?,
        Command::Revoke(args) => trust::revoke(context, args).await?,
        Command::Operator(command) => trust::operator(context, command).await?,
        Command::Secret(command) => trust::secret(context, command).await?,
        Command::Workflow(command) => work::workflow(context, command).await?,
        Command::Task(command) => work::task(context, command).await?,
        Command::Queue(QueueCommand::Ls(engine)) => work::queues(context, &engine).await?,
        Command::Worker(WorkerCommand::Ls(engine)) => work::workers(context, &engine).await?,
        Command::Audit(args) => trust::audit(context, args).await?,
        Command::Login(args) => trust::login(context, args).await?,
        Command::Context(command) => trust::context(context, command)?,
        Command::Whoami => trust::who_am_i(context).await?,
        Command::Completions { shell } => help::completions(shell)?,
        Command::Help { topic } => help::help(&topic)?,
    }
    Ok(OK)
}
