//! The overlay daemon of a node: gives each replica a network namespace with an address on the node's bridge, a default
//! route, and a way out through the node's own address.
//!
//! It learns the node's subnet from the mesh view and keeps the view on disk, so that it works without a control plane.
//! What it made lives in the kernel and not in the daemon: it may die at any moment, and one that starts finds
//! everything again, mends what is wrong and touches nothing that is right. What belongs to replicas that nobody asks
//! about stays until it is detached, or until [`teardown`].

mod config;
mod daemon;
mod mesh;
mod namespace;
mod network;
mod nft;
mod routes;
mod service;
mod teardown;

pub use config::{Config, InvalidConfig};
pub use daemon::AttachError;
pub use network::{Network, NetworkError};
pub use nft::NftError;
pub use service::{Overlay, ServeError, serve, start};
pub use teardown::{TeardownError, teardown};
