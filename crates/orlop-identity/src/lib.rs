//! Who is who in a cluster, and who may do what.
//!
//! - [`Identity`] is what a certificate says, as a URI: a member, a node, or a program in a role. [`Authority`] issues
//!   such certificates; [`tls`] has the configurations that check them.
//! - [`JoinToken`](token::JoinToken) lets a machine join, and pins the authority, so that the machine cannot be fooled.
//! - [`token::operator`] signs and checks what people present.
//! - [`seal`] keeps secrets unreadable at rest.
//! - [`access`] is the one table of who may call which method.
//!
//! Time and randomness are arguments. Keys of certificates are the exception: rcgen asks the system for them.

pub mod access;
pub mod authority;
mod base32;
mod caller;
mod identity;
mod random;
pub mod seal;
pub mod tls;
pub mod token;

pub use authority::{Authority, AuthorityCertificate, PeerCertificate};
pub use caller::{Caller, InvalidCaller, OperatorCaller};
pub use identity::{Identity, InvalidIdentity, ProgramRole};
pub use random::NoRandomness;
pub use seal::ClusterKey;
