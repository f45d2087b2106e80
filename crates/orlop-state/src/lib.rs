//! The replicated state machine: what is desired of a cluster and what was observed of it, as plain data in ordered maps.
//!
//! A [`Command`] is applied by [`State::apply`], which is total and deterministic: it gets its time inside the command,
//! never fails, and answers a bad command with a [`Refusal`] that changes nothing. Every member applies the same commands
//! in the same order and comes to the same state. Applying also names every [`Entity`] that changed, from which
//! [`view::project`] makes what the followers of each [`View`](orlop_model::View) have to hear.
//!
//! [`stored`] is the form in which commands and snapshots are written to disk.
//!
//! What grows has a bound: events ([`limit::EVENTS_MAX`]), deployments, services and replicas; the spec of an earlier
//! generation is forgotten with the last replica that runs it.
//!
//! This crate knows nothing of Raft, sockets or clocks.

mod answer;
mod audit;
pub mod command;
mod entity;
mod history;
pub mod limit;
mod requests;
mod route;
mod state;
pub mod stored;
mod trust;
pub mod view;

pub use answer::{Answer, Refusal, RefusalKind, RefusedStep};
pub use command::{Applied, Command, Kind, TrustCommand};
pub use entity::Entity;
pub use requests::RequestId;
pub use state::{InvalidState, Lease, State};
pub use trust::{OperatorRecord, Presented, SealedAuthority, SealedSecret, SigningKeyPair, SigningKeyRecord};
