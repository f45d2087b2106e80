//! What people see: pure functions from state to text.

mod cluster;
mod describe;
mod plan;
mod progress;
mod status;
pub(crate) mod table;
#[cfg(test)]
mod tests;

pub(crate) use cluster::{Finding, cluster_status, doctor, findings, members};
pub(crate) use describe::{describe_deployment, describe_node, describe_replica, describe_service};
pub(crate) use plan::{changes, plan};
pub(crate) use progress::{Progress, summary};
pub(crate) use status::{event_line, events, images, nodes, replicas, size, status, writes_refused};
pub(crate) use table::plain;
