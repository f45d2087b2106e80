//! `help` and `completions`.

use crate::args::Cli;
use crate::context::print_text;
use crate::failure::{EXIT_CODES, Failure};
use clap::CommandFactory;

/// Explains a command, or the exit codes.
pub(crate) fn help(topic: &[String]) -> Result<(), Failure> {
    if topic.len() == 1 && topic[0] == "exit-codes" {
        return print_text(EXIT_CODES);
    }
    let mut command = Cli::command();
    command.build();
    let mut command = &mut command;
    for word in topic {
        command = command
            .find_subcommand_mut(word)
            .ok_or_else(|| Failure::usage(format!("no command {}; `orlopctl help` lists them", topic.join(" "))))?;
    }
    print_text(&command.render_long_help().to_string())
}

/// Prints a completion script.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "orlopctl", &mut script);
    print_text(&String::from_utf8_lossy(&script))
}
