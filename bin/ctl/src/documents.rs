//! The manual against the command line: every flag and every command stand in docs/orlopctl.md and no other does, and
//! what the documents tell people to type is understood.

use crate::args::Cli;
use crate::failure::EXIT_CODES;
use clap::{Command, CommandFactory, Parser};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn manual() -> String {
    read(&root().join("docs/orlopctl.md"))
}

/// The prose of the manual about each command, by its words: `image pack`. A heading may name two.
fn sections() -> BTreeMap<String, String> {
    let manual = manual();
    let commands =
        manual.split("\n## Commands\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a chapter");
    let mut found = BTreeMap::new();
    for section in commands.split("\n### ").skip(1) {
        let (heading, body) = section.split_once('\n').unwrap_or((section, ""));
        let prose: String = format!("{heading}\n{body}").split("```").step_by(2).collect();
        for command in heading.split(", ") {
            let is_command =
                |word: &&str| !word.starts_with('-') && word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            let words = command.split(' ').take_while(is_command);
            found.insert(words.collect::<Vec<_>>().join(" "), prose.clone());
        }
    }
    found
}

/// Every command that does something, by its words.
fn commands() -> BTreeMap<String, Command> {
    fn collect(command: &Command, words: &str, found: &mut BTreeMap<String, Command>) {
        for sub in command.get_subcommands() {
            let words = format!("{words} {}", sub.get_name()).trim().to_owned();
            if sub.has_subcommands() {
                collect(sub, &words, found);
            } else {
                found.insert(words, sub.clone());
            }
        }
    }
    let mut cli = Cli::command();
    cli.build();
    let mut found = BTreeMap::new();
    collect(&cli, "", &mut found);
    found
}

/// The long flags that stand in a text.
fn flags_in(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("--") {
        let before = text[..at].chars().next_back();
        let name: String = text[at + 2..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
        // A row of dashes under a table's head is no flag.
        if name.starts_with(|c: char| c.is_ascii_lowercase()) && before.is_none_or(|c| !c.is_alphanumeric() && c != '-')
        {
            found.insert(name);
        }
    }
    found
}

#[test]
fn the_manual_has_every_command_with_its_flags_and_no_others() {
    let (sections, commands) = (sections(), commands());
    // `help` is explained at the top, for all of them.
    let named: BTreeSet<&str> = commands.keys().map(String::as_str).filter(|name| *name != "help").collect();
    assert_eq!(sections.keys().map(String::as_str).collect::<BTreeSet<_>>(), named, "left: docs/orlopctl.md");
    let mut wrong = Vec::new();
    for (name, prose) in &sections {
        let mut written = flags_in(prose);
        for argument in commands[name].get_arguments() {
            let Some(long) = argument.get_long() else { continue };
            let there = written.remove(long) || argument.get_short().is_some_and(|c| prose.contains(&format!("-{c}")));
            if !there && !argument.is_hide_set() && !argument.is_global_set() && !matches!(long, "help" | "version") {
                wrong.push(format!("{name} --{long} is not in the manual"));
            }
        }
        wrong.extend(written.into_iter().map(|flag| format!("{name} has no --{flag}")));
    }
    assert!(wrong.is_empty(), "docs/orlopctl.md:\n{}", wrong.join("\n"));
}

#[test]
fn the_exit_codes_of_the_manual_are_those_of_the_help() {
    let manual = manual();
    let table =
        manual.split("\n## Exit codes\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a chapter");
    let written: BTreeMap<u8, String> = table
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            Some((cells.next()?.parse().ok()?, cells.next()?.trim_end_matches(" |").replace('`', "")))
        })
        .collect();
    let told: BTreeMap<u8, String> = EXIT_CODES
        .lines()
        .filter_map(|line| {
            let (code, meaning) = line.strip_prefix("  ")?.split_once("  ")?;
            Some((code.parse().ok()?, meaning.to_owned()))
        })
        .collect();
    assert!(told.len() >= 8, "{told:?}");
    assert_eq!(written.keys().collect::<Vec<_>>(), told.keys().collect::<Vec<_>>());
    for (code, meaning) in told {
        assert!(written[&code].starts_with(&meaning), "{code}: {:?} and {meaning:?}", written[&code]);
    }
}

/// The words of a line that a shell would run, as far as documents need it: quotes, comments, and what follows a
/// command (`|`, `>`, `&`).
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '#' | '|' | '>' | '&') if word.is_none() => break,
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The lines of a document's blocks of code, those that go on behind a `\` put together.
fn code(text: &str) -> Vec<String> {
    let blocks = text.split("\n```").skip(1).step_by(2);
    blocks.flat_map(|block| block.replace("\\\n", " ").lines().skip(1).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn every_command_that_a_document_tells_to_type_is_understood() {
    let docs = std::fs::read_dir(root().join("docs")).expect("docs/").flatten().map(|entry| entry.path());
    let files = docs.filter(|path| path.extension().is_some_and(|end| end == "md")).chain([root().join("README.md")]);
    let (mut checked, mut wrong) = (0, Vec::new());
    for file in files {
        for line in code(&read(&file)) {
            let line = line.trim().trim_start_matches("$ ").trim_start_matches("sudo ");
            let words = words(line);
            let [program, first, ..] = &words[..] else { continue };
            // Drawings name it too.
            if !(program == "orlopctl" || program.ends_with("/orlopctl")) || !first.is_ascii() {
                continue;
            }
            checked += 1;
            if let Err(error) = Cli::try_parse_from(&words)
                && error.use_stderr()
            {
                wrong.push(format!("{}: {line}\n{error}", file.display()));
            }
        }
    }
    assert!(checked >= 30, "only {checked} lines were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
