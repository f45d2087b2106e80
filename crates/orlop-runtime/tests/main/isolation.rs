//! What a container sees of itself and of the machine.

use crate::support::{Machine, within};
use orlop_model::Memory;
use orlop_runtime::{ContainerSpec, Mount, MountSource};
use std::os::unix::fs::MetadataExt;

/// Runs a script that writes `name=value` lines, and gives what it wrote.
async fn facts(machine: &Machine, spec: &ContainerSpec) -> std::collections::BTreeMap<String, String> {
    let (exit, output) = machine.run(spec).await;
    assert_eq!(exit.code, 0, "{output:?}");
    output.iter().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_has_its_own_world_and_cannot_reach_ours() {
    let machine = Machine::start().await;
    let image = machine.busybox().await;
    let script = r#"
        say() { echo "$1=$(eval "$2" 2>/dev/null)"; }
        try() { if eval "$2" >/dev/null 2>&1; then echo "$1=yes"; else echo "$1=no"; fi; }
        say hostname hostname; say pid 'echo $$'; say pwd pwd; say uid 'id -u'; say from 'echo $FROM'
        say added 'echo $ADDED'; say path 'echo $PATH'; say host_variable 'echo $HOSTNAME'
        say kcore 'cat /proc/kcore | wc -c'; say keys 'cat /proc/keys'; say firmware 'ls /sys/firmware'
        say no_new_privs 'grep NoNewPrivs: /proc/self/status | tr -d "\t" | tail -c 2'
        say bounding 'grep CapBnd: /proc/self/status | tr -d "\t"'
        say seccomp 'grep Seccomp: /proc/self/status | tr -d "\t"'
        say open_files 'ulimit -n'
        try write_sysctl 'echo 1 >/proc/sys/kernel/sysrq'
        try write_sysrq 'echo h >/proc/sysrq-trigger'
        try write_cgroup 'd=/sys/fs/cgroup; [ -d $d/memory ] && d=$d/memory; mkdir $d/x'
        try mount 'mount -t tmpfs none /tmp'
        try unshare 'unshare -n true'
        try user_namespace 'unshare -U true'
        try chroot 'chroot / /bin/true'
        try write_root 'touch /here'
        say interfaces 'ls /sys/class/net | tr "\n" " "'
        say processes 'ls /proc | grep -c "^[0-9]"'
    "#;
    let mut spec = machine.script("seen", &image, script);
    spec.env.insert("ADDED".into(), "by the spec".into());
    spec.working_dir = Some("/made/when/missing".into());
    let facts = facts(&machine, &spec).await;
    let check = |name: &str, expected: &str| assert_eq!(facts.get(name).map(String::as_str), Some(expected), "{name}");
    check("hostname", "box");
    check("pid", "1");
    check("pwd", "/made/when/missing");
    check("uid", "0");
    check("from", "image");
    check("added", "by the spec");
    check("path", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    check("host_variable", "box");
    check("kcore", "0");
    check("keys", "");
    check("firmware", "");
    check("no_new_privs", "1");
    check("bounding", "CapBnd:00000000a80425fb");
    check("seccomp", "Seccomp:2");
    for forbidden in ["write_sysctl", "write_sysrq", "write_cgroup", "mount", "unshare", "user_namespace"] {
        check(forbidden, "no");
    }
    for allowed in ["chroot", "write_root"] {
        check(allowed, "yes");
    }
    check("interfaces", "lo ");
    assert!(facts["open_files"].parse::<u64>().unwrap() >= 1024);
    assert!(facts["processes"].parse::<u32>().unwrap() < 8);
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_found_in_the_image() {
    let machine = Machine::start().await;
    let image = machine.busybox().await;
    for (user, expected) in [
        ("web", "1000 1001 1001 6"),
        ("1000", "1000 1001 1001 6"),
        ("web:disk", "1000 6 6"),
        ("4242:4343", "4242 4343 4343"),
        ("4242", "4242 0 0"),
    ] {
        let mut spec =
            machine.script("user", &image, "echo $(id -u) $(id -g) $(id -G); grep CapEff: /proc/self/status");
        spec.user = Some(user.into());
        let (_, output) = machine.run(&spec).await;
        assert_eq!(output, [expected, "CapEff:\t0000000000000000"], "{user}");
        std::fs::remove_dir_all(machine.path("logs")).unwrap();
    }
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_are_what_was_asked_for() {
    let machine = Machine::start().await;
    let image = machine.busybox().await;
    let (hosts, shared, volume) = (machine.path("hosts"), machine.path("shared"), machine.path("volumes/deep/data"));
    std::fs::write(&hosts, "10.1.2.3 friend\n").unwrap();
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("file"), "of the node\n").unwrap();
    let script = "cat /etc/hosts; cat /shared/file; touch /shared/x 2>/dev/null || echo read-only; \
                  echo kept >/data/kept; touch /scratch/x && echo scratch; dd if=/dev/zero of=/scratch/big bs=64k count=40 \
                  2>/dev/null || echo full; id -u";
    let mut spec = machine.script("mounts", &image, script);
    spec.user = Some("web".into());
    let mount = |target: &str, read_only, source| Mount { target: target.into(), read_only, source };
    spec.mounts = vec![
        mount("/etc/hosts", false, MountSource::Bind(hosts)),
        mount("/shared", true, MountSource::Bind(shared.clone())),
        mount("/data", false, MountSource::Volume(volume.clone())),
        mount("/scratch", false, MountSource::Tmpfs { size: Some(Memory(1 << 20)) }),
    ];
    let (_, output) = machine.run(&spec).await;
    assert_eq!(output, ["10.1.2.3 friend", "of the node", "read-only", "scratch", "full", "1000"]);
    assert_eq!(std::fs::read_to_string(volume.join("kept")).unwrap(), "kept\n");
    assert_eq!(std::fs::metadata(&volume).unwrap().uid(), 1000);
    assert!(!shared.join("x").exists());
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_namespace_is_joined_by_its_path_and_outlives_the_container() {
    let machine = Machine::start().await;
    let image = machine.busybox().await;
    // A namespace kept by a mount on a file, as the overlay daemon makes them.
    let path = machine.path("netns");
    std::fs::write(&path, "").unwrap();
    let target = path.clone();
    let inode = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let own = "/proc/thread-self/ns/net";
        nix::mount::mount(Some(own), &target, None::<&str>, nix::mount::MsFlags::MS_BIND, None::<&str>).unwrap();
        std::fs::metadata(own).unwrap().ino()
    });
    let inode = inode.join().unwrap();
    struct Unmount(std::path::PathBuf);
    impl Drop for Unmount {
        fn drop(&mut self) {
            let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
        }
    }
    let unmount = Unmount(path.clone());
    let script = "stat -Lc %i /proc/self/ns/net; cat /proc/sys/net/ipv4/ip_unprivileged_port_start";
    let spec = ContainerSpec { network_namespace: Some(path.clone()), ..machine.script("net", &image, script) };
    for _ in 0..2 {
        let (_, output) = machine.run(&spec).await;
        assert_eq!(output[..2], [inode.to_string(), "0".to_owned()]);
    }
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
    drop(unmount);
    within(machine.finish()).await;
}
