//! End-to-end tests of Orlop through its binaries; see `tests/`.
