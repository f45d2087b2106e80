//! TLS 1.3 between the programs of a cluster: who is believed, and with which certificate.
//!
//! A server shows the certificate of a member. A client looks at the identity in it, not at the address it dialled, so
//! that a member may move. A client may show a certificate; one that has none is an operator, or joins.
//!
//! There is no session resumption: every connection proves anew who is at its ends.

mod client;
mod credentials;
mod server;
mod verify;

pub use client::{Expected, client_config, joining_config};
pub use credentials::{Credentials, InvalidCredentials};
pub use server::server_config;
pub use verify::{Distrusted, verify_client, verify_server};

use std::sync::Arc;

/// gRPC needs HTTP/2; a browser or curl may speak HTTP/1.1.
fn protocols() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec(), b"http/1.1".to_vec()]
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
