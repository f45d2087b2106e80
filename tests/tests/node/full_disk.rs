//! Disks that fill up and are freed again. Each is a small file system of its own, mounted where a program keeps its data.

use crate::specs::{PATIENCE, app, explain, hello, pids, replicas, wait_for_why};
use orlop_testbed::{Disk, Hammer, Layout, Options, Role, TestImage, Testbed, wait_for};
use std::time::{Duration, Instant};

/// A testbed where each of these folders of the data directory is a disk of 64 MiB.
fn with_disks(folders: &[&str]) -> (Testbed, Vec<Disk>) {
    let mut testbed = Testbed::prepare(Options { layout: Layout::ProcessPerRole, ..Options::default() });
    let disks = folders.iter().map(|folder| Disk::mount(&testbed.data().join(folder), 64)).collect();
    testbed.start_all();
    testbed.import(&[TestImage::Busybox, TestImage::Hello]);
    (testbed, disks)
}

fn wait_for_answers(testbed: &Testbed, hammer: &Hammer) {
    let seen = hammer.good();
    wait_for("more answers", PATIENCE, || (hammer.good() > seen + 20).then_some(()), || explain(testbed, "app/web"));
}

fn says_that_writes_are_refused(testbed: &Testbed, sentence: &str) {
    for command in [&["status"][..], &["why", "app/web"], &["node", "ls"], &["ps"]] {
        let output = testbed.ctl(command);
        assert_eq!(output.code, 0, "{command:?}: {output:?}");
        let first = output.stdout.lines().next().unwrap_or_default();
        assert!(first.starts_with("Control plane: no writes are taken:") && first.contains(sentence), "{output:?}");
    }
    for command in [&["status"][..], &["why", "app/web"]] {
        let value = testbed.ctl_json(command);
        assert!(value["writes_refused"].as_str().is_some_and(|why| why.contains(sentence)), "{value}");
    }
    let nodes = testbed.ctl(&["node", "ls", "-o", "json"]);
    assert!(nodes.stderr.contains(sentence) && nodes.stdout.starts_with('['), "{nodes:?}");
}

#[test]
fn a_control_plane_whose_disk_is_full_refuses_writes_serves_reads_and_goes_on_when_it_is_freed() {
    let (mut testbed, disks) = with_disks(&["control-plane"]);
    let disk = &disks[0];
    testbed.deploy(&app(&hello("web", 2, "")), &["--wait"]);
    let before = pids(&testbed, "app/web");
    let hammer = Hammer::start(testbed.http(), "/");
    wait_for_answers(&testbed, &hammer);

    let sentence = format!("the disk of {} is full", testbed.data().join("control-plane/raft").display());
    disk.fill();
    for command in [&["scale", "app/web", "3"][..], &["stop", "app"]] {
        let refused = testbed.ctl(command);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(
            refused.stderr.contains(&sentence) && refused.stderr.contains("MiB or more there, and writes"),
            "{refused:?}"
        );
        assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
    }
    says_that_writes_are_refused(&testbed, &sentence);
    wait_for_answers(&testbed, &hammer);

    // Everything else may be killed and works on; the control plane reads from a full disk.
    testbed.kill(Role::Agent);
    testbed.kill(Role::ControlPlane);
    wait_for_answers(&testbed, &hammer);
    testbed.start_role(Role::ControlPlane);
    testbed.start_role(Role::Agent);
    wait_for(
        "the logs through the agent that is back",
        PATIENCE,
        || (testbed.ctl(&["logs", "app/web"]).code == 0).then_some(()),
        || explain(&testbed, "app/web"),
    );
    says_that_writes_are_refused(&testbed, &sentence);
    wait_for_answers(&testbed, &hammer);

    // A container that ends is started again by its agent, and what it reports is heard later.
    let (_, pid) = before[0];
    let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(killed.is_ok_and(|status| status.success()), "{pid} was not there to be killed");
    wait_for(
        "the container to run again",
        PATIENCE,
        || Some(pids(&testbed, "app/web")).filter(|now| now.len() == 2 && *now != before),
        || explain(&testbed, "app/web"),
    );

    disk.free();
    let began = Instant::now();
    wait_for(
        "a write to be taken",
        PATIENCE,
        || (testbed.ctl(&["scale", "app/web", "3"]).code == 0).then_some(()),
        || explain(&testbed, "app/web"),
    );
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    wait_for(
        "three healthy replicas, one of them restarted once",
        PATIENCE,
        || {
            let replicas = replicas(&testbed, "app/web");
            let restarts: u64 = replicas.iter().filter_map(|r| r["restarts"].as_u64()).sum();
            (replicas.iter().filter(|r| r["phase"] == "healthy").count() == 3 && restarts == 1).then_some(())
        },
        || explain(&testbed, "app/web"),
    );
    eprintln!("writes are taken {took:?} after there is room, the new replica is healthy after {:?}", began.elapsed());
    assert_eq!(testbed.ctl_json(&["status"])["writes_refused"], serde_json::Value::Null);
    drop(hammer);
}

#[test]
fn followers_whose_disks_are_full_work_on_say_so_and_need_no_restart() {
    let (mut testbed, disks) = with_disks(&["agent", "overlay", "proxy"]);
    testbed.deploy(&app(&hello("web", 2, "")), &["--wait"]);
    let before = pids(&testbed, "app/web");
    let hammer = Hammer::start(testbed.http(), "/");
    wait_for_answers(&testbed, &hammer);
    disks.iter().for_each(Disk::fill);

    // A new replica needs the agent's disk, and is told why it waits.
    testbed.ctl_ok(&["scale", "app/web", "3"]);
    let place = testbed.data().join("agent").display().to_string();
    wait_for_why(&testbed, "app/web", &["the disk of", &place, "is full; free some space there"]);
    wait_for_answers(&testbed, &hammer);

    // Killed with a full disk, they come back to what there was.
    for role in [Role::Agent, Role::Overlay] {
        testbed.kill(role);
        testbed.start_role(role);
    }
    wait_for_answers(&testbed, &hammer);
    let (good, failures) = hammer.finish();
    assert_eq!(failures, Vec::<String>::new(), "besides {good} good ones");
    testbed.kill(Role::Proxy);
    std::fs::remove_file(testbed.run().join("http.address")).expect("the address file");
    testbed.start_role(Role::Proxy);
    let hammer = Hammer::start(testbed.http(), "/");
    wait_for_answers(&testbed, &hammer);
    wait_for_why(&testbed, "app/web", &["the disk of", &place, "is full; free some space there"]);
    assert_eq!(pids(&testbed, "app/web"), before);

    disks.iter().for_each(Disk::free);
    wait_for(
        "the third replica to be healthy",
        PATIENCE,
        || (replicas(&testbed, "app/web").iter().filter(|r| r["phase"] == "healthy").count() == 3).then_some(()),
        || explain(&testbed, "app/web"),
    );
    // What could not be kept is kept now: the view of two replicas was written before, that of three is.
    let kept = testbed.data().join("proxy/routes.view");
    let third = replicas(&testbed, "app/web").pop().and_then(|r| r["address"].as_str().map(str::to_owned));
    let third: std::net::Ipv4Addr = third.and_then(|a| a.parse().ok()).expect("an address");
    wait_for(
        "the proxy to keep the routes",
        PATIENCE,
        || String::from_utf8_lossy(&std::fs::read(&kept).ok()?).contains(&third.to_string()).then_some(()),
        || explain(&testbed, "app/web"),
    );
    let after = pids(&testbed, "app/web");
    assert!(before.iter().all(|replica| after.contains(replica)), "{before:?} {after:?}");
    drop(hammer);
}
