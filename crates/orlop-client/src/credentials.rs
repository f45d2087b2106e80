//! What a client proves itself with.

use crate::identity::IdentityDirectory;
use orlop_identity::AuthorityCertificate;
use orlop_identity::tls::{self, Expected};
use orlop_model::trust::Digest;
use rustls::ClientConfig;
use std::fmt;
use std::io;
use std::sync::Arc;

/// What a client proves itself with, and whom it believes.
#[derive(Clone)]
pub enum Credentials {
    /// Nothing: for sockets of this machine.
    None,
    /// The certificate in a directory, read anew for each connection.
    Certificate(IdentityDirectory),
    /// Nothing, for who joins: the cluster is known by the fingerprint of its authority.
    Fingerprint(Digest),
    /// An operator's token.
    Token {
        /// The authority of the cluster.
        authority: AuthorityCertificate,
        /// The signed token, as it goes into the `authorization` header.
        token: Arc<str>,
    },
    /// An operator's token, for who logs in, and knows the cluster by the fingerprint of its authority.
    Login {
        /// Of the authority.
        fingerprint: Digest,
        /// The signed token.
        token: Arc<str>,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::None => f.write_str("None"),
            Credentials::Certificate(directory) => f.debug_tuple("Certificate").field(directory).finish(),
            Credentials::Fingerprint(fingerprint) => f.debug_tuple("Fingerprint").field(fingerprint).finish(),
            Credentials::Login { fingerprint, .. } => {
                f.debug_struct("Login").field("fingerprint", fingerprint).finish_non_exhaustive()
            }
            Credentials::Token { authority, .. } => {
                f.debug_struct("Token").field("cluster", &authority.cluster()).finish_non_exhaustive()
            }
        }
    }
}

impl Credentials {
    /// How a connection to a member is secured.
    pub(crate) fn tls(&self) -> io::Result<Arc<ClientConfig>> {
        let config = match self {
            Credentials::None => return Err(io::Error::other("nothing says who is calling")),
            Credentials::Certificate(directory) => {
                let kept = directory.read().map_err(io::Error::other)?;
                let credentials = kept.credentials().map_err(io::Error::other)?;
                tls::client_config(kept.authority, Some(credentials), Expected::AnyMember)
            }
            Credentials::Fingerprint(fingerprint) | Credentials::Login { fingerprint, .. } => {
                tls::joining_config(*fingerprint)
            }
            Credentials::Token { authority, .. } => tls::client_config(authority.clone(), None, Expected::AnyMember),
        };
        config.map_err(io::Error::other)
    }

    /// The token that goes with each call, if any.
    pub(crate) fn token(&self) -> Option<&Arc<str>> {
        match self {
            Credentials::Token { token, .. } | Credentials::Login { token, .. } => Some(token),
            _ => None,
        }
    }
}
