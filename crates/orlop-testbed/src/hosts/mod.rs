//! Several hosts on one machine, and what may happen to them.

mod cluster;
mod faults;
mod members;

pub use cluster::Cluster;
use faults::Fault;
pub use members::Tokens;

use crate::{Footprint, network};
use orlop_hosts::{Config, Host, Hosts};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// The machine itself among the hosts, for [`HostSet::cut`] and the like: it hangs on the same switch.
pub const MACHINE: u16 = 0;

/// Hosts of its own for one test, with faults between them. They go when this is dropped, with all that runs on them.
pub struct HostSet {
    folder: tempfile::TempDir,
    hosts: Option<Hosts>,
    faults: Mutex<Vec<Fault>>,
}

static MADE: AtomicU32 = AtomicU32::new(0);

/// A number in `width` digits of base 36, cut off at the left.
fn base36(mut number: u32, width: usize) -> String {
    let mut digits = vec!['0'; width];
    for digit in digits.iter_mut().rev() {
        *digit = char::from_digit(number % 36, 36).unwrap_or('0');
        number /= 36;
    }
    digits.into_iter().collect()
}

impl HostSet {
    /// Makes so many hosts.
    ///
    /// # Panics
    /// When they cannot be made: it takes root.
    pub fn new(count: u16) -> Self {
        // Unix sockets have room for 107 bytes of path.
        let folder = tempfile::Builder::new().prefix("orl").tempdir_in("/tmp").expect("a temporary directory");
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let config = Config {
            // All such names are of one length: none is the beginning of another one.
            name: format!("h{}{}", base36(std::process::id(), 5), base36(number, 2)),
            network: network(),
            data: folder.path().join("data"),
            run: folder.path().join("run"),
        };
        let hosts = Hosts::create(config, count).unwrap_or_else(|error| panic!("{error}"));
        Self { folder, hosts: Some(hosts), faults: Mutex::default() }
    }

    /// The hosts as whoever makes a cluster of them sees them.
    ///
    /// # Panics
    /// Never: they are there as long as this is.
    pub fn hosts(&self) -> &Hosts {
        self.hosts.as_ref().expect("hosts that were not dropped")
    }

    /// Makes one more host, and gives its number.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn add(&mut self) -> u16 {
        let hosts = self.hosts.as_mut().expect("hosts that were not dropped");
        hosts.add().unwrap_or_else(|error| panic!("{error}")).number()
    }

    /// The host with a number; the first is 1.
    ///
    /// # Panics
    /// When there is no such host.
    pub fn host(&self, number: u16) -> &Host {
        self.hosts().get(number).unwrap_or_else(|| panic!("there is no host {number}"))
    }

    /// The temporary directory of everything.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Lets nothing through between the hosts of two groups, in neither direction; adds to the faults there are.
    ///
    /// # Panics
    /// When the switch does not take the rule.
    pub fn cut(&self, some: &[u16], others: &[u16]) {
        self.cut_one_way(some, others);
        self.cut_one_way(others, some);
    }

    /// Lets nothing through from hosts of one group to those of another; the way back stays open.
    ///
    /// # Panics
    /// As [`HostSet::cut`].
    pub fn cut_one_way(&self, from: &[u16], to: &[u16]) {
        self.break_links(from, to, |from, to| Fault::Cut { from, to });
    }

    /// Loses so many packets of a thousand between the hosts of two groups, each direction by itself.
    ///
    /// # Panics
    /// As [`HostSet::cut`].
    pub fn lose(&self, some: &[u16], others: &[u16], per_mille: u16) {
        self.break_links(some, others, |from, to| Fault::Lose { from, to, per_mille });
        self.break_links(others, some, |from, to| Fault::Lose { from, to, per_mille });
    }

    /// Lets so many KiB a second through between the hosts of two groups, each pair and direction by itself, and drops
    /// what is more.
    ///
    /// # Panics
    /// As [`HostSet::cut`].
    pub fn throttle(&self, some: &[u16], others: &[u16], kib_per_second: u32) {
        self.break_links(some, others, |from, to| Fault::Throttle { from, to, kib_per_second });
        self.break_links(others, some, |from, to| Fault::Throttle { from, to, kib_per_second });
    }

    /// Ends all faults of the network.
    ///
    /// # Panics
    /// As [`HostSet::cut`].
    pub fn heal(&self) {
        self.change(|faults| faults.clear());
    }

    fn break_links(&self, from: &[u16], to: &[u16], fault: impl Fn(String, String) -> Fault) {
        self.change(|faults| {
            for (from, to) in from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to))) {
                if from != to {
                    faults.push(fault(self.port(from), self.port(to)));
                }
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Fault>)) {
        let mut faults = self.faults.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut faults);
        let mut command = self.hosts().on_switch("nft").unwrap_or_else(|error| panic!("{error}"));
        command.args(["-f", "-"]).stderr(Stdio::piped());
        let output =
            crate::run_with_input(&mut command, faults::rules(&faults).as_bytes(), std::time::Duration::from_secs(10));
        let output = output.unwrap_or_else(|late| panic!("{late}"));
        assert!(output.code == 0, "nft: {}", output.stderr);
    }

    fn port(&self, number: u16) -> String {
        if number == MACHINE { "outside".to_owned() } else { self.hosts().port(self.host(number)) }
    }
}

impl Drop for HostSet {
    /// Takes everything away. A test that has passed so far fails when that leaves something behind.
    fn drop(&mut self) {
        let Some(hosts) = self.hosts.take() else { return };
        let marks = [hosts.config().name.clone(), self.folder.path().display().to_string()];
        let outcome = hosts.remove();
        let left = Footprint::take(&[&marks[0], &marks[1]]);
        if outcome.is_ok() && left.lines().is_empty() {
            return;
        }
        eprintln!("taking hosts away: {outcome:?}; left {:#?}", left.lines());
        assert!(std::thread::panicking(), "something was left behind");
    }
}
