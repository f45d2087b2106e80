//! A whole control plane in one thread: real members over a network, disks and clocks that fail by a seed, and checks of
//! what must hold whatever happens.
//!
//! A [`run`] is a function of its [`Plan`]: the same seed gives the same run, event for event, which
//! [`Report::hash`] shows. So a failure is replayed by its seed, in a debugger if need be.

mod agent;
mod call;
mod check;
mod client;
mod disk;
mod follower;
mod host;
mod machine;
mod mutation;
mod network;
mod scheduler;
mod trace;
mod violation;
mod world;

use orlop_history::chance;

pub use mutation::Mutation;
pub use violation::{Check, Violation};
pub use world::{Plan, Report, run};
