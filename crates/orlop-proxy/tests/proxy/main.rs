//! The proxy as its clients and backends see it, in one process with a control plane that the test plays.

#![expect(clippy::unwrap_used, reason = "a test that assumes wrongly fails, as it should, also in what tests share")]

mod support;

mod balancing;
mod bodies;
mod change;
mod framing;
mod ports;
