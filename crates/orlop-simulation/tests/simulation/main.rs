//! Runs of the simulation, by the thousand.

mod determinism;
mod mutations;
mod seeds;
