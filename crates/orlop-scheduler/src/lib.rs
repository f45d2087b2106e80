//! The scheduler: watches the cluster, asks [`orlop_planner`] what should happen next, and submits it.
//!
//! It decides nothing itself and remembers nothing: everything it goes by is in its view, and every step it submits is
//! compared with the state by the control plane. So it may be killed at any moment, and any number of schedulers may run;
//! one holds the lease and submits, the others follow the view and take over when the lease is given back or expires. A
//! plan carries the lease's fencing number, so that one that slept through its lease does no harm.

mod cluster;
mod control;
mod duty;
mod serve;

pub use serve::{ServeError, serve};

use std::time::Duration;

/// How a scheduler is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The control plane: `unix:/path/of/socket` or `http://127.0.0.1:PORT`.
    pub control_plane: String,
    /// What the scheduler calls itself when it takes the lease; unique per process.
    pub holder: String,
    /// How long the lease lasts unless it is renewed, which happens at a third of it: 1 s to 60 s. A scheduler whose
    /// process dies is succeeded as soon as another asks, at the latest after a third of it; one whose machine dies or
    /// that hangs, after at most four thirds.
    pub lease_ttl: Duration,
    /// How long after its last plan it plans again although nothing has changed.
    pub sweep: Duration,
}

impl Config {
    /// The usual set-up for a control plane, under a name that no other process has.
    pub fn new(control_plane: impl Into<String>) -> Self {
        Self {
            control_plane: control_plane.into(),
            holder: format!("scheduler-{}", uuid::Uuid::now_v7().simple()),
            lease_ttl: Duration::from_secs(5),
            sweep: Duration::from_secs(30),
        }
    }
}
