//! The one place that dials a control plane.
//!
//! A channel connects when first used and connects again by itself. With several members each new connection goes to the
//! next of them, so a member that is gone, silent, or says that it cannot help is left for another. What proves who calls
//! is read for each connection: a certificate that was renewed meanwhile is in use from then on.

use crate::address::{ADDRESS_AUTO, ADDRESS_DEFAULT, Address, HostPort, InvalidAddress};
use crate::credentials::Credentials;
use crate::identity::{IDENTITY_DEFAULT, IdentityDirectory};
use http::Uri;
use hyper_util::rt::TokioIo;
use orlop_model::trust::Digest;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Channel, Endpoint};

/// How long one member may take to take a connection, TLS included, before the next is tried.
const CONNECT: Duration = Duration::from_secs(2);
/// A member that said nothing for so long is asked whether it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long it may take to answer that.
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(3);
/// The same for the other end of a socket of this machine, which dies visibly.
const LOCAL_KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Stands where HTTP wants a host.
const NAME: &str = "control-plane.orlop";

/// A connection, whatever carries it.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A channel to the control plane at an address, as whoever the credentials say. Must be called in a tokio runtime.
///
/// # Errors
/// When the credentials do not go with the address.
pub fn channel(address: &Address, credentials: &Credentials) -> Result<Channel, InvalidAddress> {
    let invalid = |problem| InvalidAddress { found: address.to_string(), problem };
    let credentials = match (address, credentials) {
        (Address::Joined(directory), Credentials::None) => Credentials::Certificate(IdentityDirectory::new(directory)),
        (Address::Members(_), Credentials::None) => {
            return Err(invalid("nothing says who is calling there; log in with `orlopctl login`"));
        }
        (_, credentials) => credentials.clone(),
    };
    let keep_alive = match address {
        Address::Unix(_) | Address::Loopback(_) => LOCAL_KEEP_ALIVE,
        Address::Members(_) | Address::Joined(_) => KEEP_ALIVE,
    };
    // With the scheme of TLS, tonic would want to see to TLS itself.
    let endpoint = Endpoint::from_shared(format!("http://{NAME}"))
        .map_err(|_| invalid("it cannot be dialled"))?
        .http2_keep_alive_interval(keep_alive)
        .keep_alive_timeout(KEEP_ALIVE_ANSWER)
        .keep_alive_while_idle(true);
    let (address, credentials) = (Arc::new(address.clone()), Arc::new(credentials));
    let turn = Arc::new(AtomicUsize::new(rand::random::<u16>().into()));
    Ok(endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
        let (address, credentials, turn) = (address.clone(), credentials.clone(), turn.clone());
        async move { dial(&address, &credentials, &turn).await.map(TokioIo::new) }
    })))
}

/// A channel for whoever joins, and knows nothing of the cluster but the fingerprint of its authority.
pub(crate) fn joining_channel(address: &Address, fingerprint: Digest) -> Result<Channel, InvalidAddress> {
    channel(address, &Credentials::Fingerprint(fingerprint))
}

impl Address {
    /// A channel to the address without further credentials than those that lie there; see [`channel`].
    ///
    /// # Errors
    /// When the address names members and nothing says who is calling.
    pub fn channel(&self) -> Result<Channel, InvalidAddress> {
        channel(self, &Credentials::None)
    }
}

/// A channel for a program of a node or a role: to an address, or with [`ADDRESS_AUTO`] to the cluster that this machine
/// has joined, or else to the control plane on it.
///
/// # Errors
/// When the address cannot be read, or names members and nothing says who is calling.
pub fn connect(address: &str) -> Result<Channel, InvalidAddress> {
    channel(&resolve(address)?, &Credentials::None)
}

/// The identity that a program which dials the address has, if the address leads to one.
///
/// # Errors
/// When the address cannot be read.
pub fn identity_behind(address: &str) -> Result<Option<IdentityDirectory>, InvalidAddress> {
    Ok(match resolve(address)? {
        Address::Joined(directory) => Some(IdentityDirectory::new(directory)),
        _ => None,
    })
}

/// What an address means on this machine: [`ADDRESS_AUTO`] is the cluster that it has joined, or else the control plane on it.
///
/// # Errors
/// When the address cannot be read.
pub fn resolve(address: &str) -> Result<Address, InvalidAddress> {
    if address != ADDRESS_AUTO {
        return address.parse();
    }
    let joined = IdentityDirectory::new(IDENTITY_DEFAULT);
    if joined.is_made() { Ok(Address::Joined(joined.path().to_owned())) } else { ADDRESS_DEFAULT.parse() }
}

async fn dial(address: &Address, credentials: &Credentials, turn: &AtomicUsize) -> io::Result<Box<dyn Wire>> {
    match address {
        Address::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        Address::Loopback(socket) => {
            let stream = TcpStream::connect(socket).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }
        Address::Members(members) => any_of(members, credentials, turn).await,
        Address::Joined(directory) => {
            let members = IdentityDirectory::new(directory).members().map_err(io::Error::other)?;
            any_of(&members, credentials, turn).await
        }
    }
}

/// A connection to the next member that takes one.
async fn any_of(members: &[HostPort], credentials: &Credentials, turn: &AtomicUsize) -> io::Result<Box<dyn Wire>> {
    let tls = credentials.tls()?;
    let first = turn.fetch_add(1, Ordering::Relaxed);
    let mut failure = io::Error::other("no member's address is known");
    for at in 0..members.len() {
        let member = &members[first.wrapping_add(at) % members.len()];
        match tokio::time::timeout(CONNECT, shake(member, tls.clone())).await {
            Ok(Ok(stream)) => {
                turn.store(first.wrapping_add(at + 1), Ordering::Relaxed);
                return Ok(stream);
            }
            Ok(Err(error)) => failure = io::Error::new(error.kind(), format!("{member}: {error}")),
            Err(_) => {
                let silent = format!("{member}: no answer within {} s", CONNECT.as_secs());
                failure = io::Error::new(io::ErrorKind::TimedOut, silent);
            }
        }
    }
    Err(failure)
}

async fn shake(member: &HostPort, tls: Arc<rustls::ClientConfig>) -> io::Result<Box<dyn Wire>> {
    let stream = TcpStream::connect((member.host(), member.port())).await?;
    stream.set_nodelay(true)?;
    // Who answers is told by its certificate's identity, not by a host name: any name does.
    let name = rustls::pki_types::ServerName::try_from(NAME).map_err(io::Error::other)?;
    Ok(Box::new(tokio_rustls::TlsConnector::from(tls).connect(name, stream).await?))
}
