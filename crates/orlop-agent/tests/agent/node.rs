//! The agent with the real things under it: containerd, runc, the logger, the overlay daemon. Needs root and the packages
//! containerd, runc, nftables and busybox-static.
//!
//! Each test plays its node in a network namespace of its own, with a containerd of its own under its own directory.

use crate::cluster::{Cluster, NODE, Session, assignment, replica_id, until, workload};
use futures::FutureExt;
use orlop_agent::Running;
use orlop_model::spec::{
    Check, EnvValue, HealthCheck, InitAction, InitStep, OnFailure, OnPanic, Volume, VolumeSource, Workload,
};
use orlop_model::*;
use orlop_proto::node::v1 as pb;
use orlop_proto::node::v1::session_frame::Frame;
use orlop_proto::node::v1::session_start::Kind;
use orlop_runtime::containerd::{Daemon, remove_leftovers};
use orlop_runtime::pack::{Entry, PackOptions, pack};
use orlop_runtime::{ContainerRuntime, ContainerState, Containerd, ContainerdConfig, labels};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const IMAGE: &str = "localhost/busybox:1";

struct Node {
    cluster: Cluster,
    runtime: Containerd,
    overlay: orlop_overlay::Config,
    overlay_stop: CancellationToken,
    overlay_task: tokio::task::JoinHandle<()>,
}

/// Runs a test on a node of its own, and takes the node away however the test ended.
fn on_a_node(test: impl AsyncFnOnce(&Node)) {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("run this test as root");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let node = Node::start().await;
        let result = AssertUnwindSafe(test(&node)).catch_unwind().await;
        node.take_away().await;
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

/// The logger beside the tests, built now if the tests were built alone.
fn logger() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "logger", "--bin", "orlop-logger"]);
        assert!(cargo.status().expect("cargo runs").success());
        let test = std::env::current_exe().expect("a path");
        test.parent().and_then(|deps| deps.parent()).expect("target/debug").join("orlop-logger")
    };
    BUILT.get_or_init(build).clone()
}

impl Node {
    async fn start() -> Node {
        let cluster = Cluster::start();
        let dir = cluster.dir.path();
        let unique = std::process::id() % 10_000;
        let (bridge, table) = (format!("oa{unique}"), format!("oa{unique}"));
        let overlay = orlop_overlay::Config {
            data_dir: dir.join("overlay-data"),
            run_dir: dir.join("overlay-run"),
            socket: dir.join("overlay"),
            control_plane: format!("unix:{}", dir.join("control").display()),
            node_name: NODE.into(),
            bridge,
            table,
            node_routes: true,
        };
        let overlay_stop = CancellationToken::new();
        let server = orlop_overlay::start(overlay.clone()).await.expect("the overlay listens");
        let stop = overlay_stop.clone();
        let overlay_task = tokio::spawn(async move { server.serve(stop).await.expect("the overlay serves") });
        let daemon = Daemon::start(&dir.join("c"), &dir.join("r")).await.expect("containerd runs");
        let mut config = ContainerdConfig::new(daemon.socket(), dir.join("r/agent"), logger());
        config.runc_root = Some(daemon.runc_root());
        config.cgroup_parent = format!("orlop-agent-test-{}", dir.file_name().expect("a name").to_string_lossy());
        let runtime = Containerd::new(config).expect("a handle");
        let image = PackOptions {
            name: IMAGE.into(),
            cmd: vec!["/bin/sh".into()],
            layers: vec![vec![
                Entry::path("/bin/busybox", "/bin/busybox"),
                Entry::symlink("/bin/sh", "busybox"),
                Entry::bytes("/etc/passwd", "root:x:0:0::/:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n"),
            ]],
            ..PackOptions::default()
        };
        let mut archive = Vec::new();
        pack(&image).expect("packed").write_archive(&mut archive).expect("written");
        runtime.import(Box::new(std::io::Cursor::new(archive)), None).await.expect("imported");
        Node { cluster, runtime, overlay, overlay_stop, overlay_task }
    }

    async fn take_away(self) {
        for container in self.runtime.list().await.unwrap_or_default() {
            let _ = self.runtime.remove(&container.id).await;
        }
        self.overlay_stop.cancel();
        let _ = self.overlay_task.await;
        orlop_overlay::teardown(self.overlay).await.expect("the overlay left nothing");
        let dir = self.cluster.dir.path();
        remove_leftovers(&dir.join("c"), &dir.join("r")).expect("containerd left nothing");
    }

    async fn agent(&self) -> Running {
        self.cluster.agent(Arc::new(self.runtime.clone())).await
    }

    async fn pid(&self, replica: ReplicaId) -> Option<u32> {
        let containers = self.runtime.list().await.expect("listed");
        let is_its = |c: &&orlop_runtime::ContainerInfo| {
            c.labels.get(labels::REPLICA) == Some(&replica.to_string()) && c.labels[labels::ROLE] == "main"
        };
        containers.iter().find(is_its).and_then(|c| match c.state {
            ContainerState::Running { pid, .. } => Some(pid),
            _ => None,
        })
    }

    /// Everything that a replica's processes have written.
    async fn logs(&self, name: &str) -> String {
        let mut session = self.cluster.control.session(name, logs(false)).await;
        let mut text = String::new();
        while let Some(Frame::Log(line)) = session.next().await {
            text += &String::from_utf8_lossy(&line.text);
            text += "\n";
        }
        text
    }
}

fn logs(follow: bool) -> Kind {
    let service = Some((&"shop/api".parse::<ServiceRef>().expect("a name")).into());
    Kind::Logs(pb::LogsStart { service, replicas: Vec::new(), follow, since_ms: 0, tail: None })
}

fn shell(script: &str) -> Workload {
    let mut workload = workload(IMAGE);
    workload.command = Some(vec!["/bin/sh".into(), "-c".into()]);
    workload.args = Some(vec![format!("PATH=/bin; alias b=busybox; {script}")]);
    workload.stop_grace_period = Millis(300);
    workload
}

fn step(id: &str, action: InitAction) -> InitStep {
    InitStep {
        id: id.parse().expect("a name"),
        action,
        timeout: Millis::from_secs(30),
        retries: 0,
        on_failure: OnFailure::Fail,
    }
}

async fn until_log(session: &mut Session, wanted: &str) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        match session.next().await {
            Some(Frame::Log(line)) => {
                let text = String::from_utf8_lossy(&line.text).into_owned();
                let found = text == wanted;
                lines.push(text);
                if found {
                    return lines;
                }
            }
            Some(Frame::CaughtUp(_)) => {}
            other => panic!("{other:?} after {lines:?}"),
        }
    }
}

#[test]
fn a_replica_lives_through_the_death_of_its_agent_with_its_process_its_logs_and_its_address() {
    on_a_node(async |node| {
        let agent = node.agent().await;
        let control = &node.cluster.control;
        let replica = replica_id(0x17);
        let mut workload = shell(
            "echo $GREETING from $(busybox hostname); busybox mkdir /www; echo up > /www/up; \
             busybox httpd -p 127.0.0.1:8080 -h /www; i=0; while true; do echo tick $i; i=$((i+1)); busybox sleep 0.05; done",
        );
        workload.env.insert("GREETING".into(), EnvValue::Literal("hello".into()));
        workload.health = Some(HealthCheck {
            start_grace: Millis::from_secs(10),
            interval: Millis(200),
            timeout: Millis::from_secs(5),
            retries: 3,
            check: Check::Http { url: "http://localhost:8080/up".into(), expect_status: 200 },
        });
        control.assign(assignment(replica, workload));
        let status = control.until_phase(replica, Phase::Running(Health::Healthy)).await;
        let pid = node.pid(replica).await.expect("it runs");
        let mut session = control.session("ses_before", logs(true)).await;
        let lines = until_log(&mut session, "tick 3").await;
        assert_eq!(lines[0], "hello from api-0");
        drop(session);
        agent.kill().await;
        // What is written while there is no agent is not lost.
        tokio::time::sleep(Duration::from_millis(300)).await;
        control.reports.send_replace(Vec::new());
        let _agent = node.agent().await;
        let after = control.until_phase(replica, Phase::Running(Health::Healthy)).await;
        assert_eq!((after.address, after.restarts, after.since), (status.address, 0, status.since));
        assert_eq!(node.pid(replica).await, Some(pid));
        let mut session = control.session("ses_after", logs(true)).await;
        let lines = until_log(&mut session, "tick 40").await;
        let expected = std::iter::once("hello from api-0".to_owned()).chain((0..=40).map(|i| format!("tick {i}")));
        assert_eq!(lines, expected.collect::<Vec<_>>());
        // A terminal in it.
        let command = vec!["/bin/sh".into(), "-c".into(), "read x; echo got $x; exit 5".into()];
        let start = pb::ExecStart {
            replica: replica.to_string(),
            command,
            terminal: true,
            size: Some(pb::TerminalSize { rows: 30, columns: 90 }),
        };
        let mut exec = control.session("ses_exec", Kind::Exec(start)).await;
        exec.say(Frame::Input(b"this\n".to_vec())).await;
        let mut output = String::new();
        let code = loop {
            match exec.next().await {
                Some(Frame::Output(bytes)) => output += &String::from_utf8_lossy(&bytes.data),
                Some(Frame::ExitCode(code)) => break code,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(code, 5);
        assert!(output.contains("got this"), "{output:?}");
        control.order(replica, Desired::Stop(StopOrder::Graceful));
        control.until_phase(replica, Phase::Finished(Outcome::Stopped)).await;
        assert!(node.runtime.list().await.expect("listed").is_empty());
        control.withdraw(replica);
        let directory = node.cluster.data().join(format!("replicas/{replica}"));
        until("its files are gone", || !directory.exists()).await;
        assert!(node.logs("ses_late").await.contains("tick 40\n"), "logs are kept after the replica is gone");
    });
}

#[test]
fn a_command_that_takes_longer_than_its_check_may_is_ended() {
    on_a_node(async |node| {
        let _agent = node.agent().await;
        let control = &node.cluster.control;
        let replica = replica_id(0x19);
        let mut workload = shell("busybox sleep 1000");
        workload.health = Some(HealthCheck {
            start_grace: Millis(0),
            interval: Millis::from_secs(2),
            timeout: Millis(500),
            retries: 2,
            check: Check::Command { command: ["/bin/busybox", "sleep", "77"].map(String::from).to_vec() },
        });
        control.assign(assignment(replica, workload));
        control.until_phase(replica, Phase::Starting).await;
        let pid = node.pid(replica).await.expect("it runs");
        let space = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = space(&pid.to_string()).expect("it runs");
        let checks = || {
            let processes = std::fs::read_dir("/proc").expect("listed").flatten();
            let names = processes.filter_map(|entry| entry.file_name().into_string().ok());
            let command = |pid: &String| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            names.filter(|pid| command(pid).ends_with(b"sleep\x0077\x00") && space(pid).as_ref() == Some(&own)).count()
        };
        until("a check runs", || checks() == 1).await;
        until("the check was ended", || checks() == 0).await;
        assert_eq!(node.pid(replica).await, Some(pid), "it outlives a check that failed");
        let status = control.until_phase(replica, Phase::Running(Health::Unhealthy)).await;
        let reason = status.reason.expect("a reason");
        assert!(reason.message.contains("it took longer than 500ms"), "{reason}");
    });
}

#[test]
fn init_steps_share_network_volumes_and_logs_with_the_replica_that_they_come_before() {
    on_a_node(async |node| {
        let _agent = node.agent().await;
        let control = &node.cluster.control;
        let replica = replica_id(0x18);
        let mut workload = shell("busybox cat /data/made; busybox cat /etc/hosts; busybox sleep 1000");
        workload.user = Some("web".into());
        workload.volumes = vec![
            Volume {
                target: "/data".into(),
                read_only: false,
                source: VolumeSource::Named("data".parse().expect("a name")),
            },
            Volume {
                target: "/scratch".into(),
                read_only: false,
                source: VolumeSource::Tmpfs { size: Some(Memory(1 << 20)) },
            },
        ];
        let make = "echo step one; busybox id -u; echo made by init > /data/made; echo x > /scratch/x";
        workload.init =
            vec![step("make", InitAction::Run { command: vec!["/bin/sh".into(), "-c".into(), make.into()] })];
        workload.health = Some(HealthCheck {
            start_grace: Millis::from_secs(10),
            interval: Millis(200),
            timeout: Millis::from_secs(5),
            retries: 3,
            check: Check::Command { command: vec!["/bin/sh".into(), "-c".into(), "[ -f /data/made ]".into()] },
        });
        control.assign(assignment(replica, workload));
        let status = control.until_phase(replica, Phase::Running(Health::Healthy)).await;
        let text = node.logs("ses_1").await;
        let address = status.address.expect("an address");
        assert!(text.starts_with("step one\n1000\nmade by init\n"), "{text}");
        assert!(text.contains(&format!("{address}\t0.api.shop.internal api-0\n")), "{text}");
        let made = node.cluster.data().join("volumes/shop/data/made");
        assert_eq!(std::fs::read_to_string(made).expect("the volume's file"), "made by init\n");
        assert_eq!(node.runtime.list().await.expect("listed").len(), 1, "of init nothing is left");
    });
}

#[test]
fn what_cannot_start_says_why_and_what_ends_is_treated_as_the_service_says() {
    on_a_node(async |node| {
        let _agent = node.agent().await;
        let control = &node.cluster.control;
        let place = |n: u128, workload: Workload| {
            let mut assignment = assignment(replica_id(n), workload);
            assignment.replica.slot = n as u32;
            control.assign(assignment);
            replica_id(n)
        };
        let mut no_command = workload(IMAGE);
        no_command.command = Some(vec!["/bin/absent".into()]);
        let mut no_user = shell("busybox sleep 1000");
        no_user.user = Some("nobody-here".into());
        let mut no_image = workload("localhost/absent:1");
        no_image.image.pull_policy = orlop_model::spec::PullPolicy::Never;
        let mut no_bind = shell("busybox sleep 1000");
        no_bind.volumes =
            vec![Volume { target: "/x".into(), read_only: true, source: VolumeSource::Bind("/absent/file".into()) }];
        let mut no_variable = shell("busybox sleep 1000");
        no_variable.env.insert("A".into(), EnvValue::AgentEnv("ABSENT".into()));
        for (n, workload, code) in [
            (1, no_command, "command_not_found"),
            (2, no_user, "unknown_user"),
            (3, no_image, "image_not_found"),
            (4, no_bind, "mount_invalid"),
            (5, no_variable, "env_missing"),
        ] {
            let replica = place(n, workload);
            let status = control.until(replica, |s| matches!(s.phase, Phase::BackingOff(_))).await;
            assert_eq!(status.reason.map(|r| r.code).as_deref(), Some(code));
        }
        // Ends at once, again and again.
        let short = place(6, shell("echo bye; exit 3"));
        let status = control.until(short, |s| s.restarts >= 2).await;
        assert_eq!(status.last_exit.map(|e| e.code), Some(3));
        let mut once = shell("exit 4");
        once.on_panic = OnPanic::Shutdown;
        let once = place(7, once);
        let status = control.until_phase(once, Phase::Finished(Outcome::Failed)).await;
        assert_eq!(status.last_exit.map(|e| e.code), Some(4));
        // Does not heed SIGTERM.
        let deaf = place(8, shell("trap '' TERM; while true; do busybox sleep 1; done"));
        control.until_phase(deaf, Phase::Running(Health::Unchecked)).await;
        control.order(deaf, Desired::Stop(StopOrder::Graceful));
        let status = control.until_phase(deaf, Phase::Finished(Outcome::Stopped)).await;
        assert_eq!(status.last_exit.map(|e| e.code), Some(137));
        for n in 1..=8 {
            control.order(replica_id(n), Desired::Stop(StopOrder::Forced));
        }
        for n in 1..=8 {
            control.until(replica_id(n), |s| s.phase.is_finished()).await;
        }
        assert!(node.runtime.list().await.expect("listed").is_empty());
    });
}

#[test]
fn a_containerd_that_goes_and_comes_back_changes_nothing_for_those_that_run() {
    on_a_node(async |node| {
        let _agent = node.agent().await;
        let control = &node.cluster.control;
        let replica = replica_id(0x19);
        control.assign(assignment(replica, shell("busybox sleep 1000")));
        let before = control.until_phase(replica, Phase::Running(Health::Unchecked)).await;
        let pid = node.pid(replica).await.expect("it runs");
        let dir = node.cluster.dir.path();
        // Adopts the one that runs, which gives a handle to stop it by.
        Daemon::start(&dir.join("c"), &dir.join("r")).await.expect("found").stop().await.expect("stopped");
        control.until_event("runtime_unavailable").await;
        Daemon::start(&dir.join("c"), &dir.join("r")).await.expect("started");
        control.until_event("runtime_back").await;
        assert_eq!(node.pid(replica).await, Some(pid));
        assert_eq!(control.last(replica), Some(before));
        // Its end is still noticed.
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::Signal::SIGKILL)
            .expect("killed");
        let status = control.until(replica, |s| s.restarts == 1 && s.phase.is_ready()).await;
        assert_eq!(status.last_exit.map(|e| e.code), Some(137));
    });
}
