//! The documents against the house: the map in `docs/ARCHITECTURE.md` names every crate, crates know only what the map
//! lets them know, and what a document points to is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What no pure crate may depend on: each brings sockets, clocks or the kernel.
const IMPURE: [&str; 10] =
    ["containerd-client", "hyper", "hyper-util", "nix", "openraft", "rand", "reqwest", "sled", "tokio", "tonic"];
/// Pure crates whose names do not end with `-core`.
const PURE: [&str; 4] = ["orlop-model", "orlop-planner", "orlop-spec", "orlop-state"];
/// Packages that one crate only may know.
const OWNED: [(&str, &str); 6] = [
    ("containerd-client", "orlop-runtime"),
    ("oci-spec", "orlop-runtime"),
    ("openraft", "orlop-consensus"),
    ("rtnetlink", "orlop-overlay"),
    ("sled", "orlop-consensus"),
    ("sqlx", "orlop-durable"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The packages of one folder of the workspace, and what each depends on outside its tests and its build.
fn packages(folder: &str) -> BTreeMap<String, BTreeSet<String>> {
    let folder = root().join(folder);
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        if !path.join("Cargo.toml").is_file() {
            continue;
        }
        let (mut table, mut name, mut dependencies) = (String::new(), String::new(), BTreeSet::new());
        for line in read(&path.join("Cargo.toml")).lines() {
            if let Some(header) = line.trim().strip_prefix('[') {
                table = header.trim_end_matches(']').to_owned();
                // `[dependencies.tokio]`, and the tables of one target or another.
                if let Some((_, dependency)) = table.split_once("dependencies.") {
                    dependencies.insert(dependency.to_owned());
                }
            } else if let Some((key, value)) = line.split_once('=') {
                let key = key.trim().split('.').next().unwrap_or_default().to_owned();
                if table == "package" && key == "name" {
                    name = value.trim().trim_matches('"').to_owned();
                } else if table == "dependencies" || table.ends_with(".dependencies") {
                    dependencies.insert(key);
                }
            }
        }
        found.insert(name, dependencies);
    }
    found
}

/// Each crate of the map, with the number of its row.
fn map() -> BTreeMap<String, usize> {
    let text = read(&root().join("docs/ARCHITECTURE.md"));
    let section = text.split("\n## The map\n").nth(1).expect("a section \"The map\"");
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut rows = BTreeMap::new();
    for (number, line) in section.lines().filter(|line| line.starts_with("| `")).enumerate() {
        let cell = line.split('|').nth(1).unwrap_or_default();
        for name in cell.split('`').skip(1).step_by(2) {
            assert_eq!(rows.insert(name.to_owned(), number), None, "{name} stands twice in the map");
        }
    }
    rows
}

#[test]
fn the_map_names_every_crate_and_no_other() {
    let mapped: BTreeSet<String> = map().into_keys().collect();
    let there: BTreeSet<String> = packages("crates").into_keys().collect();
    assert!(there.len() > 10, "only {there:?} was found");
    assert_eq!(mapped, there, "left: the map in docs/ARCHITECTURE.md; right: crates/");
}

#[test]
fn a_crate_uses_only_crates_of_rows_above_its_own() {
    let rows = map();
    for (name, dependencies) in packages("crates") {
        for used in dependencies.iter().filter(|used| used.starts_with("orlop-")) {
            assert!(rows[used] < rows[&name], "{name} uses {used}, which does not stand above it in the map");
        }
    }
}

#[test]
fn pure_crates_know_no_sockets_and_no_clocks() {
    let crates = packages("crates");
    let pure: Vec<&String> =
        crates.keys().filter(|name| name.ends_with("-core") || PURE.contains(&name.as_str())).collect();
    assert!(pure.len() >= PURE.len() + 3, "only {pure:?} are pure");
    for name in pure {
        let impure: Vec<&String> = crates[name].iter().filter(|used| IMPURE.contains(&used.as_str())).collect();
        assert!(impure.is_empty(), "{name} is pure and depends on {impure:?}");
        let lints = root().join("crates").join(name).join("clippy.toml");
        assert!(lints.is_file(), "{name} is pure and has no clippy.toml that keeps it so");
    }
}

#[test]
fn what_the_map_says_a_crate_knows_nothing_of_is_no_dependency() {
    let mut packages_all = packages("crates");
    packages_all.extend(packages("bin"));
    for (name, dependencies) in &packages_all {
        for (package, owner) in OWNED {
            assert!(!dependencies.contains(package) || name == owner, "only {owner} may use {package}, not {name}");
        }
    }
    let forbidden: [(&str, &[&str]); 7] = [
        ("orlop-model", &["orlop-", "prost", "serde"]),
        ("orlop-consensus", &["orlop-model", "orlop-spec", "orlop-state", "orlop-planner"]),
        ("orlop-telemetry", &["orlop-"]),
        ("orlop-control", &["orlop-runtime", "orlop-agent", "orlop-overlay", "orlop-proxy"]),
        ("orlop-durable", &["orlop-state", "orlop-control", "orlop-client", "orlop-consensus"]),
        ("orlop-client", &["orlop-control", "orlop-state", "orlop-consensus"]),
        ("orlop-runtime", &["orlop-proto", "orlop-state", "orlop-agent", "orlop-client"]),
    ];
    for (name, unknown) in forbidden {
        let dependencies = packages_all.get(name).unwrap_or_else(|| panic!("there is no crate {name}"));
        for used in dependencies {
            assert!(!unknown.iter().any(|prefix| used.starts_with(prefix)), "{name} knows nothing of {used}");
        }
    }
}

/// Every Markdown file of the repository, build products and hidden folders left out.
fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            documents(&path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// The anchor that a heading has: lower case, blanks made `-`, punctuation dropped.
fn anchor(heading: &str) -> String {
    let heading = heading.trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// A document without its fenced blocks, where brackets are not links and `#` begins no heading.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

#[test]
fn every_relative_link_of_every_document_leads_somewhere() {
    let mut files = Vec::new();
    documents(&root(), &mut files);
    let (mut checked, mut broken) = (0, Vec::new());
    for file in files {
        let text = prose(&read(&file));
        for after in text.split("](").skip(1) {
            let Some((target, _)) = after.split_once(')') else { continue };
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            checked += 1;
            let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
            let there = if path.is_empty() { file.clone() } else { file.with_file_name("").join(path) };
            let whole = there.exists()
                && (fragment.is_empty()
                    || prose(&read(&there))
                        .lines()
                        .any(|line| line.starts_with('#') && anchor(line.trim_start_matches('#')) == fragment));
            if !whole {
                broken.push(format!("{}: {target}", file.display()));
            }
        }
    }
    assert!(checked > 5, "only {checked} links were found");
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}
