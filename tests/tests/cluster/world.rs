//! A cluster of several hosts with a control plane on the first.

use crate::relay;
use orlop_testbed::{Cluster, Output, Role, TestImage, program, run_with_input, wait_for};
use serde_json::Value;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

/// Long enough for a loaded machine with two cores; a test that needs it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    /// Where the control plane is in the hosts' network.
    served: SocketAddr,
}

impl World {
    /// So many nodes; a silent one is suspect after one second, and lost after `lost_after_ms`.
    pub(crate) fn start(count: u16, lost_after_ms: u32) -> Self {
        let mut cluster = Cluster::new(count);
        let control = cluster.hosts().host(1).places().control_socket();
        let address = format!("unix:{}", control.display());
        let lost = lost_after_ms.to_string();
        let terms = ["--make-cluster", "--suspect-after-ms", "1000", "--lost-after-ms", &lost];
        let launch = cluster.launch(1, Role::ControlPlane, "").with(&terms);
        cluster.start(1, Role::ControlPlane, launch);
        let launch = cluster.launch(1, Role::Scheduler, &address);
        cluster.start(1, Role::Scheduler, launch);
        let served = relay::serve(cluster.hosts().host(1), control);
        let mut world = Self { cluster, served };
        for number in 1..=count {
            world.start_node(number);
        }
        world.wait("all nodes to be alive", |world| {
            let nodes = world.json(&["node", "ls"])?;
            (nodes.as_array()?.iter().filter(|node| node["state"] == "alive").count() == usize::from(count))
                .then_some(())
        });
        for image in [TestImage::Busybox, TestImage::Hello] {
            let archive = image.write(world.cluster.hosts().folder());
            world.ok(&["image", "import", archive.to_str().expect("a plain path")]);
        }
        world
    }

    /// Starts all programs of a node.
    pub(crate) fn start_node(&mut self, number: u16) {
        let host = self.cluster.hosts().host(number).clone();
        relay::lead(host.clone(), host.places().run.join("uplink.sock"), self.served);
        for role in Role::OF_A_NODE {
            self.start_role(number, role);
        }
    }

    /// Starts a program of a node, as [`World::start`] does.
    pub(crate) fn start_role(&mut self, host: u16, role: Role) {
        let uplink = self.cluster.hosts().host(host).places().run.join("uplink.sock");
        let launch = self.cluster.launch(host, role, &format!("unix:{}", uplink.display()));
        let launch = match role {
            Role::Proxy => launch.with(&["--listen", "0.0.0.0:80", "--tcp-address", "0.0.0.0"]),
            _ => launch,
        };
        self.cluster.start(host, role, launch);
    }

    /// Where a host's proxy serves HTTP to everybody.
    pub(crate) fn http(&self, host: u16) -> SocketAddr {
        (self.cluster.hosts().host(host).address(), 80).into()
    }

    /// The name of a node.
    pub(crate) fn node(&self, host: u16) -> String {
        self.cluster.hosts().host(host).name().to_owned()
    }

    pub(crate) fn ctl(&self, arguments: &[&str]) -> Output {
        let control = self.cluster.hosts().host(1).places().control_socket();
        let mut command = Command::new(program("orlopctl"));
        command.arg("--address").arg(format!("unix:{}", control.display())).args(arguments);
        run_with_input(&mut command, b"", Duration::from_secs(120)).unwrap_or_else(|late| panic!("{late}"))
    }

    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.ctl(arguments);
        assert!(output.code == 0, "{arguments:?}: {}{}\n{}", output.stdout, output.stderr, self.explain());
        output.stdout
    }

    /// What a command prints; none when it fails.
    pub(crate) fn json(&self, arguments: &[&str]) -> Option<Value> {
        let output = self.ctl(&[arguments, &["-o", "json"]].concat());
        (output.code == 0).then(|| serde_json::from_str(&output.stdout).ok()).flatten()
    }

    pub(crate) fn deploy(&self, services: &str) {
        let file = self.cluster.hosts().folder().join("orlop.yaml");
        std::fs::write(&file, format!("version: v1\ndeployment: app\nservices:\n{services}")).expect("a file");
        self.ok(&["deploy", "-f", file.to_str().expect("a plain path"), "--wait", "--timeout", "60s"]);
    }

    /// The state of a node.
    pub(crate) fn state_of(&self, host: u16) -> String {
        let (nodes, name) = (self.json(&["node", "ls"]).unwrap_or_default(), self.node(host));
        let node = nodes.as_array().into_iter().flatten().find(|node| node["name"] == name.as_str());
        node.and_then(|node| node["state"].as_str()).unwrap_or_default().to_owned()
    }

    /// The ids of a service's replicas that are ready, by the node they are on.
    pub(crate) fn ready(&self, service: &str) -> Vec<(String, String)> {
        let status = self.json(&["status"]).unwrap_or_default();
        let ready = |replica: &&Value| replica["service"] == service && replica["ready"] == true;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut found: Vec<_> = status["replicas"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(ready)
            .map(|replica| (text(&replica["node_name"]), text(&replica["id"])))
            .collect();
        found.sort();
        found
    }

    /// The processes that run in a replica's container, by its cgroup.
    pub(crate) fn processes_of(&self, replica: &str) -> Vec<u32> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let within = |pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|cgroup| cgroup.contains(replica))
        };
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(within).collect()
    }

    pub(crate) fn wait<T>(&self, what: &str, condition: impl Fn(&Self) -> Option<T>) -> T {
        wait_for(what, PATIENCE, || condition(self), || self.explain())
    }

    pub(crate) fn explain(&self) -> String {
        let told = |arguments: &[&str]| self.ctl(arguments).stdout;
        format!("{}{}{}{}", told(&["node", "ls"]), told(&["status"]), told(&["events"]), self.cluster.logs())
    }
}

/// The hello example as a service with a public endpoint and a health check.
pub(crate) fn hello(replicas: u32) -> String {
    format!(
        "  web:\n    rtype: service\n    image: {{ name: localhost/hello:1, pull_policy: never }}\n    \
         scale: {{ mode: fixed, replicas: {replicas} }}\n    stop_grace_period: 2s\n    \
         endpoints: [ {{ name: http, protocol: http, port: 8080, expose: public }} ]\n    \
         health: {{ interval: 200ms, timeout: 1s, retries: 3, check: {{ type: http, url: \"http://localhost:8080/up\" }} }}\n"
    )
}

/// A service of the busybox image that runs a shell script.
pub(crate) fn shell(name: &str, script: &str, replicas: u32) -> String {
    format!(
        "  {name}:\n    rtype: service\n    image: {{ name: localhost/busybox:1, pull_policy: never }}\n    \
         scale: {{ mode: fixed, replicas: {replicas} }}\n    stop_grace_period: 1s\n    \
         command: [\"/bin/sh\", \"-c\"]\n    args: [{script:?}]\n"
    )
}
