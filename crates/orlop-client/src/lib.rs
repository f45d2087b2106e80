//! The client of a cluster that `orlopctl`, the followers and the tests use.
//!
//! Speaks domain types to its caller and `orlop.operator.v1` and `orlop.watch.v1` to the control plane; every error is a
//! sentence with what to do next. What is decided from facts alone ([`find`], [`rollout`], [`why`]) does no IO.

mod address;
mod admin;
mod calls;
mod change;
mod channel;
mod credentials;
mod engine;
mod error;
mod file;
pub mod find;
mod identity;
mod join;
mod machine;
mod operator;
pub mod rollout;
#[cfg(test)]
mod sample;
mod session;
mod state;
mod trust;
mod watch;
pub mod why;

pub use address::{
    ADDRESS_AUTO, ADDRESS_DEFAULT, Address, HostPort, InvalidAddress, MESSAGE_BYTES_MAX, PORT_DEFAULT,
    SOCKET_PATH_BYTES_MAX,
};
pub use admin::{AdminClient, ClusterMembers, Examination, Health, MemberState, Suffrage};
pub use calls::{Bearer, Calls, calls};
pub use channel::{channel, connect, identity_behind, resolve};
pub use credentials::Credentials;
pub use engine::{ENGINE_ADDRESS_DEFAULT, EngineClient, EngineError};
pub use error::{Error, chain};
pub use file::replace_file;
pub use identity::{IDENTITY_DEFAULT, Identified, IdentityDirectory, IdentityError};
pub use join::{JoinError, Joined, Joining, join, join_over, keep_renewed, renew};
pub use machine::{NoHostName, host_name, node_id};
pub use operator::{Deployed, Image, OperatorClient, Planned, Scaled};
pub use session::{ExecEvent, ExecInput, ExecOutput, LogLine, LogQuery, Logs, Source};
pub use state::ClusterState;
pub use trust::{AuditLog, Caller, IssuedToken, NewJoinToken, Secret, SigningKey, TrustClient};
pub use watch::{Changes, RETRY_FOR, Watch};
