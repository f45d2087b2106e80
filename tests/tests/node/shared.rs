//! A containerd that others use too.

use crate::specs::{app, hello, pids, testbed};
use orlop_testbed::{Layout, Options, Role, TestImage, Testbed};
use std::path::Path;
use std::process::Command;

/// Somebody else's container; taken away with the test, whatever becomes of it.
struct Foreign<'a> {
    host: &'a Testbed,
    pid: u32,
}

const NAME: &str = "somebody-elses";

fn ctr(host: &Testbed, namespace: &str, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new("ctr");
    command.arg("--address").arg(host.containerd()).args(["--namespace", namespace]).args(arguments);
    let output = command.output().expect("ctr runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

impl<'a> Foreign<'a> {
    fn start(host: &'a Testbed) -> Self {
        let image = TestImage::Busybox.write(&host.path(""));
        // Made first, so that whatever follows is taken away.
        let mut foreign = Self { host, pid: 0 };
        let run = |arguments: &[&str]| {
            let (good, said) = ctr(host, host.instance(), arguments);
            assert!(good, "ctr {arguments:?}: {said}");
            said
        };
        run(&["image", "import", image.to_str().expect("a plain path")]);
        run(&["run", "-d", "localhost/busybox:1", NAME, "/bin/sleep", "1000"]);
        let tasks = run(&["task", "ls"]);
        let line = tasks.lines().find(|line| line.starts_with(NAME)).expect("a task");
        foreign.pid = line.split_whitespace().nth(1).and_then(|pid| pid.parse().ok()).expect("a process id");
        foreign
    }

    /// Fails unless it runs as it was started.
    fn check(&self, after: &str) {
        let (_, tasks) = ctr(self.host, self.host.instance(), &["task", "ls"]);
        assert!(Path::new("/proc").join(self.pid.to_string()).exists(), "after {after}: {tasks}");
        let runs = tasks.lines().any(|line| line.starts_with(NAME) && line.contains("RUNNING"));
        assert!(runs, "after {after}: {tasks}");
    }
}

impl Drop for Foreign<'_> {
    fn drop(&mut self) {
        for arguments in
            [&["task", "kill", "-s", "9", NAME][..], &["task", "delete", "-f", NAME], &["container", "delete", NAME]]
        {
            ctr(self.host, self.host.instance(), arguments);
        }
    }
}

#[test]
fn what_others_run_in_a_shared_containerd_is_left_alone_and_nothing_of_ours_stays() {
    let mut host = Testbed::prepare(Options { layout: Layout::ProcessPerRole, ..Options::default() });
    host.start_role(Role::Containerd);
    {
        let foreign = Foreign::start(&host);
        let mut node = testbed(Options { containerd: Some(host.containerd()), ..Options::default() });
        node.deploy(&app(&hello("web", 2, "")), &["--wait"]);
        assert_eq!(pids(&node, "app/web").len(), 2);
        let (_, tasks) = ctr(&host, node.instance(), &["task", "ls", "-q"]);
        assert_eq!(tasks.lines().count(), 2, "the node uses this containerd: {tasks}");

        for way in ["a signal", "down"] {
            if way == "down" {
                node.start_all();
                node.kill(Role::Dev);
                node.down();
            } else {
                node.terminate(Role::Dev);
            }
            foreign.check(way);
            for what in ["task", "container", "leases"] {
                let (good, left) = ctr(&host, node.instance(), &[what, "ls", "-q"]);
                assert!(good && left.trim().is_empty(), "after {way}, {what}: {left}");
            }
            // The layers of images stay with the images; what belongs to a container is active.
            let (good, snapshots) = ctr(&host, node.instance(), &["snapshot", "ls"]);
            assert!(good && !snapshots.contains("Active"), "after {way}: {snapshots}");
            assert_eq!(node.footprint().lines(), Vec::<&str>::new(), "after {way}");
        }
    }
}
