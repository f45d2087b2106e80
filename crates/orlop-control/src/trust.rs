//! What this member shows to prove who it is, and whom it believes.

use crate::home::Home;
use crate::machine::Machine;
use orlop_client::IdentityError;
use orlop_identity::tls::{self, Credentials};
use orlop_identity::{AuthorityCertificate, Caller, Identity, PeerCertificate};
use orlop_model::Timestamp;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::Status;

/// The trust of one member.
pub(crate) struct Trust {
    machine: Arc<Machine>,
    home: Home,
    /// Unset: the member has only sockets of its own machine.
    shown: OnceLock<Shown>,
}

struct Shown {
    authority: AuthorityCertificate,
    credentials: Credentials,
    acceptor: TlsAcceptor,
}

/// Why a member cannot prove who it is.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Its identity cannot be read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Its identity cannot be used.
    #[error("the identity in {} cannot be used: {problem}; join again with a new token", directory.display())]
    Unusable {
        /// Where it lies.
        directory: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl Trust {
    pub(crate) fn new(machine: Arc<Machine>, home: &Home) -> Self {
        Self { machine, home: home.clone(), shown: OnceLock::new() }
    }

    /// Shows the identity that lies in the member's home, if one does.
    pub(crate) fn load(&self) -> Result<(), TrustError> {
        let directory = self.home.identity();
        if !directory.is_made() {
            return Ok(());
        }
        let unusable = |problem: String| TrustError::Unusable { directory: directory.path().to_owned(), problem };
        let kept = directory.read()?;
        let credentials = kept.credentials().map_err(|e| unusable(e.to_string()))?;
        let config = tls::server_config(kept.authority.clone(), credentials.clone());
        let acceptor = config.map_err(|e| unusable(e.to_string()))?.into();
        // Loaded once; what is renewed replaces what the credentials show.
        let _ = self.shown.set(Shown { authority: kept.authority, credentials, acceptor });
        Ok(())
    }

    /// Takes TLS connections; `None` when the member has no identity to show.
    pub(crate) fn acceptor(&self) -> Option<TlsAcceptor> {
        self.shown.get().map(|shown| shown.acceptor.clone())
    }

    /// What to dial another member with.
    pub(crate) fn to_dial(&self) -> Option<(AuthorityCertificate, Credentials)> {
        self.shown.get().map(|shown| (shown.authority.clone(), shown.credentials.clone()))
    }

    /// When the member's certificate ends, and when the authority's does.
    pub(crate) fn expiries(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        let shown = self.shown.get();
        (shown.map(|s| s.credentials.certificate().not_after), shown.map(|s| s.authority.not_after()))
    }

    /// Who is at the other end, by the certificate that the handshake has checked.
    pub(crate) fn certificate_of(&self, stream: &TlsStream<TcpStream>) -> Option<PeerCertificate> {
        let leaf = stream.get_ref().1.peer_certificates()?.first()?;
        PeerCertificate::read(leaf).ok()
    }

    /// Refuses a certificate that the cluster no longer stands by.
    pub(crate) fn check(&self, found: &PeerCertificate) -> Result<(), Status> {
        let removed = match found.identity {
            // One that joins is known here only when this member has applied that.
            Identity::Member { .. } | Identity::Node { .. } | Identity::Role { .. } => false,
        };
        if removed {
            return Err(Status::unauthenticated(format!("{} was removed from the cluster", found.identity)));
        }
        let _ = &self.machine;
        Ok(())
    }

    /// Who an operator is, by the token.
    pub(crate) fn operator(&self, _token: &str) -> Result<Caller, Status> {
        Err(Status::unauthenticated("tokens are not known yet"))
    }
}
