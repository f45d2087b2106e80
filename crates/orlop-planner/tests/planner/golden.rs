//! Transcripts: a cluster, a line, and what the planner makes of it; `then` introduces what it wants after that was
//! applied. Run with `UPDATE_GOLDEN=1` to write down what it makes of it now, and read the difference.

use crate::text::Scene;
use crate::toy;
use orlop_planner::{check, plan};
use std::path::Path;

/// The plan for the scene, and the plans that follow when it is applied and nothing else happens.
fn transcript(scene: &str) -> String {
    let mut scene = Scene::read(scene);
    let (mut text, mut next) = (String::new(), 0);
    for round in 0.. {
        let now = scene.now;
        let plan = plan(&scene.cluster, now, &mut toy::ids(&mut next));
        assert_eq!(check::violations(&scene.cluster, &plan, now), []);
        let printed = scene.print(&plan);
        if plan.steps.is_empty() {
            if round == 0 {
                text.push_str("nothing\n");
                text.push_str(&printed);
            }
            return text;
        }
        assert!(round < 5, "never content:\n{text}{printed}");
        if round > 0 {
            text.push_str("then\n");
        }
        text.push_str(&printed);
        assert_eq!(toy::apply(&mut scene.cluster, &plan, now), 0, "a step was refused");
    }
    text
}

fn check_file(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/planner/golden").join(name);
    let file = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut updated = String::new();
    for case in format!("\n{file}").split("\n== ").skip(1) {
        let (title, rest) = case.split_once('\n').expect("a title");
        let (scene, _) = rest.split_once("--\n").unwrap_or((rest, ""));
        updated.push_str(&format!("== {title}\n{}\n--\n{}\n", scene.trim_end(), transcript(scene)));
    }
    let updated = format!("{}\n", updated.trim_end());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, updated).expect("write");
    } else if file != updated {
        for (expected, found) in file.split("\n== ").zip(updated.split("\n== ")) {
            assert_eq!(expected, found, "in {name}");
        }
        panic!("{name} differs in its form");
    }
}

#[test]
fn services_start_and_scale_as_the_transcripts_say() {
    check_file("scale.txt");
}

#[test]
fn rollouts_replace_replicas_as_the_transcripts_say() {
    check_file("rollout.txt");
}

#[test]
fn dependencies_gate_starts_as_the_transcripts_say() {
    check_file("dependencies.txt");
}

#[test]
fn replicas_are_placed_as_the_transcripts_say() {
    check_file("placement.txt");
}

#[test]
fn services_are_removed_as_the_transcripts_say() {
    check_file("removal.txt");
}
