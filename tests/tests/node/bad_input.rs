//! Bad input ends in a clear state with the reason on `describe` and `why`, and disturbs nothing else.

use crate::specs::{app, hello, pids, replicas, shell, testbed, wait_for_phase, wait_for_why};
use orlop_testbed::{Options, TestImage, Testbed};
use std::time::{Duration, Instant};

#[test]
fn what_cannot_run_says_why_and_its_neighbour_does_not_notice() {
    let testbed = testbed(Options::default());
    let image = |name: &str, image: &str, more: &str| {
        format!("  {name}:\n    rtype: service\n    image: {{ name: \"{image}\", pull_policy: never }}\n{more}")
    };
    let spec = app(&(shell("calm", "exec sleep 1000", "")
        + &image("absent", "localhost/absent:1", "")
        + &image("wrong", "localhost/busybox:1", "    command: [\"/no/such/command\"]\n")
        + &image("nobody", "localhost/busybox:1", "    command: [\"/bin/sleep\", \"1000\"]\n    user: nosuchuser\n")
        + &image("mute", "localhost/mute:1", "")
        + &image(
            "unbound",
            "localhost/busybox:1",
            "    command: [\"/bin/sleep\", \"1000\"]\n    volumes: [ { type: bind, source: /no/such/path, target: /x } ]\n",
        )));
    // Programs that the kernel refuses are told apart from programs that fail.
    let programs = testbed.path("programs");
    std::fs::create_dir(&programs).expect("a folder");
    for (name, text, mode) in [
        ("garbage", "\x7f not a program", 0o755),
        ("script", "#!/no/such/shell\n", 0o755),
        ("plain", "#!/bin/sh\n", 0o644),
    ] {
        use std::os::unix::fs::PermissionsExt;
        let path = programs.join(name);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("its mode");
    }
    let bound = format!("    volumes: [ {{ type: bind, source: {}, target: /srv }} ]\n", programs.display());
    let program = |name: &str| image(name, "localhost/busybox:1", &format!("    command: [\"/srv/{name}\"]\n{bound}"));
    let sleeps = "    command: [\"/bin/sleep\", \"1000\"]\n";
    let spec = spec
        + &program("garbage")
        + &program("script")
        + &program("plain")
        + &image("elsewhere", "localhost/busybox:1", &format!("{sleeps}    working_dir: /etc/passwd\n"))
        + &image(
            "covered",
            "localhost/busybox:1",
            &format!("{sleeps}    volumes: [ {{ type: named, name: data, target: /etc/passwd }} ]\n"),
        )
        + "  near:\n    rtype: service\n    image: { name: \"localhost/busybox:2\" }\n";
    testbed.import(&[TestImage::Mute]);
    testbed.deploy(&spec, &[]);
    wait_for_phase(&testbed, "app/calm", &["running"]);
    let before = pids(&testbed, "app/calm");

    wait_for_why(&testbed, "app/absent", &["localhost/absent:1"]);
    wait_for_why(&testbed, "app/wrong", &["/no/such/command"]);
    wait_for_why(&testbed, "app/nobody", &["nosuchuser"]);
    wait_for_why(&testbed, "app/mute", &["command"]);
    wait_for_why(&testbed, "app/unbound", &["/no/such/path"]);
    wait_for_why(&testbed, "app/garbage", &["/srv/garbage cannot be executed", "architecture"]);
    wait_for_why(&testbed, "app/script", &["/srv/script cannot be executed: the interpreter", "Put it into the image"]);
    wait_for_why(&testbed, "app/plain", &["/srv/plain cannot be executed", "chmod"]);
    wait_for_why(&testbed, "app/elsewhere", &["/etc/passwd cannot be used: a file is there", "Correct `working_dir`"]);
    wait_for_why(&testbed, "app/covered", &["/etc/passwd cannot be mounted: the image has a file there"]);
    wait_for_why(&testbed, "app/near", &["the node has localhost/busybox:1", "orlopctl image import"]);
    // A sentence is told once.
    for service in ["absent", "near", "script", "mute"] {
        let why = testbed.ctl_ok(&["why", &format!("app/{service}")]);
        let mut told: Vec<&str> = why.split_inclusive(['.', ':']).map(str::trim).filter(|s| s.len() > 30).collect();
        let all = told.len();
        told.sort_unstable();
        told.dedup();
        assert_eq!(told.len(), all, "{why}");
    }
    for service in ["absent", "wrong", "nobody", "mute", "unbound", "plain", "elsewhere", "covered", "near"] {
        let described = testbed.ctl_ok(&["describe", &format!("app/{service}")]);
        assert!(!described.contains("running"), "{described}");
        assert_eq!(pids(&testbed, &format!("app/{service}")).len(), 0);
    }
    assert_eq!(pids(&testbed, "app/calm"), before);
    testbed.ctl_ok(&["stop", "app", "--wait", "--force"]);
    assert_eq!(replicas(&testbed, "app/calm").len(), 0);
}

#[test]
fn specs_that_are_too_large_or_explode_are_refused_at_once_with_the_place() {
    let testbed = Testbed::prepare(Options::default());
    let refused = |text: &str, words: &[&str]| {
        let file = testbed.spec_file(text);
        let start = Instant::now();
        let output = testbed.ctl(&["validate", "-f", file.to_str().expect("a plain path")]);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert_eq!(output.code, 3, "{output:?}");
        let said = output.stdout + &output.stderr;
        for word in words {
            assert!(said.contains(word), "{word} is not in {said}");
        }
    };
    refused(&app(&hello("web", 1, &format!("    # {}\n", "x".repeat(10 << 20)))), &["1048576"]);
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let of = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![of; 10].join(", ")));
    }
    refused(&bomb, &["orlop.yaml"]);
    refused(
        &app(&(hello("web", 1, "    heath: {}\n") + &hello("api", 1, "    depends: [ { service: nope } ]\n"))),
        &["services.web.heath", "health", "services.api.depends[0].service", "nope", "orlop.yaml:"],
    );
    refused(
        &app("  nightly:\n    rtype: cron\n    schedule: \"0 3 * * *\"\n    image: { name: localhost/x:1 }\n"),
        &["not supported yet", "services.nightly.rtype"],
    );
}

#[test]
fn a_port_that_is_taken_is_reported_and_the_rest_works() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port();
    let testbed = testbed(Options::default());
    testbed.deploy(
        &app(&(hello("web", 1, "")
            + &shell(
                "db",
                &format!("exec nc -ll -p {port} -e /bin/cat"),
                &format!("    endpoints: [ {{ name: db, protocol: tcp, port: {port}, expose: public }} ]\n"),
            ))),
        &[],
    );
    wait_for_phase(&testbed, "app/web", &["healthy"]);
    wait_for_why(&testbed, "app/db", &[&port.to_string(), "another process has the port"]);
    drop(taken);
    orlop_testbed::wait_for(
        "the port to be taken over",
        crate::specs::PATIENCE,
        || {
            use std::io::{Read, Write};
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
            stream.write_all(b"ping").ok()?;
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).ok()?;
            (&answer == b"ping").then_some(())
        },
        || crate::specs::explain(&testbed, "app/db"),
    );
}
