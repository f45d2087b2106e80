//! The engine through its binaries: `orlop-engine`, `orlopctl`, and workers in processes of their own.

mod crashes;
mod runs;
mod tasks;
mod two_engines;
mod world;
