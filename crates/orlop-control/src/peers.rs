//! Channels to the other members, over TLS, each to the very member that is meant.

use crate::trust::Trust;
use hyper_util::rt::TokioIo;
use orlop_client::HostPort;
use orlop_identity::tls::{self, Expected};
use orlop_model::MemberId;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

/// Stands where HTTP and TLS want a host; members are told apart by their certificates.
const NAME: &str = "member.orlop";

/// The channels of one member.
pub(crate) struct Peers {
    trust: Arc<Trust>,
    channels: Mutex<BTreeMap<(u64, String), Channel>>,
}

impl Peers {
    pub(crate) fn new(trust: Arc<Trust>) -> Self {
        Self { trust, channels: Mutex::new(BTreeMap::new()) }
    }

    /// The channel to a member; it connects when first used, and again by itself. Must be called in a tokio runtime.
    pub(crate) fn channel(&self, member: u64, address: &str) -> Channel {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(&(member, address.to_owned())) {
            return channel.clone();
        }
        // A member has one address; the channel to the one before is of no more use.
        channels.retain(|(other, _), _| *other != member);
        let channel = self.make(Expected::Member(MemberId(member)), address.to_owned());
        channels.insert((member, address.to_owned()), channel.clone());
        channel
    }

    /// A channel to whichever member is at an address.
    pub(crate) fn channel_to_any(&self, address: &HostPort) -> Channel {
        self.make(Expected::AnyMember, address.to_string())
    }

    fn make(&self, expected: Expected, address: String) -> Channel {
        let trust = self.trust.clone();
        // With the scheme of TLS, tonic would want to see to TLS itself.
        orlop_consensus::tune(Endpoint::from_static("http://member.orlop")).connect_with_connector_lazy(
            tower::service_fn(move |_| {
                let (trust, address) = (trust.clone(), address.clone());
                async move { dial(&trust, expected, &address).await.map(TokioIo::new) }
            }),
        )
    }
}

impl orlop_consensus::Dial for Peers {
    /// A channel of its own: calls that are passed on must not stand between a leader and its signs of life.
    fn channel(&self, member: u64, address: &str) -> Channel {
        self.make(Expected::Member(MemberId(member)), address.to_owned())
    }
}

async fn dial(trust: &Trust, expected: Expected, address: &str) -> io::Result<TlsStream<TcpStream>> {
    let invalid = |problem: &str| io::Error::new(io::ErrorKind::InvalidInput, problem.to_owned());
    let address: HostPort = address.parse().map_err(invalid)?;
    let Some((authority, credentials)) = trust.to_dial() else {
        return Err(invalid("this member has no identity; give it one with `control-plane init` or `orlopctl join`"));
    };
    let config = tls::client_config(authority, Some(credentials), expected);
    let stream = TcpStream::connect((address.host(), address.port())).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
    tokio_rustls::TlsConnector::from(config.map_err(io::Error::other)?).connect(name, stream).await
}
