//! Secrets in files: in memory, as asked for, changed under a process or with it, and gone when it is.

use crate::specs::{PATIENCE, app, explain, pids, replicas, shell, testbed, wait_for_phase};
use orlop_testbed::{Layout, Options, Role, Testbed, wait_for};
use std::path::{Path, PathBuf};

/// What is looked for on disks: the part of a value that no container says.
fn hidden(value: &str) -> String {
    format!("{value}-is-told-to-nobody")
}

fn set(testbed: &Testbed, value: &str) {
    let output = testbed.ctl_with_input(&["secret", "set", "db-password"], hidden(value).as_bytes());
    assert_eq!(output.code, 0, "{}", output.stderr);
}

/// A service that has the secret in a file, says its first word at the start, and after that what `script` says.
fn reader(name: &str, script: &str, on_change: &str) -> String {
    let says = |word: &str| format!("echo {word} $(cut -d- -f1 /run/secrets/db-password)");
    let script = script.replace("SAYS", &says("told"));
    let script = format!("{}; {script}; while :; do sleep 0.1; done", says("begins"));
    shell(name, &script, &format!("    secrets: [ {{ name: db-password, on_change: {on_change} }} ]\n"))
}

/// Every file below a directory that has the text in it, the directory of secrets in memory left out.
fn with_text(directory: &Path, text: &str, left_out: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type());
        match kind {
            Ok(kind) if kind.is_dir() && path != left_out => found.extend(with_text(&path, text, left_out)),
            Ok(kind) if kind.is_file() => {
                let bytes = std::fs::read(&path).unwrap_or_default();
                if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                    found.push(path);
                }
            }
            _ => {}
        }
    }
    found
}

fn mounted_at(testbed: &Testbed) -> PathBuf {
    testbed.run().join("agent/secrets")
}

/// Where a value is on the disks of the node, relative to the testbed's directory.
fn on_disk(testbed: &Testbed, value: &str) -> Vec<PathBuf> {
    let root = testbed.path("");
    let found = with_text(&root, &hidden(value), &mounted_at(testbed));
    found.into_iter().filter_map(|path| Some(path.strip_prefix(&root).ok()?.to_owned())).collect()
}

fn is_mounted(testbed: &Testbed) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("the kernel's table");
    let line = format!(" {} tmpfs ", mounted_at(testbed).display());
    mounts.lines().any(|mount| mount.contains(&line))
}

fn wait_for_log(testbed: &Testbed, service: &str, words: &str) -> String {
    wait_for(
        &format!("the log of {service} to hold {words:?}"),
        PATIENCE,
        || Some(testbed.ctl(&["logs", service]).stdout).filter(|logs| logs.contains(words)),
        || format!("{}{}", testbed.ctl(&["logs", service]).stdout, explain(testbed, service)),
    )
}

fn ids(testbed: &Testbed, service: &str) -> Vec<String> {
    replicas(testbed, service).iter().filter_map(|replica| Some(replica["id"].as_str()?.to_owned())).collect()
}

/// Is there a process of a container, which its cgroup is named after?
fn runs(container: &str) -> bool {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut groups = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("cgroup")).ok());
    groups.any(|groups| groups.contains(container))
}

#[test]
fn a_new_value_reaches_each_service_as_its_spec_says_and_no_value_is_on_a_disk() {
    let mut testbed = testbed(Options::default());
    let told = reader("told", "trap 'SAYS' HUP", "signal, signal: SIGHUP");
    let quiet = reader("quiet", "until grep -q two /run/secrets/db-password; do sleep 0.1; done; SAYS", "none");
    let replaced = reader("replaced", "true", "restart");
    let probe = shell(
        "probe",
        "stat -c 'file %a %u:%g' /srv/vault/tls/key; stat -c 'directory %a' /srv/vault/tls; id -u; \
         cut -d- -f1 /srv/vault/tls/key; grep -E ' /(run/secrets|srv/vault) ' /proc/mounts; \
         (echo x > /srv/vault/x) 2>/dev/null || echo it is read-only; exec sleep 1000",
        "    user: \"1234:2345\"\n    secrets:\n      \
         - { name: db-password, path: /srv/vault/tls/key, mode: 0400, uid: 1234, gid: 2345 }\n      \
         - { name: db-password, path: /srv/vault/others, mode: 0440, on_change: none }\n      \
         - { name: db-password }\n",
    );
    let spec = app(&[told, quiet, replaced, probe].concat());

    let refused = testbed.ctl(&["deploy", "-f", &testbed.spec_file(&spec).display().to_string()]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("`orlopctl secret set db-password`"), "{}", refused.stderr);
    set(&testbed, "one");
    testbed.deploy(&spec, &["--wait"]);

    let logs = wait_for_log(&testbed, "app/probe", "it is read-only");
    for words in ["file 400 1234:2345", "directory 755", "1234\n", "one\n"] {
        assert!(logs.contains(words), "{words} is not in {logs}");
    }
    for target in ["/run/secrets", "/srv/vault"] {
        let mount = format!("tmpfs {target} tmpfs ro,nosuid,nodev,noexec");
        assert!(logs.contains(&mount), "{mount} is not in {logs}");
    }
    assert!(is_mounted(&testbed));
    let before: Vec<_> =
        ["app/told", "app/quiet"].into_iter().map(|service| pids(&testbed, service)[0].clone()).collect();
    let (replaced, probe) = (ids(&testbed, "app/replaced"), ids(&testbed, "app/probe"));
    for service in ["app/told", "app/quiet", "app/replaced"] {
        wait_for_log(&testbed, service, "begins one");
    }
    // Of all files, the view that the node starts from without a control plane has it.
    wait_for(
        "the view to be kept, and no other file to have it",
        PATIENCE,
        || (on_disk(&testbed, "one") == [Path::new("data/agent/view")]).then_some(()),
        || format!("{:?}{}", on_disk(&testbed, "one"), testbed.logs_of_programs()),
    );

    set(&testbed, "two");
    wait_for_log(&testbed, "app/told", "told two");
    wait_for_log(&testbed, "app/quiet", "told two");
    wait_for(
        "what asks for a restart to be replaced",
        PATIENCE,
        || {
            let all_new = |service, old: &[String]| {
                let new = ids(&testbed, service);
                new.len() == 1 && !old.contains(&new[0])
            };
            (all_new("app/replaced", &replaced) && all_new("app/probe", &probe)).then_some(())
        },
        || explain(&testbed, "app/replaced"),
    );
    wait_for_log(&testbed, "app/replaced", "begins two");
    let after: Vec<_> =
        ["app/told", "app/quiet"].into_iter().map(|service| pids(&testbed, service)[0].clone()).collect();
    assert_eq!(after, before, "they run on");
    for service in ["app/told", "app/quiet"] {
        assert_eq!(wait_for_phase(&testbed, service, &["running"])["restarts"], 0);
        assert!(!testbed.ctl(&["logs", service]).stdout.contains("begins two"), "{service} began again");
    }

    testbed.ctl_ok(&["stop", "app", "--wait"]);
    wait_for(
        "no value to be left",
        PATIENCE,
        || (on_disk(&testbed, "one").is_empty() && on_disk(&testbed, "two").is_empty()).then_some(()),
        || format!("{:?} {:?}", on_disk(&testbed, "one"), on_disk(&testbed, "two")),
    );
    assert!(!is_mounted(&testbed), "nothing is left in memory");
    testbed.down();
    assert_eq!(testbed.footprint().lines(), Vec::<&str>::new());
}

#[test]
fn an_agent_that_is_killed_makes_up_for_what_it_missed_and_cleans_up_what_is_left() {
    let mut testbed = testbed(Options { layout: Layout::ProcessPerRole, ..Options::default() });
    set(&testbed, "one");
    testbed.deploy(&app(&reader("told", "trap 'SAYS' HUP", "signal, signal: HUP")), &["--wait"]);
    wait_for_log(&testbed, "app/told", "begins one");
    let before = pids(&testbed, "app/told")[0].clone();

    testbed.kill(Role::Agent);
    set(&testbed, "two");
    testbed.start_role(Role::Agent);
    wait_for_log(&testbed, "app/told", "told two");
    assert_eq!(pids(&testbed, "app/told")[0], before, "the process was told, and not ended");

    // Without a control plane, a process begins with the value that the node knows.
    let view = testbed.data().join("agent/view");
    wait_for(
        "the view to be kept",
        PATIENCE,
        || {
            let kept = std::fs::read(&view).unwrap_or_default();
            kept.windows(hidden("two").len()).any(|window| window == hidden("two").as_bytes()).then_some(())
        },
        || testbed.logs_of_programs(),
    );
    testbed.kill(Role::ControlPlane);
    testbed.kill(Role::Agent);
    testbed.start_role(Role::Agent);
    testbed.signal_process(before.1, "KILL");
    let second = format!("{}-2", before.0);
    wait_for("another process", PATIENCE, || runs(&second).then_some(()), || testbed.logs_of_programs());
    testbed.start_role(Role::ControlPlane);
    wait_for_log(&testbed, "app/told", "begins two");

    // What is left of a replica that nobody knows goes with the next start of the agent.
    wait_for_phase(&testbed, "app/told", &["running"]);
    testbed.kill(Role::Agent);
    let mounted = mounted_at(&testbed);
    let own = ids(&testbed, "app/told").remove(0);
    let (head, last) = own.split_at(own.len() - 1);
    let stray = mounted.join(format!("{head}{}", if last == "0" { "1" } else { "0" }));
    std::fs::create_dir_all(stray.join("0")).expect("a directory in memory");
    std::fs::write(stray.join("0/db-password"), hidden("two")).expect("a file in memory");
    testbed.start_role(Role::Agent);
    wait_for("the stray to be gone", PATIENCE, || (!stray.exists()).then_some(()), || testbed.logs_of_programs());
    assert!(mounted.join(&own).exists(), "that of the replica which runs stays");

    testbed.kill(Role::Agent);
    testbed.ctl_ok(&["stop", "app"]);
    testbed.start_role(Role::Agent);
    wait_for(
        "nothing to be left",
        PATIENCE,
        || (!is_mounted(&testbed) && pids(&testbed, "app/told").is_empty()).then_some(()),
        || testbed.logs_of_programs(),
    );
}
