//! Whole files and everything that is said about them, word for word. `UPDATE_GOLDEN=1` writes the expected texts anew.

use orlop_model::spec::{Service, Workload};
use std::path::{Path, PathBuf};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let entries = std::fs::read_dir(&folder).expect("the folder exists");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(!files.is_empty(), "no files in {}", folder.display());
    files
}

fn check(path: &Path, said: &str) {
    let expected_path = path.with_extension("txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&expected_path, said).expect("writable");
    }
    let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
    assert!(said == expected, "{} says\n{said}\nand not as expected\n{expected}", path.display());
}

fn parse(path: &Path) -> Result<orlop_model::spec::Deployment, orlop_spec::Problems> {
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    orlop_spec::parse(name, &std::fs::read_to_string(path).expect("readable"))
}

#[test]
fn every_problem_of_a_bad_file_is_told_with_its_place_path_and_remedy() {
    for path in files("bad") {
        let problems = parse(&path).expect_err("a bad file");
        check(&path, &format!("{problems}\n"));
    }
}

#[test]
fn a_good_file_becomes_the_deployment_that_it_describes_with_defaults_filled_in() {
    for path in files("good") {
        let deployment = parse(&path).unwrap_or_else(|problems| panic!("{problems}"));
        check(&path, &format!("{deployment:#?}\n"));
    }
}

#[test]
fn a_file_that_says_nothing_else_gets_the_defaults_of_the_model() {
    let text = "version: v1\ndeployment: shop\nservices:\n  api:\n    rtype: service\n    image: { name: registry.test/api:1 }\n";
    let deployment = orlop_spec::parse("shop.yaml", text).unwrap_or_else(|problems| panic!("{problems}"));
    let service = Service::of(Workload::of("registry.test/api:1"));
    assert_eq!(deployment.services.into_values().collect::<Vec<_>>(), [service]);
}

#[test]
fn the_example_of_the_design_is_refused_only_for_what_is_not_supported_yet() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad/design.yaml");
    for problem in &parse(&path).expect_err("some of it is not supported yet") {
        assert!(problem.is_not_supported_yet() || problem.found == "unknown service \"db\"", "{problem}");
    }
}

#[test]
fn every_spec_file_in_the_documentation_is_good() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut documents = vec![root.join("README.md")];
    for entry in std::fs::read_dir(root.join("docs")).expect("the folder exists") {
        documents.push(entry.expect("readable").path());
    }
    let mut seen = 0;
    for document in documents.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let text = std::fs::read_to_string(document).expect("readable");
        // A file begins with its version, in a block of its own or in a shell's here-document.
        for (start, _) in text.match_indices("\nversion: v1\n") {
            let file = &text[start + 1..];
            let end = ["\n```", "\nYAML"].iter().filter_map(|end| file.find(end)).min().expect("an end");
            if let Err(problems) = orlop_spec::parse(&document.display().to_string(), &file[..=end]) {
                panic!("{problems}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 4, "{seen} files");
}
