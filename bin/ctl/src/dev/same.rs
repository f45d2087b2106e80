//! Does the node that runs already run as it is asked for now? A flag that would be ignored is refused.

use super::folders::Folders;
use crate::args::Cli;
use anyhow::Context;
use clap::{ArgMatches, Command, CommandFactory};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// What says how to start, and nothing about the node.
const OF_THE_START: [&str; 2] = ["detach", "run"];

/// An error that names each flag in which the running process differs from this one.
pub(super) fn check(process: i32, folders: &Folders) -> anyhow::Result<()> {
    let proc = Path::new("/proc").join(process.to_string());
    let there = std::fs::read(proc.join("cmdline")).with_context(|| format!("could not look at process {process}"))?;
    let there = there.strip_suffix(&[0]).unwrap_or(&there).split(|byte| *byte == 0);
    let there = there.map(|word| OsString::from_vec(word.to_vec()));
    let data = |given: &str| {
        let directory = std::fs::read_link(proc.join("cwd")).unwrap_or_else(|_| PathBuf::from("/"));
        directory.join(given).canonicalize().is_ok_and(|data| data == folders.roots().0)
    };
    let differences = differences(there, std::env::args_os(), data).with_context(|| {
        format!("process {process} runs here and cannot be compared: end it with `orlopctl dev --down`")
    })?;
    anyhow::ensure!(
        differences.is_empty(),
        "a node runs here already (process {process}), with other flags:\n{}\nend it with `orlopctl dev --down` and start \
         it anew, or leave these flags as they are there",
        differences.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
    );
    Ok(())
}

/// The flags of `dev` that two command lines differ in. `same_data` compares what the first says of `--data` with the
/// directory of this one: a relative path is another one elsewhere.
fn differences(
    there: impl IntoIterator<Item = OsString>,
    here: impl IntoIterator<Item = OsString>,
    same_data: impl Fn(&str) -> bool,
) -> anyhow::Result<Vec<String>> {
    let (there, here) = (dev_of(there)?, dev_of(here)?);
    let mut command = Cli::command();
    command.build();
    let dev = command.find_subcommand("dev").context("there is no command dev")?;
    let mut found = Vec::new();
    for (flag, id) in own_flags(dev) {
        let (was, is) = (text(&there, &id), text(&here, &id));
        if was != is && !(id == "data" && same_data(&was)) {
            found.push(format!("{flag} is {was} there, and {is} was asked for"));
        }
    }
    Ok(found)
}

/// The flags that `dev` has for itself, as they are written, with their ids.
fn own_flags(dev: &Command) -> Vec<(String, String)> {
    dev.get_arguments()
        .filter(|argument| !argument.is_global_set() && !OF_THE_START.contains(&argument.get_id().as_str()))
        .filter_map(|argument| Some((format!("--{}", argument.get_long()?), argument.get_id().to_string())))
        .filter(|(flag, _)| !matches!(flag.as_str(), "--help" | "--version"))
        .collect()
}

fn dev_of(words: impl IntoIterator<Item = OsString>) -> anyhow::Result<ArgMatches> {
    let mut matches = Cli::command().try_get_matches_from(words)?;
    let (_, dev) = matches.remove_subcommand().filter(|(name, _)| name == "dev").context("it is no `orlopctl dev`")?;
    Ok(dev)
}

/// The values of a flag, defaults included.
fn text(matches: &ArgMatches, id: &str) -> String {
    let values: Vec<_> = matches.get_raw(id).into_iter().flatten().map(|value| value.to_string_lossy()).collect();
    if values.is_empty() { "not given".to_owned() } else { values.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(there: &str, here: &str) -> Vec<String> {
        let words =
            |line: &str| format!("orlopctl dev {line}").split_whitespace().map(OsString::from).collect::<Vec<_>>();
        differences(words(there), words(here), |data| data == "./d").expect("two command lines")
    }

    #[test]
    fn each_flag_that_differs_is_named() {
        assert_eq!(compare("", "--detach"), Vec::<String>::new());
        assert_eq!(compare("--http 127.0.0.1:8080 --data ./d", "--data /srv/d"), Vec::<String>::new());
        assert_eq!(
            compare("--keep", "--http 127.0.0.1:9 --insecure-registry a --insecure-registry b"),
            [
                "--http is 127.0.0.1:8080 there, and 127.0.0.1:9 was asked for",
                "--insecure-registry is not given there, and a, b was asked for",
                "--keep is true there, and false was asked for",
            ]
        );
    }
}
