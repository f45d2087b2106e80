//! Orlop through its binaries: a real containerd, real namespaces, real processes that are killed.
//!
//! One test program, a module for each promise. Everything goes through `orlopctl` and the proxy's port.

mod bad_input;
mod bad_luck;
mod chaos;
mod deploying;
mod ending;
mod endpoints;
mod first_run;
mod full_disk;
mod lifecycle;
mod loggers;
mod looking;
mod registries;
mod scripts;
mod secrets;
mod shared;
mod specs;
