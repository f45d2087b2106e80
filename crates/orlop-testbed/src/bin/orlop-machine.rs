//! Runs a program of this checkout in a machine of its own (see [`orlop_testbed::Machine`]), with its output and its exit
//! code.
//!
//! `orlop-machine [--limit SECONDS] [--disk FILE] [--] PROGRAM [ARGUMENT…]`

use orlop_testbed::{Machine, MachineOptions};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: orlop-machine [--limit SECONDS] [--disk FILE] [--] PROGRAM [ARGUMENT…]";

fn main() -> ExitCode {
    let (mut limit, mut disk) = (Duration::from_secs(600), None);
    let mut arguments = std::env::args().skip(1).peekable();
    while let Some(option) = arguments.next_if(|argument| argument.starts_with('-')) {
        let value = match option.as_str() {
            "--" => break,
            "--limit" | "--disk" => arguments.next(),
            _ => None,
        };
        match (option.as_str(), value.as_deref().map(str::parse::<u64>), value.clone()) {
            ("--limit", Some(Ok(seconds)), _) => limit = Duration::from_secs(seconds),
            ("--disk", _, Some(file)) => disk = Some(PathBuf::from(file)),
            _ => return refuse(),
        }
    }
    let command: Vec<String> = arguments.collect();
    if command.is_empty() {
        return refuse();
    }
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let options = MachineOptions { echo: true, disk, ..MachineOptions::new(&command) };
    let ended = Machine::boot(&options).finish(limit);
    ExitCode::from(u8::try_from(ended.code).unwrap_or(1))
}

fn refuse() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}
