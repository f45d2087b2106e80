//! `orlopctl`: what an operator says to a cluster, and what it answers.

mod args;
mod commands;
mod context;
mod contexts;
mod dev;
#[cfg(test)]
mod documents;
mod engine;
mod failure;
mod hosts;
mod output;
mod render;
mod terminal;

use args::work::EngineCommand;
use args::{Cli, ClusterCommand, Command, Program};
use clap::Parser;
use context::Context;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version arrive here too, and are no failure.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { failure::USAGE } else { failure::OK });
        }
    };
    match cli.program {
        // Hosts outlive this process, and what is done to them blocks.
        Program::Operator(Command::Cluster(ClusterCommand::Up(args))) => told(hosts::up(&args)),
        Program::Operator(Command::Cluster(ClusterCommand::Down { hosts, keep_data })) => {
            told(hosts::down(&hosts, keep_data))
        }
        Program::Operator(command) => operator(&Context::new(cli.address, cli.context, cli.output), command),
        // A node is no call to a control plane: it has a runtime, a log and an end of its own.
        Program::Dev(args) => told(dev::run(&args)),
        Program::Engine(EngineCommand::Dev(args)) => told(engine::dev(&args)),
    }
}

fn told(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::from(failure::OK),
        Err(error) => {
            eprintln!("orlopctl: {error:#}");
            ExitCode::from(failure::FAILED)
        }
    }
}

fn operator(context: &Context, command: Command) -> ExitCode {
    // The command runs on this thread, and connections on another: when a pager lets the output wait, the control plane
    // must not take this program for dead.
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("orlopctl: the system gives no resources to start: {error}");
            return ExitCode::from(failure::FAILED);
        }
    };
    let result = runtime.block_on(commands::run(context, command));
    // A read of the terminal that nobody waits for any more must not keep the process.
    runtime.shutdown_background();
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            match failure.message.as_str() {
                "" => {}
                // Begins with file, line and column, where editors and terminals look for them.
                message if failure.code == failure::INVALID_SPEC => eprintln!("{message}"),
                message => eprintln!("orlopctl: {}", render::plain(message)),
            }
            ExitCode::from(failure.code)
        }
    }
}
