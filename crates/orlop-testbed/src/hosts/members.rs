//! Members of one control plane on several hosts, made as people make them: the first makes the cluster, the others join it
//! over TLS.

use super::Cluster;
use crate::process::{Output, program, run_with_input};
use crate::wait_for;
use orlop_hosts::Role;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The port of members where none is named.
const PORT: u16 = 7700;
const PATIENCE: Duration = Duration::from_secs(90);

/// With these others join.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// Members of the control plane.
    pub member: String,
    /// Nodes.
    pub node: String,
}

impl Cluster {
    /// Where a member on a host is reached over TLS.
    pub fn member_address(&self, host: u16) -> SocketAddr {
        (self.hosts().host(host).address(), PORT).into()
    }

    /// The directory of a host's member.
    pub fn member_data(&self, host: u16) -> PathBuf {
        self.hosts().host(host).places().data.join(Role::ControlPlane.name())
    }

    /// Makes a cluster with the first member on a host; nothing runs there yet.
    ///
    /// # Panics
    /// When `orlop-control-plane init` fails.
    pub fn init(&self, host: u16, flags: &[&str]) -> Tokens {
        let (directory, address) =
            (self.member_data(host).display().to_string(), self.member_address(host).to_string());
        let name = self.hosts().host(host).name();
        let init = ["init", "--data-dir", &directory, "--advertise", &address, "--name", name];
        let made =
            self.run_on(host, "orlop-control-plane", &[&init[..], &["--no-node", "--joins", "900"], flags].concat());
        let token = |beginning: &str| {
            let found = made.stdout.split_whitespace().find(|word| word.starts_with(beginning));
            found.unwrap_or_else(|| panic!("no token {beginning}… in {made:?}")).to_owned()
        };
        Tokens { member: token("orlop1-m-"), node: token("orlop1-n-") }
    }

    /// Lets a host join as a member, by one that runs on another host.
    ///
    /// # Panics
    /// When `orlopctl join` fails.
    pub fn join_as_member(&self, host: u16, by: u16, token: &str) {
        let to = format!("https://{}", self.member_address(by));
        let (of, data) = (self.hosts().host(host), self.member_data(host).display().to_string());
        let beside = |name: &str| of.places().data.join(name).display().to_string();
        let (identity, agent) = (beside("identity"), beside("agent"));
        let arguments = ["join", &to, "--token", token, "--name", of.name(), "--identity", &identity];
        let arguments = [&arguments[..], &["--control-plane-data-dir", &data, "--agent-data-dir", &agent]].concat();
        self.run_on(host, "orlopctl", &arguments);
    }

    /// Makes a cluster of members on the first hosts, each started with what `start` does.
    ///
    /// # Panics
    /// When it is not made in time.
    pub fn make_members(&mut self, count: u16, flags: &[&str], mut start: impl FnMut(&mut Self, u16)) -> Tokens {
        let tokens = self.init(1, flags);
        for host in 1..=count {
            if host > 1 {
                self.join_as_member(host, 1, &tokens.member);
            }
            start(self, host);
            self.wait_for_voters(1, usize::from(host));
        }
        tokens
    }

    /// Waits until so many members vote, as the one on a host says.
    ///
    /// # Panics
    /// When they do not in time.
    pub fn wait_for_voters(&self, asked: u16, count: usize) {
        let socket = self.hosts().host(asked).places().control_socket();
        let vote = || {
            let mut command = Command::new(program("orlopctl"));
            command
                .arg("--address")
                .arg(format!("unix:{}", socket.display()))
                .args(["cluster", "members", "-o", "json"]);
            let output = run_with_input(&mut command, b"", PATIENCE).unwrap_or_else(|late| panic!("{late}"));
            let members: serde_json::Value = serde_json::from_str(&output.stdout).ok()?;
            let voters = members.as_array()?.iter().filter(|member| member["suffrage"] == "voter").count();
            (voters == count).then_some(())
        };
        wait_for(&format!("{count} members to vote"), PATIENCE, vote, || self.logs());
    }

    fn run_on(&self, host: u16, name: &str, arguments: &[&str]) -> Output {
        let command = self.hosts().host(host).command(program(name));
        let mut command = command.unwrap_or_else(|error| panic!("{error}"));
        command.args(arguments);
        let output =
            run_with_input(&mut command, b"", PATIENCE).unwrap_or_else(|late| panic!("{late}\n{}", self.logs()));
        assert!(output.code == 0, "{name} {arguments:?}: {}{}\n{}", output.stdout, output.stderr, self.logs());
        output
    }
}
