//! All hosts of a cluster, and the switch between them.

use crate::host::{Host, command_in, namespaces};
use crate::program::{ip, ip_batch};
use crate::{HostsError, removal};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How many hosts there may be on one machine.
pub const HOSTS_MAX: u16 = 200;
/// An instance's name may have 13 bytes, and that of a host has a dash and three digits more than this.
const NAME_BYTES_MAX: usize = 9;

/// What the hosts of a cluster are called and where their things lie. Whoever has the same finds the same hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The beginning of all names on the machine: 1–9 lower-case letters and digits, a letter first.
    pub name: String,
    /// The network of the hosts: host `n` has its `n`th address, the machine its last. Not that of the replicas.
    pub network: Ipv4Net,
    /// Below it each host has a directory of what outlives its programs.
    pub data: PathBuf,
    /// Below it each host has a directory of sockets and namespaces; short, because sockets' paths are.
    pub run: PathBuf,
}

impl Config {
    fn check(&self) -> Result<(), HostsError> {
        let wrong =
            |what, found: &str, remedy: String| Err(HostsError::Config { what, found: found.to_owned(), remedy });
        let name = &self.name;
        let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !letters || !name.starts_with(|c: char| c.is_ascii_lowercase()) || name.len() > NAME_BYTES_MAX {
            let remedy = format!("take 1 to {NAME_BYTES_MAX} lower-case letters and digits, a letter first");
            return wrong("the name of the hosts", name, remedy);
        }
        if !(8..=29).contains(&self.network.prefix_len()) {
            let remedy = "take a network of a /8 to a /29, such as 10.99.0.0/24".to_owned();
            return wrong("the network of the hosts", &self.network.to_string(), remedy);
        }
        Ok(())
    }

    /// The most hosts that find room: the machine has an address too.
    fn room(&self) -> u16 {
        let addresses = (1_u32 << (32 - self.network.prefix_len())) - 3;
        u16::try_from(addresses).unwrap_or(u16::MAX).min(HOSTS_MAX)
    }

    pub(crate) fn host_name(&self, number: u16) -> String {
        format!("{}-{number}", self.name)
    }

    pub(crate) fn switch_name(&self) -> String {
        format!("{}-switch", self.name)
    }

    pub(crate) fn address(&self, number: u16) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network.network()) + u32::from(number))
    }

    /// The machine's own address among the hosts.
    pub fn outside(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network.broadcast()) - 1)
    }

    /// The numbers of the hosts that are there, in order.
    pub(crate) fn numbers(&self) -> Vec<u16> {
        let number = |name: &String| name.strip_prefix(&self.name)?.strip_prefix('-')?.parse().ok();
        let mut numbers: Vec<u16> = namespaces().iter().filter_map(number).collect();
        numbers.sort_unstable();
        numbers
    }
}

/// The hosts of a cluster. Dropping the handle leaves them there: [`Hosts::remove`] takes them away.
#[derive(Debug)]
pub struct Hosts {
    config: Config,
    hosts: Vec<Host>,
}

impl Hosts {
    /// Makes a switch and so many hosts.
    ///
    /// # Errors
    /// When the configuration cannot be used, hosts of this name exist, or the kernel refuses; then nothing is left.
    pub fn create(config: Config, count: u16) -> Result<Self, HostsError> {
        config.check()?;
        if !config.numbers().is_empty() || namespaces().contains(&config.switch_name()) {
            return Err(HostsError::Taken(config.name));
        }
        let mut hosts = Self { config, hosts: Vec::new() };
        let made = hosts.make_switch().and_then(|()| (0..count).try_for_each(|_| hosts.add().map(drop)));
        match made {
            Ok(()) => Ok(hosts),
            Err(error) => {
                // The first error is the one to tell.
                let _ = removal::remove(&hosts.config);
                Err(error)
            }
        }
    }

    /// Finds hosts that another process has made.
    ///
    /// # Errors
    /// When the configuration cannot be used, or there are none.
    pub fn open(config: Config) -> Result<Self, HostsError> {
        config.check()?;
        if !namespaces().contains(&config.switch_name()) {
            return Err(HostsError::Absent(config.name));
        }
        let hosts = config.numbers().into_iter().map(|number| Host::of(&config, number)).collect();
        Ok(Self { config, hosts })
    }

    /// Makes one more host, with the number after the highest.
    ///
    /// # Errors
    /// When there is no room in the network, or the kernel refuses.
    pub fn add(&mut self) -> Result<&Host, HostsError> {
        let number = self.hosts.last().map_or(1, |last| last.number() + 1);
        let room = self.config.room();
        if number > room {
            return Err(HostsError::Config {
                what: "the number of a host",
                found: number.to_string(),
                remedy: format!("{} has room for {room} hosts (at most {HOSTS_MAX})", self.config.network),
            });
        }
        let host = Host::of(&self.config, number);
        self.make_host(&host)?;
        self.hosts.push(host);
        Ok(&self.hosts[self.hosts.len() - 1])
    }

    /// Takes a host's power away and gives it back: whatever ran there, its network and its sockets are gone, and what was on
    /// its disk is there.
    ///
    /// # Errors
    /// When there is no such host, a process of it does not end, or the kernel refuses.
    pub fn reboot(&self, number: u16) -> Result<(), HostsError> {
        let host = self.get(number).ok_or_else(|| HostsError::Absent(self.config.host_name(number)))?;
        removal::remove_host(host)?;
        self.make_host(host)
    }

    fn make_host(&self, host: &Host) -> Result<(), HostsError> {
        for folder in [&host.places().data, &host.places().run] {
            let failed = |source| HostsError::Io { doing: "make", path: folder.clone(), source };
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        ip(&["netns", "add", host.name()])?;
        let (port, prefix) = (port(host), self.config.network.prefix_len());
        ip_batch(
            Some(&self.config.switch_name()),
            &format!(
                "link add {port} type veth peer name eth0 netns {}\nlink set {port} master switch up\n",
                host.name()
            ),
        )?;
        ip_batch(
            Some(host.name()),
            &format!(
                "link set lo up\naddress add {}/{prefix} brd + dev eth0\nlink set eth0 up\nroute add default via {}\n",
                host.address(),
                self.config.outside()
            ),
        )
        .map(drop)
    }

    fn make_switch(&self) -> Result<(), HostsError> {
        let (name, switch) = (&self.config.name, self.config.switch_name());
        ip(&["netns", "add", &switch])?;
        // Ports forward at once: there are no loops to look for.
        ip_batch(
            Some(&switch),
            "link add switch type bridge forward_delay 0 stp_state 0\nlink set lo up\nlink set switch up\n",
        )?;
        let (outside, prefix) = (self.config.outside(), self.config.network.prefix_len());
        ip_batch(
            None,
            &format!(
                "link add {name} type veth peer name outside netns {switch}\n\
                 address add {outside}/{prefix} brd + dev {name}\nlink set {name} up\n"
            ),
        )?;
        ip_batch(Some(&switch), "link set outside master switch up\n").map(drop)
    }

    /// What they are called and where their things lie.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The hosts, in the order of their numbers.
    pub fn all(&self) -> &[Host] {
        &self.hosts
    }

    /// The host with this number.
    pub fn get(&self, number: u16) -> Option<&Host> {
        self.hosts.iter().find(|host| host.number() == number)
    }

    /// The port of the switch that a host hangs on; the machine's is `outside`.
    pub fn port(&self, host: &Host) -> String {
        port(host)
    }

    /// A command that runs on the switch.
    ///
    /// # Errors
    /// When the switch is gone.
    pub fn on_switch(&self, program: impl AsRef<Path>) -> Result<Command, HostsError> {
        command_in(&self.config.switch_name(), program.as_ref())
    }

    /// Ends everything that runs on the hosts and takes them away, with their directories of sockets. Their data stays.
    ///
    /// # Errors
    /// As [`remove`](crate::remove()).
    pub fn remove(self) -> Result<(), HostsError> {
        removal::remove(&self.config)
    }
}

fn port(host: &Host) -> String {
    format!("p{}", host.number())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, network: &str) -> Config {
        Config { name: name.into(), network: network.parse().unwrap(), data: "/d".into(), run: "/r".into() }
    }

    #[test]
    fn names_and_networks_that_cannot_be_used_are_refused_with_a_remedy() {
        for (name, network, word) in [
            ("", "10.99.0.0/24", "letters"),
            ("Up", "10.99.0.0/24", "letters"),
            ("1st", "10.99.0.0/24", "letter first"),
            ("a-b", "10.99.0.0/24", "letters"),
            ("abcdefghij", "10.99.0.0/24", "1 to 9"),
            ("good", "10.99.0.0/30", "/29"),
            ("good", "0.0.0.0/0", "/8"),
        ] {
            let error = config(name, network).check().expect_err(name).to_string();
            assert!(error.contains(word), "{name} {network}: {error}");
        }
        config("abcdefghi", "10.99.0.0/29").check().unwrap();
    }

    #[test]
    fn addresses_count_from_the_network_and_the_machine_has_the_last() {
        let config = config("c", "10.99.4.0/22");
        assert_eq!(config.address(1).to_string(), "10.99.4.1");
        assert_eq!(config.address(300).to_string(), "10.99.5.44");
        assert_eq!(config.outside().to_string(), "10.99.7.254");
        assert_eq!(config.room(), HOSTS_MAX);
        let small = Config { network: "10.99.4.8/29".parse().unwrap(), ..config };
        assert_eq!((small.room(), small.outside().to_string()), (5, "10.99.4.14".to_owned()));
        assert!(small.address(small.room()) < small.outside());
    }
}
