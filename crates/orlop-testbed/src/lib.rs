//! Real clusters on one machine, for tests and benchmarks.
//!
//! A [`Testbed`] starts the real programs with a containerd of its own, names of its own (bridge, nftables table,
//! sockets) and addresses of its own, so that several run side by side, and takes everything away when it is dropped, also
//! when a test fails. It talks to the cluster as people do, through `orlopctl` and the proxy's port.
//!
//! A [`Cluster`] is the same on several hosts, each with a network namespace, an address and a containerd of its own; what
//! happens to the network between them, its [`HostSet`] says.
//!
//! A [`Machine`] is a computer of its own, emulated, with another kernel: for what the kernel of this machine cannot show,
//! and for losing power.
//!
//! Everything here is synchronous: a test reads from top to bottom, and waits on conditions ([`wait_for`]).

mod clean;
mod disk;
mod failing;
mod hosts;
mod http;
mod image;
mod machine;
mod network;
mod postgres;
mod process;
mod registry;
mod testbed;

pub use clean::Footprint;
pub use disk::Disk;
pub use failing::FailingDisk;
pub use hosts::{Cluster, HostSet, MACHINE, Tokens};
pub use http::{Answer, Hammer, get, get_from};
pub use image::TestImage;
pub use machine::{DISK, Ended, Machine, MachineDisk, MachineOptions};
pub use network::network;
pub use orlop_hosts::{Host, Launch, Places, Role};
pub use postgres::Postgres;
pub use process::{Output, Program, program, run_with_input, signal_process};
pub use registry::{Registry, write_login};
pub use testbed::{Layout, Options, Testbed};

use std::time::{Duration, Instant};

/// Waits until `condition` gives a value; asks again every few milliseconds.
///
/// # Panics
/// When `limit` passes first, with `what` and whatever `explain` says: a test wants to know why.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Option<T>,
    explain: impl Fn() -> String,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < limit, "gave up after {limit:?} waiting for {what}\n{}", explain());
        std::thread::sleep(Duration::from_millis(5));
    }
}
