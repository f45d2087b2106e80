//! Settings: what docs/operations.md says of them is what the programs do.

use crate::{PATIENCE, ROLES, document, refusal, run, text};
use orlop_testbed::{Program, program, wait_for};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The keys that a program knows, which it tells whoever gives it another.
fn known(role: &str, prefix: &str) -> BTreeSet<String> {
    let expected = |key: &str| -> BTreeSet<String> {
        let output = run(role, &["--print-config"], &[(&format!("{prefix}{key}"), "1")]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{role} takes {key}: {said}");
        assert!(said.contains("nope"), "{role} does not name the key: {said}");
        let (_, list) = said.split_once("expected").unwrap_or_else(|| panic!("no list of keys: {said}"));
        list.split('`').filter(|part| is_key(part)).map(str::to_owned).collect()
    };
    let mut keys = expected("NOPE");
    if keys.remove("logs") {
        keys.extend(expected("LOGS__NOPE").into_iter().map(|key| format!("logs.{key}")));
    }
    keys
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '_' | '.'))
}

/// A row of a table of settings.
struct Row {
    /// As the file would have it; `None` where the table explains in words.
    default: Option<String>,
    has_flag: bool,
}

/// What the manual says of a program's settings.
fn documented(role: &str) -> BTreeMap<String, Row> {
    let manual = document("operations.md");
    let section = manual.split(&format!("\n### {role}\n")).nth(1).unwrap_or_else(|| panic!("no section {role}"));
    let section = section.split("\n### ").next().unwrap_or_default().split("\n## ").next().unwrap_or_default();
    let mut rows = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let key = cells[1].split('`').nth(1).unwrap_or_default().to_owned();
        let default = cells[2].strip_prefix('`').and_then(|rest| rest.strip_suffix('`')).map(str::to_owned);
        rows.insert(key, Row { default, has_flag: !cells[1].contains("*file*") });
    }
    if role != "orlop-control-plane" {
        let default = if role == "orlop-scheduler" { "unix:/run/orlop/control.sock" } else { "auto" };
        assert!(manual.contains("All but the control plane have `control_plane`"), "the manual says it once for all");
        rows.insert("control_plane".into(), Row { default: Some(default.to_owned()), has_flag: true });
    }
    if role == "orlop-proxy" {
        for line in document("networking.md").lines().filter(|line| line.starts_with("| ")) {
            let key = line.split('|').nth(3).unwrap_or_default().trim().trim_matches('`');
            if key.contains('_') && is_key(key) {
                rows.insert(key.to_owned(), Row { default: None, has_flag: false });
            }
        }
    }
    rows
}

/// The settings that `--print-config` shows, by key.
fn printed(config: &str) -> BTreeMap<String, String> {
    let (mut table, mut found) = (String::new(), BTreeMap::new());
    for line in config.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = format!("{name}.");
            found.insert(name.to_owned(), "{}".to_owned());
        } else if let Some((key, value)) = line.split_once(" = ") {
            found.insert(format!("{table}{key}"), value.trim_matches('"').to_owned());
        }
    }
    found
}

#[test]
fn the_tables_of_the_manual_have_every_key_its_default_and_its_flag() {
    for (role, prefix) in ROLES {
        let (known, rows) = (known(role, prefix), documented(role));
        assert_eq!(rows.keys().cloned().collect::<BTreeSet<_>>(), known, "{role}: left the manual, right the program");

        let config = printed(&text(&run(role, &["--print-config"], &[]).stdout));
        let help = text(&run(role, &["--help"], &[]).stdout);
        for (key, row) in &rows {
            if let Some(default) = &row.default {
                assert_eq!(config.get(key), Some(default), "{role}: the default of {key}");
            }
            let flag = format!("--{} ", key.replace('_', "-"));
            assert_eq!(help.contains(&flag), row.has_flag, "{role} {flag}");
        }
        for (key, default) in [("log", "info"), ("log_format", "json")] {
            assert_eq!(config.get(key).map(String::as_str), Some(default), "{role}");
        }
    }
}

#[test]
fn what_is_printed_is_a_file_that_says_the_same_again() {
    /// A program, what its environment sets, and words of what it prints then.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);
    let folder = tempfile::tempdir().expect("a folder");
    let cases: [Case<'_>; 5] = [
        (
            "orlop-control-plane",
            &[("LISTEN", "[\"unix:/a.sock\", \"http://127.0.0.1:7700\"]")],
            &["7700", "unix:/a.sock"],
        ),
        ("orlop-scheduler", &[("LEASE_TTL_MS", "7000")], &["lease_ttl_ms = 7000"]),
        ("orlop-overlay", &[("BRIDGE", "two0"), ("LOG", "debug")], &["bridge = \"two0\"", "log = \"debug\""]),
        (
            "orlop-agent",
            &[
                ("LABELS", "{disk=ssd}"),
                ("LOGS__FILES_MAX", "10"),
                ("NAME", "two"),
                ("REGISTRY_CA_FILES", "{\"registry.example\"=\"/etc/orlop/ca.pem\"}"),
            ],
            &["disk = \"ssd\"", "files_max = 10", "name = \"two\"", "/etc/orlop/ca.pem"],
        ),
        ("orlop-proxy", &[("DRAIN_MS", "1")], &["drain_ms = 1\n"]),
    ];
    for ((role, prefix), (of, variables, words)) in ROLES.into_iter().zip(cases) {
        assert_eq!(role, of);
        let named: Vec<(String, &str)> =
            variables.iter().map(|(key, value)| (format!("{prefix}{key}"), *value)).collect();
        let named: Vec<(&str, &str)> = named.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        let first = run(role, &["--print-config"], &named);
        let said = text(&first.stdout);
        assert!(first.status.success(), "{role}: {}", text(&first.stderr));
        for word in words {
            assert!(said.contains(word), "{role}: {word} is not in\n{said}");
        }
        let file = folder.path().join(format!("{role}.toml"));
        std::fs::write(&file, &said).expect("a file");
        let file = file.display().to_string();
        let again = run(role, &["--config", &file, "--print-config"], &[]);
        assert!(again.status.success(), "{role}: {}", text(&again.stderr));
        assert_eq!(text(&again.stdout), said, "{role}");
    }
}

#[test]
fn what_nobody_knows_is_refused_wherever_it_stands() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("nope.toml");
    std::fs::write(&file, "nope = 1\n").expect("a file");
    let absent = folder.path().join("absent.toml").display().to_string();
    for (role, prefix) in ROLES {
        let of_file = ["--config".to_owned(), file.display().to_string()];
        let (code, said) = refusal(folder.path(), role, &of_file, &[]);
        assert!(code == Some(1) && said.contains("nope"), "{role}: {code:?} {said}");
        let (code, said) = refusal(folder.path(), role, &[], &[(&format!("{prefix}NOPE"), "1".into())]);
        assert!(code == Some(1) && said.contains("nope"), "{role}: {code:?} {said}");
        let (code, said) = refusal(folder.path(), role, &["--nope".to_owned()], &[]);
        assert!(code == Some(2) && said.contains("--nope"), "{role}: {code:?} {said}");
        let (code, said) = refusal(folder.path(), role, &["--config".to_owned(), absent.clone()], &[]);
        assert!(code == Some(1) && said.contains("absent.toml"), "{role}: {code:?} {said}");
    }
}

#[test]
fn a_range_that_is_changed_after_the_cluster_was_made_is_warned_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("control.sock");
    let log = folder.path().join("control.log");
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    for range in ["10.78.0.0/16", "10.79.0.0/16"] {
        let mut command = Command::new(program("orlop-control-plane"));
        command.arg("--data-dir").arg(folder.path().join("data")).args(["--make-cluster", "--cluster-range", range]);
        command.arg("--listen").arg(format!("unix:{}", socket.display()));
        let mut running = Program::start("orlop-control-plane", command, &log).expect("it starts");
        let told = || said().contains("keeps the address range");
        wait_for("it to listen", PATIENCE, || said().contains("listening").then_some(()), said);
        if range == "10.78.0.0/16" {
            assert!(!told(), "{}", said());
        } else {
            wait_for("the warning", PATIENCE, || told().then_some(()), said);
            assert!(said().contains("10.78.0.0/16") && said().contains(range), "{}", said());
        }
        running.kill();
    }
}
