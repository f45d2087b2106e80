//! What `make up` and `make down` do, with directories, names and a port of the test's own.

use crate::specs::{PATIENCE, pids};
use orlop_testbed::{Options, TestImage, Testbed, get, program, wait_for};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn script(name: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository");
    let mut command = Command::new(root.join("scripts").join(name));
    // A script that works only in the root of the repository would hide here.
    command.current_dir("/");
    command
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn up(testbed: &Testbed, image: &Path, http: &str) -> Output {
    let mut command = script("up");
    command.arg(program("orlopctl")).arg(testbed.data()).arg(testbed.run()).arg(image).arg(http);
    command.args(testbed.dev_flags()).output().expect("the script runs")
}

fn down(testbed: &Testbed, orlopctl: PathBuf) -> Output {
    let mut command = script("down");
    command.arg(orlopctl).arg(testbed.data()).arg(testbed.run()).args(testbed.dev_flags());
    command.output().expect("the script runs")
}

#[test]
fn up_and_down_are_harmless_twice_and_leave_nothing() {
    let testbed = Testbed::prepare(Options::default());
    let image = TestImage::Hello.write(&testbed.path(""));
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|taken| taken.local_addr()).expect("a free port");
    let http = port.to_string();

    let first = up(&testbed, &image, &http);
    assert!(first.status.success(), "{}", said(&first));
    let url = format!("http://{http}/");
    assert!(said(&first).contains(&format!("answers at {url}")), "{}", said(&first));
    assert_eq!(get(port, "/").map(|answer| answer.status).ok(), Some(200));
    let before = pids(&testbed, "hello/web");
    assert_eq!(before.len(), 2);

    let second = up(&testbed, &image, &http);
    assert!(second.status.success(), "{}", said(&second));
    assert!(said(&second).contains("runs already") && said(&second).contains(&url), "{}", said(&second));
    assert_eq!(pids(&testbed, "hello/web"), before);

    // A flag that would be ignored is refused, and what runs goes on.
    let other = up(&testbed, &image, "127.0.0.1:0");
    assert!(!other.status.success(), "{}", said(&other));
    let words = format!("--http is {http} there, and 127.0.0.1:0 was asked for");
    assert!(said(&other).contains(&words), "{}", said(&other));
    assert_eq!(pids(&testbed, "hello/web"), before);

    // After `make clean` there is no program to stop the node with.
    let without = down(&testbed, testbed.path("no-such-program"));
    assert_eq!(without.status.code(), Some(1), "{}", said(&without));
    assert!(said(&without).contains("runs on (process "), "{}", said(&without));

    for _ in 0..2 {
        let ended = down(&testbed, program("orlopctl"));
        assert!(ended.status.success(), "{}", said(&ended));
        assert_eq!(testbed.footprint().lines(), Vec::<&str>::new());
    }
    assert!(get(port, "/").is_err(), "nobody listens any more");
    let without = down(&testbed, testbed.path("no-such-program"));
    assert_eq!(without.status.code(), Some(0), "{}", said(&without));
}

#[test]
fn down_without_the_program_sees_what_a_killed_node_left() {
    let mut testbed = crate::specs::testbed(Options::default());
    testbed.deploy(&crate::specs::app(&crate::specs::hello("web", 1, "")), &["--wait"]);
    testbed.kill(orlop_testbed::Role::Dev);
    let without = down(&testbed, testbed.path("no-such-program"));
    assert_eq!(without.status.code(), Some(1), "{}", said(&without));
    assert!(said(&without).contains("not taken away"), "{}", said(&without));
}

#[test]
fn a_node_in_the_background_says_why_it_did_not_start() {
    let testbed = Testbed::prepare(Options::default());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let http = taken.local_addr().expect("an address").to_string();
    let output = testbed.dev_command(&http).arg("--detach").output().expect("orlopctl runs");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("--http"), "{}", said(&output));
    wait_for(
        "the node to be gone",
        PATIENCE,
        || testbed.footprint().lines().iter().all(|line| !line.contains("dev --")).then_some(()),
        || format!("{:#?}", testbed.footprint()),
    );
}

#[test]
fn what_is_missing_is_named_where_it_cannot_be_installed() {
    let output = script("prerequisites").arg("--tests").output().expect("the script runs");
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output), "", "with everything there it says nothing");

    let output = script("prerequisites").env("PATH", "/nowhere").output().expect("the script runs");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    for word in ["containerd", "gcc", "package manager"] {
        assert!(said(&output).contains(word), "{}", said(&output));
    }
}
