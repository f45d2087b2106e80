//! The proxy of a node: takes public HTTP and TCP endpoints on the node's ports and spreads what comes over
//! the replicas that are ready.
//!
//! It learns routes from its view and keeps the last good ones on disk, so that it starts and works without a control
//! plane. A change of routes swaps one value: connections of routes that did not change, and requests under way, notice
//! nothing. A backend that leaves the table gets nothing new and may finish what it has.
//!
//! Requests are read strictly before anything is made of them (see [`orlop_proxy_core::framing`]); what fails before it
//! can have been done is tried again on another backend.

mod answer;
mod config;
mod forward;
mod handover;
mod headers;
mod http;
mod ports;
mod report;
mod routes;
mod serve;
mod strict;
mod tunnel;
mod upstream;

pub use config::{Config, InvalidConfig};
pub use serve::{Proxy, ServeError, serve, start};
