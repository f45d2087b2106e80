//! The pure half of the overlay daemon: which replica has which address, what the kernel should hold for it, and the
//! steps from what it holds to that.
//!
//! Nothing here opens a socket or reads a clock. A plan is a list of [`Step`]s; each step may be the last one before
//! the daemon dies, and planning again from what was left behind always leads to the same end.

mod address;
mod names;
mod plan;
mod rules;

pub use address::{Addresses, InvalidSubnet, NoFreeAddress, RESTING, Remains, Subnet};
pub use names::{Instance, InvalidInstance};
pub use plan::{Bridge, Desired, Inside, Interface, Observed, Peers, Port, Step, plan_node, plan_replica};
pub use rules::{foreign_rules, own_rules};
