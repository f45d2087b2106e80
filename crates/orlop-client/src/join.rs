//! Joining a cluster, and keeping the certificate that came of it good.

use crate::address::{Address, HostPort};
use crate::admin::AdminClient;
use crate::channel::joining_channel;
use crate::credentials::Credentials;
use crate::error::Error;
use crate::identity::{IdentityDirectory, IdentityError};
use orlop_identity::authority::PrivateKey;
use orlop_identity::token::JoinToken;
use orlop_identity::{AuthorityCertificate, Identity, PeerCertificate};
use orlop_model::{MemberId, NodeId, NodeName, Timestamp};
use orlop_proto::InvalidWire;
use orlop_proto::identity::v1 as pb;
use pb::identity_service_client::IdentityServiceClient;
use rustls::pki_types::CertificateDer;
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// Who joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joining {
    /// A machine that runs replicas.
    Node(NodeId),
    /// A control-plane process.
    Member {
        /// Its name, unique among the members.
        name: NodeName,
        /// Where the others will reach it.
        address: HostPort,
    },
}

/// Why a machine did not join.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The control plane refused, or did not answer.
    #[error(transparent)]
    Call(#[from] Error),
    /// What was answered cannot be kept.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No key could be made.
    #[error("no key could be made: {0}")]
    Key(String),
    /// The answer is not what was asked for. Nothing was kept.
    #[error("the control plane answered with something else than was asked for: {0}; nothing was kept")]
    Answer(String),
}

/// What came of joining. It is worth nothing until it is [kept](Self::keep).
#[derive(Debug)]
pub struct Joined {
    /// Who the machine is now.
    pub identity: Identity,
    /// The members' addresses.
    pub members: Vec<HostPort>,
    /// For a member: the cluster's key, 32 bytes.
    pub cluster_key: Vec<u8>,
    authority: AuthorityCertificate,
    leaf: CertificateDer<'static>,
    key: PrivateKey,
}

impl Joined {
    /// Keeps the identity in a directory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, directory: &IdentityDirectory) -> Result<(), IdentityError> {
        directory.write_members(&self.members)?;
        directory.write(self.authority.der(), &self.leaf, &self.key)
    }

    /// The member's number, for one that joined as a member.
    pub fn member(&self) -> Option<MemberId> {
        match self.identity {
            Identity::Member { member, .. } => Some(member),
            _ => None,
        }
    }
}

/// Joins the cluster whose members are at the addresses, with a token that pins the cluster's authority: a machine that
/// answers and is not of that cluster hears nothing.
///
/// # Errors
/// When the token is not good, or nobody of the cluster answers.
pub async fn join(members: &[HostPort], token: &JoinToken, joining: &Joining) -> Result<Joined, JoinError> {
    let address = Address::Members(members.to_vec());
    let channel = joining_channel(&address, token.fingerprint).map_err(Error::from)?;
    join_over(channel, &address, token, joining).await
}

/// The same over a channel that is trusted for other reasons, such as a socket of this machine.
///
/// # Errors
/// As [`join`].
pub async fn join_over(
    channel: Channel,
    address: &Address,
    token: &JoinToken,
    joining: &Joining,
) -> Result<Joined, JoinError> {
    let key = PrivateKey::generate().map_err(|e| JoinError::Key(e.to_string()))?;
    let mut request = pb::JoinRequest {
        token: token.to_string(),
        certificate_request: key.request().map_err(|e| JoinError::Key(e.to_string()))?,
        ..pb::JoinRequest::default()
    };
    match joining {
        Joining::Node(node) => request.node = node.to_string(),
        Joining::Member { name, address } => {
            request.member_name = name.to_string();
            request.member_address = address.to_string();
            request.addresses = vec![address.host().to_owned()];
        }
    }
    let answer = IdentityServiceClient::new(channel).join(request).await;
    let answer = answer.map_err(|status| Error::from_status(&status, address))?.into_inner();
    let (leaf, authority, certificate) = read(answer.certificate)?;
    if authority.fingerprint() != token.fingerprint {
        return Err(JoinError::Answer("the certificate is of another authority than the token's".into()));
    }
    let fits = match (joining, certificate.identity) {
        (Joining::Node(asked), Identity::Node { node, .. }) => node == *asked,
        (Joining::Member { .. }, Identity::Member { .. }) => true,
        _ => false,
    };
    if !fits {
        return Err(JoinError::Answer(format!("an identity as {}", certificate.identity)));
    }
    let members = addresses(&answer.members)?;
    let (identity, cluster_key) = (certificate.identity, answer.cluster_key);
    Ok(Joined { identity, members, cluster_key, authority, leaf, key })
}

type Certified = (CertificateDer<'static>, AuthorityCertificate, PeerCertificate);

fn read(wire: Option<pb::Certificate>) -> Result<Certified, JoinError> {
    let wire = wire.ok_or_else(|| JoinError::Answer("no certificate".into()))?;
    let unreadable = |e: orlop_identity::authority::InvalidCertificate| JoinError::Answer(e.to_string());
    let leaf = CertificateDer::from(wire.certificate);
    let authority = AuthorityCertificate::read(&CertificateDer::from(wire.authority)).map_err(unreadable)?;
    let certificate = PeerCertificate::read(&leaf).map_err(unreadable)?;
    Ok((leaf, authority, certificate))
}

fn addresses(texts: &[String]) -> Result<Vec<HostPort>, JoinError> {
    texts.iter().map(|text| text.parse().map_err(|e: &str| JoinError::Answer(format!("{text:?}: {e}")))).collect()
}

/// How often a renewal that failed is tried again.
const AGAIN: Duration = Duration::from_secs(30);
/// So often it is looked whether there is anything to renew, since clocks jump and machines sleep, and where the members are.
const LOOK: Duration = Duration::from_secs(30);

/// Renews the certificate in a directory when two thirds of its life have passed, and learns where the members are,
/// until `stop` is cancelled. One that has ended can still be renewed for 30 days.
pub async fn keep_renewed(directory: IdentityDirectory, stop: CancellationToken) {
    let mut told = false;
    let admin = AdminClient::new(Address::Joined(directory.path().to_owned()), &Credentials::None);
    loop {
        if let Ok(admin) = &admin
            && let Err(error) = learn_members(&directory, admin).await
        {
            tracing::debug!(%error, "where the members are could not be asked");
        }
        let wait = match renew_if_due(&directory).await {
            Ok(renewed) => {
                if renewed {
                    tracing::info!(directory = %directory.path().display(), "the certificate was renewed");
                }
                told = false;
                LOOK
            }
            Err(error) => {
                if !told {
                    tracing::warn!(%error, "the certificate could not be renewed; trying again");
                    told = true;
                }
                AGAIN
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Learns where the members are, so that those which came later are found when the earlier ones are gone.
async fn learn_members(directory: &IdentityDirectory, admin: &AdminClient) -> Result<(), JoinError> {
    let found = admin.members().await?;
    let addresses = found.members.iter().filter_map(|known| known.member.address.parse().ok());
    let members: Vec<HostPort> = addresses.collect();
    if !members.is_empty() && members != directory.members()? {
        directory.write_members(&members)?;
    }
    Ok(())
}

async fn renew_if_due(directory: &IdentityDirectory) -> Result<bool, JoinError> {
    let kept = directory.read()?;
    if Timestamp::from(SystemTime::now()) < kept.certificate.renew_at() {
        return Ok(false);
    }
    renew(directory).await.map(|()| true)
}

/// Renews the certificate in a directory now.
///
/// # Errors
/// When no member answers, or the certificate was revoked or has ended too long ago.
pub async fn renew(directory: &IdentityDirectory) -> Result<(), JoinError> {
    let address = Address::Joined(directory.path().to_owned());
    let channel = address.channel().map_err(Error::from)?;
    let key = PrivateKey::generate().map_err(|e| JoinError::Key(e.to_string()))?;
    let certificate_request = key.request().map_err(|e| JoinError::Key(e.to_string()))?;
    let request = pb::RenewRequest { certificate_request };
    let answer = IdentityServiceClient::new(channel).renew(request).await;
    let answer = answer.map_err(|status| Error::from_status(&status, &address))?.into_inner();
    let (leaf, authority, _) = read(answer.certificate)?;
    directory.write(authority.der(), &leaf, &key)?;
    let members = addresses(&answer.members)?;
    if !members.is_empty() {
        directory.write_members(&members)?;
    }
    Ok(())
}

impl From<InvalidWire> for JoinError {
    fn from(invalid: InvalidWire) -> Self {
        JoinError::Answer(invalid.to_string())
    }
}
