//! What `orlopctl` prints for other programs.

use crate::world::World;
use serde_json::Value;
use std::process::{Command, Stdio};

fn orlopctl(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_orlopctl")).args(arguments).output().expect("orlopctl starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_shell_takes_the_completions() {
    let script = orlopctl(&["completions", "bash"]);
    let mut bash = Command::new("bash");
    // It knows the commands, and the shell would run it.
    let check = format!("{script}\ncomplete -p orlopctl");
    let output = bash.arg("-c").arg(check).stdin(Stdio::null()).output().expect("bash starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    for command in ["deploy", "expect-generation", "dev", "insecure-registry"] {
        assert!(script.contains(command), "{command} is not completed");
    }
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(orlopctl(&["completions", shell]).contains("expect-generation"), "{shell}");
    }
}

#[test]
fn the_schema_is_that_of_the_reader() {
    let printed: Value = serde_json::from_str(&orlopctl(&["spec", "schema"])).expect("json");
    assert_eq!(printed, orlop_spec::schema());
}

#[tokio::test(flavor = "multi_thread")]
async fn yaml_says_what_json_says() {
    let world = World::whole().await;
    let file = world.spec(&[("api", "good", 2)]);
    world.ctl(&format!("deploy -f {file} --wait")).await.expect(0);
    let yaml = |text: &str| -> Value { serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")) };
    // `why` tells how long ago things were, and is another one a moment later.
    for line in [
        "status",
        "ps",
        "describe shop/api",
        "describe shop/api/0",
        "describe alpha",
        "events",
        "node ls",
        &format!("plan -f {file}"),
        &format!("validate -f {file}"),
    ] {
        let json = world.ctl(&format!("{line} -o json")).await.expect(0);
        let json: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{line}: {error}: {json}"));
        assert_eq!(yaml(&world.ctl(&format!("{line} -o yaml")).await.expect(0)), json, "{line}");
    }

    // A document for each line of a log.
    let json = world.ctl("logs shop/api -o json").await.expect(0);
    let json: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
    assert_eq!(json.len(), 2, "{json:?}");
    let text = world.ctl("logs shop/api -o yaml").await.expect(0);
    let documents: Vec<Value> = text.split("---\n").skip(1).map(yaml).collect();
    assert_eq!(documents, json);
}
