//! The runtime on a real containerd of its own: real images, real processes, real registries on loopback.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod archives;
mod containers;
mod crashes;
mod exec;
mod isolation;
mod pulls;
mod registries;
mod server;
mod support;
