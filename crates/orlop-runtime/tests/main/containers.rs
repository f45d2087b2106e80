//! What containers do, see, and leave.

use crate::support::{Machine, busybox_entries, within};
use orlop_model::spec::Signal;
use orlop_model::{Cpu, Memory, Resources};
use orlop_runtime::pack::{PackOptions, pack};
use orlop_runtime::{ContainerRuntime, ContainerSpec, ContainerState, LogTarget, Mount, MountSource};

#[tokio::test(flavor = "multi_thread")]
async fn a_container_runs_to_its_end_and_leaves_only_its_log() {
    let machine = Machine::start().await;
    let image = machine.busybox().await;
    let spec = machine.script("one", &image, "echo out; echo err >&2; exit 7");
    let (exit, mut output) = machine.run(&spec).await;
    assert_eq!((exit.code, exit.out_of_memory), (7, false));
    output.sort();
    assert_eq!(output, ["err", "out"]);

    let spec = ContainerSpec { command: None, ..machine.script("two", &image, "") };
    let (exit, output) = machine.run(&spec).await;
    assert_eq!(exit.code, 0);
    assert_eq!(output, ["from the image"]);
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_states_of_a_container_are_told() {
    let machine = Machine::start().await;
    let image = machine.busybox().await;
    let spec = machine.script("one", &image, "trap 'exit 3' TERM; echo ready; while true; do sleep 0.05; done");
    let runtime = &machine.runtime;
    let state = async || {
        let list = within(runtime.list()).await.unwrap();
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].labels, spec.labels);
        list[0].state
    };
    within(runtime.create(&spec)).await.unwrap();
    assert_eq!(state().await, ContainerState::Created);
    within(runtime.start("one")).await.unwrap();
    assert!(matches!(state().await, ContainerState::Running { pid, started_at } if pid > 1 && started_at.0 > 0));
    machine.wrote("one", "ready").await;
    within(runtime.signal("one", Signal::TERM)).await.unwrap();
    let exit = within(runtime.wait("one")).await.unwrap();
    assert_eq!(exit.code, 3);
    assert_eq!(state().await, ContainerState::Stopped(exit));
    within(runtime.remove("one")).await.unwrap();
    within(runtime.remove("one")).await.unwrap();
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_nobody_handles_is_ignored_by_a_first_process_and_kill_is_not() {
    let machine = Machine::start().await;
    let image = machine.busybox().await;
    let runtime = &machine.runtime;
    let spec = machine.script("one", &image, "echo ready; while true; do sleep 0.05; done");
    within(runtime.create(&spec)).await.unwrap();
    within(runtime.start("one")).await.unwrap();
    machine.wrote("one", "ready").await;
    within(runtime.signal("one", Signal::TERM)).await.unwrap();
    within(runtime.signal("one", Signal::KILL)).await.unwrap();
    assert_eq!(within(runtime.wait("one")).await.unwrap().code, 137);
    // Late signals are fine, and so is starting what has run.
    within(runtime.signal("one", Signal::TERM)).await.unwrap();
    within(runtime.start("one")).await.unwrap();
    within(runtime.remove("one")).await.unwrap();
    for error in [
        within(runtime.signal("one", Signal::TERM)).await.unwrap_err(),
        within(runtime.start("one")).await.unwrap_err(),
        within(runtime.wait("one")).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), "container_not_found", "{error}");
    }
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_limited_and_its_end_is_told_apart() {
    let machine = Machine::start().await;
    let image = machine.busybox().await;
    let mut spec = machine.script("hungry", &image, "exec dd if=/dev/zero of=/dev/null bs=200M count=1");
    spec.resources = Resources { cpu: Some(Cpu(500)), memory: Some(Memory(24 << 20)) };
    let (exit, output) = machine.run(&spec).await;
    assert_eq!((exit.code, exit.out_of_memory), (137, true), "{output:?}");
    let mut spec = machine.script("killed", &image, "kill -9 $$; sleep 60");
    spec.resources.memory = Some(Memory(24 << 20));
    // The first process cannot be killed from inside; a child can, and that is no lack of memory.
    spec.command = Some(["/bin/sh", "-c", "sh -c 'kill -9 $$'"].map(String::from).to_vec());
    let (exit, _) = machine.run(&spec).await;
    assert!(!exit.out_of_memory);
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_where_the_kernel_reads_them() {
    let machine = Machine::start().await;
    let image = machine.busybox().await;
    let mut spec = machine.script("limited", &image, "echo ready; while true; do sleep 0.05; done");
    spec.resources = Resources { cpu: Some(Cpu(250)), memory: Some(Memory(64 << 20)) };
    within(machine.runtime.create(&spec)).await.unwrap();
    within(machine.runtime.start("limited")).await.unwrap();
    let parent = &machine.config.cgroup_parent;
    let read = |legacy: &str, unified: &str| {
        let unified = format!("/sys/fs/cgroup/{parent}/limited/{unified}");
        let (controller, file) = legacy.split_once('/').unwrap();
        let legacy = format!("/sys/fs/cgroup/{controller}/{parent}/limited/{file}");
        let text = std::fs::read_to_string(legacy).or_else(|_| std::fs::read_to_string(unified)).unwrap();
        text.trim().to_owned()
    };
    assert_eq!(read("memory/memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    assert!(["4096"].contains(&read("pids/pids.max", "pids.max").as_str()));
    let told = machine.runtime.unenforced(&spec.resources);
    if std::path::Path::new("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").exists() {
        assert_eq!(read("cpu/cpu.cfs_quota_us", "-"), "25000");
        assert_eq!(told, [""; 0]);
    } else if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        assert_eq!(read("-/-", "cpu.max"), "25000 100000");
        assert_eq!(told, [""; 0]);
    } else {
        assert_eq!(told, ["cpu"], "a limit that the kernel does not read is told");
    }
    within(machine.runtime.remove("limited")).await.unwrap();
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_belongs_to_its_user_whenever_its_making_was_cut_off_and_a_full_disk_is_told_as_one() {
    let machine = Machine::start().await;
    let image = machine.busybox().await;
    let full = machine.path("full");
    std::fs::create_dir(&full).unwrap();
    // Room for its own root alone.
    nix::mount::mount(Some("tmpfs"), &full, Some("tmpfs"), nix::mount::MsFlags::empty(), Some("nr_inodes=1")).unwrap();
    let mut spec = machine.script("writer", &image, "id -u; stat -c %u /data; touch /data/x && echo written");
    spec.user = Some("1000:1000".into());
    let source = MountSource::Volume(full.join("shop/data"));
    spec.mounts = vec![Mount { target: "/data".into(), read_only: false, source }];
    let error = within(machine.runtime.create(&spec)).await.unwrap_err();
    assert_eq!((error.code(), error.is_permanent()), ("disk_full", false), "{error}");
    let room = Some("nr_inodes=100");
    nix::mount::mount(Some("tmpfs"), &full, Some("tmpfs"), nix::mount::MsFlags::MS_REMOUNT, room).unwrap();
    // What an agent leaves that is killed before the directory has its owner.
    std::fs::create_dir_all(full.join("shop/.data.new")).unwrap();
    let (exit, output) = machine.run(&spec).await;
    assert_eq!((exit.code, output), (0, ["1000", "1000", "written"].map(String::from).to_vec()));
    let left: Vec<_> = std::fs::read_dir(full.join("shop")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["data"]);
    // A volume that is there keeps its owner and what is in it.
    spec.user = None;
    let log = LogTarget::files(machine.path("logs").join("reader"));
    let (_, output) = machine.run(&ContainerSpec { id: "reader".into(), log, ..spec }).await;
    assert_eq!(output[..2], ["0", "1000"]);
    nix::mount::umount(&full).unwrap();
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_output_is_kept_complete_up_to_the_bound() {
    let machine = Machine::start().await;
    let image = machine.busybox().await;
    let spec = machine.script("flood", &image, "seq 1 200000; echo end >&2");
    let (exit, output) = machine.run(&spec).await;
    assert_eq!(exit.code, 0);
    let numbers: Vec<u32> = output.iter().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(numbers.len(), 200_000);
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));

    let mut spec = machine.script("bounded", &image, "seq 1 200000");
    let directory = machine.path("logs").join("bounded");
    spec.log = LogTarget::Files { directory: directory.clone(), file_bytes_max: 100_000, files_max: 3 };
    let (_, output) = machine.run(&spec).await;
    assert_eq!(output.last().unwrap(), "200000");
    let bytes: u64 = std::fs::read_dir(&directory).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= 300_000, "{bytes}");
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_says_why_and_leaves_nothing() {
    let machine = Machine::start().await;
    let image = machine.busybox().await;
    let nothing = machine
        .import(
            &pack(&PackOptions {
                name: "localhost/nothing:1".into(),
                layers: vec![busybox_entries()],
                ..PackOptions::default()
            })
            .unwrap(),
        )
        .await;
    let base = || machine.script("bad", &image, "true");
    let command = |words: &[&str]| ContainerSpec {
        command: Some(words.iter().map(|word| (*word).to_owned()).collect()),
        ..base()
    };
    let mount = |source: MountSource| ContainerSpec {
        mounts: vec![Mount { target: "/mnt".into(), read_only: false, source }],
        ..base()
    };
    let cases = [
        (ContainerSpec { image: nothing, command: None, ..base() }, "no_command", "localhost/nothing:1"),
        (command(&["/no/such/program"]), "command_not_found", "/no/such/program"),
        (command(&["nosuchprogram"]), "command_not_found", "nosuchprogram"),
        (command(&["/etc/passwd"]), "permission_denied", "/etc/passwd"),
        (command(&["/etc"]), "permission_denied", "/etc"),
        (ContainerSpec { user: Some("nobody".into()), ..base() }, "unknown_user", "nobody"),
        (ContainerSpec { user: Some("web:nogroup".into()), ..base() }, "unknown_user", "nogroup"),
        (mount(MountSource::Bind("/no/such/directory".into())), "mount_invalid", "/no/such/directory"),
        (ContainerSpec { network_namespace: Some("/no/such/netns".into()), ..base() }, "runtime_failed", "netns"),
        (ContainerSpec { id: "a/b".into(), ..base() }, "runtime_failed", "a/b"),
    ];
    for (spec, code, part) in cases {
        let error = within(machine.runtime.create(&spec)).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(within(machine.runtime.list()).await.unwrap(), [], "{error}");
        assert_eq!(machine.shims(), 0, "{error}");
    }
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_container_is_not_replaced_and_an_ended_one_is() {
    let machine = Machine::start().await;
    let image = machine.busybox().await;
    let runtime = &machine.runtime;
    let spec = machine.script("one", &image, "echo ready; sleep 600 & wait");
    within(runtime.create(&spec)).await.unwrap();
    // Not begun yet: made anew.
    within(runtime.create(&spec)).await.unwrap();
    within(runtime.start("one")).await.unwrap();
    assert_eq!(within(runtime.create(&spec)).await.unwrap_err().code(), "container_wrong_state");
    within(runtime.signal("one", Signal::KILL)).await.unwrap();
    within(runtime.wait("one")).await.unwrap();
    let again = machine.script("one", &image, "exit 4");
    let (exit, _) = machine.run(&again).await;
    assert_eq!(exit.code, 4);
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_containers_live_side_by_side() {
    let machine = Machine::start().await;
    let image = machine.busybox().await;
    let work = (0..12).map(|number| {
        let machine = &machine;
        let spec = machine.script(&format!("c{number}"), &image, &format!("exit {number}"));
        async move {
            let (exit, _) = machine.run(&spec).await;
            assert_eq!(exit.code, number);
        }
    });
    futures::future::join_all(work).await;
    machine.finish().await;
}
