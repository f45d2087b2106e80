//! A panic of the process is a line of its log.

use std::process::Command;

const CHILD: &str = "ORLOP_TELEMETRY_TEST_CHILD";

/// Does nothing by itself: it is what the other test runs in a process of its own.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_some() {
        orlop_telemetry::init("agent", orlop_telemetry::Format::Json, "info").expect("first in this process");
        assert!(orlop_telemetry::init("agent", orlop_telemetry::Format::Json, "info").is_err(), "set up twice");
        let _ =
            std::thread::Builder::new().name("worker".into()).spawn(|| panic!("out of {}", "cheese")).map(|t| t.join());
    }
}

#[test]
fn a_panic_is_logged_with_its_message_thread_and_place() {
    let output = Command::new(std::env::current_exe().expect("a test has a path"))
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("the child runs");
    let log = String::from_utf8_lossy(&output.stderr);
    let line = log.lines().find(|line| line.contains("panicked")).unwrap_or_else(|| panic!("no line in {log:?}"));
    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(line["message"], "panicked: out of cheese");
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["role"], "agent");
    assert_eq!(line["thread"], "worker");
    assert!(line["at"].as_str().is_some_and(|at| at.contains("tests/panic.rs:")), "{line}");
}
