//! Several members over loopback, with a network between them that can be cut.

#![expect(clippy::unwrap_used, reason = "a test that assumes wrongly fails, as it should, also in what tests share")]

mod changes;
mod crash;
mod disaster;
mod failures;
mod harness;
#[path = "../support/list.rs"]
mod list;
mod network;
mod returning;
mod serving;
mod snapshots;
