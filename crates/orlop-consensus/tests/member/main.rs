//! Members on real disks, through the public surface only.

#![expect(clippy::unwrap_used, reason = "a test that assumes wrongly fails, as it should, also in what tests share")]

mod alone;
mod crash;
mod damage;
mod full;
mod idle;
mod life;
#[path = "../support/list.rs"]
mod list;
