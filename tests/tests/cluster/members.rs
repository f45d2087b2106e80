//! A cluster as a stranger makes it, with `orlopctl cluster up`: three hosts that joined over TLS, three members that vote.

use crate::world::hello;
use orlop_testbed::{Footprint, Output, TestImage, get, program, run_with_input, wait_for};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(90);

/// A cluster that goes when it is dropped.
struct Made {
    folder: tempfile::TempDir,
    name: String,
    network: String,
}

impl Made {
    fn up() -> Self {
        let folder = tempfile::Builder::new().prefix("oup").tempdir_in("/tmp").expect("a folder");
        let unique = std::process::id();
        let name = format!("u{:x}", unique % 0xfff_ffff);
        let network = orlop_testbed::network().to_string();
        let made = Self { folder, name, network };
        let up = made.run(&[&["cluster", "up", "--nodes", "3"], &made.flags()[..]].concat());
        assert!(up.code == 0, "{}{}{}", up.stdout, up.stderr, made.logs());
        assert!(up.stdout.contains("3 members, 3 nodes"), "{}", up.stdout);
        made
    }

    fn flags(&self) -> Vec<&str> {
        // Leaked on purpose, a few bytes in a test: arguments that live as long as it.
        let text = |path: PathBuf| -> &str { Box::leak(path.display().to_string().into_boxed_str()) };
        let (data, run) = (text(self.folder.path().join("data")), text(self.folder.path().join("run")));
        vec!["--instance", &self.name, "--network", &self.network, "--data", data, "--run", run]
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program("orlopctl"));
        command.args(arguments);
        run_with_input(&mut command, b"", Duration::from_secs(180)).unwrap_or_else(|late| panic!("{late}"))
    }

    /// A command that the member on a host hears.
    fn at(&self, host: u16, arguments: &[&str]) -> Output {
        let socket = self.folder.path().join(format!("run/{host}/control.sock"));
        let address = format!("unix:{}", socket.display());
        self.run(&[&["--address", &address], arguments].concat())
    }

    fn json(&self, host: u16, arguments: &[&str]) -> Option<Value> {
        let output = self.at(host, &[arguments, &["-o", "json"]].concat());
        (output.code == 0).then(|| serde_json::from_str(&output.stdout).ok()).flatten()
    }

    fn wait<T>(&self, what: &str, check: impl FnMut() -> Option<T>) -> T {
        wait_for(what, PATIENCE, check, || self.logs())
    }

    /// The host whose member leads, as the member on another host knows it.
    fn leader(&self, asked: u16) -> Option<u16> {
        let cluster = self.json(asked, &["cluster", "status"])?;
        let leader = cluster["leader"].as_u64()?;
        let members = cluster["members"].as_array()?;
        let name = members.iter().find(|member| member["id"] == leader)?["name"].as_str()?.to_owned();
        name.rsplit('-').next()?.parse().ok()
    }

    fn kill_host(&self, host: u16) {
        let listed = Command::new("ip").args(["netns", "pids", &format!("{}-{host}", self.name)]).output();
        for pid in String::from_utf8_lossy(&listed.expect("ip runs").stdout).split_whitespace() {
            orlop_testbed::signal_process(pid.parse().expect("a number"), "KILL");
        }
    }

    fn http(&self, host: u16) -> SocketAddr {
        let network = self.network.strip_suffix(".0/24").expect("a /24");
        format!("{network}.{host}:80").parse().expect("an address")
    }

    /// The end of every log, for messages of failed tests.
    fn logs(&self) -> String {
        let mut text = String::new();
        for host in 1..=3 {
            let folder = self.folder.path().join(format!("data/{host}"));
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.extension().is_some_and(|extension| extension == "log") {
                    let log = std::fs::read_to_string(&path).unwrap_or_default();
                    let lines: Vec<&str> = log.lines().rev().take(8).collect();
                    let lines: Vec<&str> = lines.into_iter().rev().collect();
                    text.push_str(&format!("\n== {}\n{}", path.display(), lines.join("\n")));
                }
            }
        }
        text
    }
}

impl Drop for Made {
    /// Takes everything away. A test that has passed so far fails when that leaves something behind.
    fn drop(&mut self) {
        let down = self.run(&[&["cluster", "down"], &self.flags()[..]].concat());
        let left = Footprint::take(&[&format!("{}-", self.name), &self.folder.path().display().to_string()]);
        if down.code == 0 && left.lines().is_empty() {
            return;
        }
        eprintln!("cluster down: {}{}; left {:#?}", down.stdout, down.stderr, left.lines());
        assert!(std::thread::panicking(), "something was left behind");
    }
}

#[test]
fn a_cluster_is_made_by_one_command_spreads_the_example_and_loses_a_host_without_losing_a_write() {
    let made = Made::up();
    let archive = TestImage::Hello.write(made.folder.path());
    let import = made.at(2, &["image", "import", archive.to_str().expect("a plain path")]);
    assert!(import.code == 0, "{}{}", import.stderr, made.logs());
    let file = made.folder.path().join("orlop.yaml");
    std::fs::write(&file, format!("version: v1\ndeployment: app\nservices:\n{}", hello(6))).expect("a file");
    let file = file.to_str().expect("a plain path");
    let deploy = made.at(3, &["deploy", "-f", file, "--wait", "--timeout", "60s"]);
    assert!(deploy.code == 0, "{}{}{}", deploy.stdout, deploy.stderr, made.logs());
    for host in 1..=3 {
        made.wait("the example to answer through every proxy", || {
            get(made.http(host), "/").ok().filter(|answer| answer.status == 200)
        });
    }
    let doctor = made.json(1, &["cluster", "doctor"]).expect("an examination");
    assert_eq!(doctor["members"].as_array().map(Vec::len), Some(3), "{doctor}");

    // Written at a member that may not lead, before and after the one that leads has lost its power.
    let leader = made.leader(1).expect("a leader");
    let other = leader % 3 + 1;
    let scaled = made.at(other, &["scale", "app/web", "5"]);
    assert!(scaled.code == 0, "{}{}", scaled.stderr, made.logs());
    made.kill_host(leader);
    made.wait("the next write", || (made.at(other, &["scale", "app/web", "4"]).code == 0).then_some(()));
    let now = made.wait("another leader", || made.leader(other).filter(|now| *now != leader));
    let status = made.json(now, &["status"]).expect("a status");
    let web = status["services"].as_array().expect("services").iter().find(|service| service["name"] == "app/web");
    assert_eq!(web.expect("the service")["replicas_wanted"], 4, "{status}");
    assert!(made.at(now, &["cluster", "doctor"]).code != 0, "a member is missing, and the doctor says so");

    // Leadership is handed over on request, and a backup says what it is of.
    let handed = made.at(now, &["cluster", "transfer-leader"]);
    assert!(handed.code == 0, "{}{}", handed.stderr, made.logs());
    let backup = made.folder.path().join("backup");
    let backup = backup.to_str().expect("a plain path");
    let saved = made.at(now, &["cluster", "snapshot", "save", backup]);
    assert!(saved.code == 0, "{}{}", saved.stderr, made.logs());
    assert!(made.run(&["cluster", "snapshot", "inspect", backup]).stdout.contains("is whole"));
    std::fs::OpenOptions::new().write(true).open(backup).and_then(|file| file.set_len(100)).expect("cut short");
    assert!(made.run(&["cluster", "snapshot", "inspect", backup]).code != 0, "a backup that was cut short is refused");
}
