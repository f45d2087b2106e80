//! What this member shows to prove who it is, and whom it believes.

use crate::control::{Control, now};
use crate::home::{Home, HomeError};
use crate::machine::Machine;
use crate::seal;
use orlop_client::{HostPort, IdentityError};
use orlop_identity::tls::{self, Credentials};
use orlop_identity::token::operator::{self, TrustedKey, VerifyingKey};
use orlop_identity::{AuthorityCertificate, Caller, ClusterKey, Identity, OperatorCaller, PeerCertificate};
use orlop_model::{MemberId, Timestamp};
use orlop_state::SigningKeyRecord;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::Status;

/// The trust of one member.
pub(crate) struct Trust {
    machine: Arc<Machine>,
    home: Home,
    key: OnceLock<ClusterKey>,
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
    /// Its home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// What the state keeps sealed does not open.
    #[error("{0}")]
    Sealed(String),
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
        Self { machine, home: home.clone(), key: OnceLock::new(), shown: OnceLock::new() }
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

    /// The cluster's key. Never another while the member runs.
    pub(crate) fn key(&self) -> Result<&ClusterKey, HomeError> {
        match self.key.get() {
            Some(key) => Ok(key),
            None => {
                let key = self.home.key()?;
                Ok(self.key.get_or_init(|| key))
            }
        }
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

    /// Certifies this member anew, with a new key.
    pub(crate) fn certify(&self, member: MemberId, advertise: Option<&HostPort>) -> Result<(), TrustError> {
        let authority = seal::open_authority(self.key()?, &self.machine);
        let authority = authority.map_err(|status| TrustError::Sealed(status.message().to_owned()))?;
        let identity = Identity::Member { cluster: authority.certificate().cluster(), member };
        self.home.certify(&authority, identity, advertise)?;
        // A member that was restored has no list of the members yet.
        let members = self
            .machine
            .read(|state| state.members().filter_map(|known| known.address.parse().ok()).collect::<Vec<HostPort>>());
        Ok(self.home.identity().write_members(&members)?)
    }

    /// Renews this member's certificate, if it is time.
    fn renew_if_due(&self, advertise: Option<&HostPort>) -> Result<bool, TrustError> {
        let Some(shown) = self.shown.get() else { return Ok(false) };
        let certificate = shown.credentials.certificate();
        let Identity::Member { member, .. } = certificate.identity else { return Ok(false) };
        if now() < certificate.renew_at() {
            return Ok(false);
        }
        self.certify(member, advertise)?;
        let kept = self.home.identity().read()?;
        let replaced = shown.credentials.replace(&kept.leaf, kept.authority.der(), &kept.key);
        replaced.map(|()| true).map_err(|e| {
            let directory = self.home.identity().path().to_owned();
            TrustError::Unusable { directory, problem: e.to_string() }
        })
    }

    /// Refuses a certificate that the cluster no longer stands by.
    pub(crate) fn check(&self, found: &PeerCertificate) -> Result<(), Status> {
        let identity = found.identity.to_string();
        let (revoked, removed) = self.machine.read(|state| {
            let removed = match found.identity {
                // A member's number is the revision that added it: one that is not known later than that has gone.
                Identity::Member { member, .. } => {
                    state.member(member).is_none() && state.members().next().is_some() && state.revision().0 > member.0
                }
                Identity::Node { .. } | Identity::Role { .. } => false,
            };
            (state.is_revoked(&identity, found.issued_at()), removed)
        });
        if removed {
            return Err(Status::unauthenticated(format!("{identity} was removed from the cluster")));
        }
        if revoked {
            return Err(Status::unauthenticated(format!(
                "the certificate of {identity} was revoked; join again with a new token from `orlopctl token create`"
            )));
        }
        Ok(())
    }

    /// Who an operator is, by the token. What the operator may do, the state knows.
    pub(crate) fn operator(&self, token: &str) -> Result<Caller, Status> {
        let (cluster, keys) = self.machine.read(|state| {
            let key = |record: &SigningKeyRecord| TrustedKey {
                key: VerifyingKey(record.key.public_key),
                retires_at: record.retires_at,
            };
            (state.cluster(), state.signing_keys().map(key).collect::<Vec<_>>())
        });
        let cluster = cluster.ok_or_else(|| Status::unavailable("the cluster is not made yet; try again"))?;
        let claims = operator::verify(token, cluster, &keys, now());
        let claims = claims.map_err(|refused| Status::unauthenticated(refused.to_string()))?;
        let known =
            self.machine.read(|state| state.operator_of(&claims.operator, claims.token, claims.issued_at).cloned());
        let Some(known) = known else {
            return Err(Status::unauthenticated(format!(
                "the token of {} was revoked, or the operator removed; log in with a new one from `orlopctl operator token`",
                claims.operator
            )));
        };
        Ok(Caller::Operator(OperatorCaller {
            name: known.name,
            role: known.role,
            deployments: known.deployments,
            token: claims.token,
        }))
    }
}

/// Between two looks at whether the certificate is due: clocks jump, and machines sleep.
const LOOK: Duration = Duration::from_secs(60);

/// Renews the member's certificate in time, until the member stops. It needs nobody else for that: the authority's key is in
/// the state, and the key to it in the member's home.
pub(crate) async fn keep_renewed(control: Control) {
    let mut told = false;
    loop {
        match control.trust.renew_if_due(control.config.advertise.as_ref()) {
            Ok(true) => tracing::info!("this member's certificate was renewed"),
            Ok(false) => told = false,
            Err(error) if !told => {
                tracing::error!(%error, "this member's certificate could not be renewed; trying again");
                told = true;
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = control.stop.cancelled() => return,
        }
    }
}
