//! End-to-end tests of Orlop through its binaries; see `tests/` and `benches/`.

pub mod measure;
