//! The agent as a whole, between a control plane in memory and, in `memory`, a runtime and an overlay in memory too, in
//! `node` the real ones.

mod cluster;
mod disk;
mod fault;
mod killed;
mod memory;
mod node;
mod probes;
