//! Connections that can be told apart, and whose end is heard of: the end of a process shows there first.

use super::listen::Accepted;
use crate::room::{Room, Rooms};
use orlop_identity::{Identity, PeerCertificate};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_util::sync::{CancellationToken, DropGuard};

static OPENED: AtomicU64 = AtomicU64::new(0);

/// A connection, as every call on it knows it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// No other connection of this process has the same.
    pub(crate) number: u64,
    /// What the transport itself says about the other side.
    pub(crate) peer: Peer,
    /// Cancelled when the connection has ended.
    pub(crate) ended: CancellationToken,
}

/// Room for connections. Those who prove who they are do not compete for it with strangers, but for the few seconds of a
/// handshake, and nobody does with this machine's own programs.
pub(crate) struct Connections {
    sockets: Rooms<IpAddr>,
    loopback: Rooms<IpAddr>,
    handshakes: Rooms<IpAddr>,
    known: Rooms<IpAddr>,
    strangers: Rooms<IpAddr>,
}

impl Connections {
    /// Room for `max` with a certificate, for as many in a handshake and on sockets, and for half as many others. A
    /// twentieth of `max` may be strangers from one place.
    pub(crate) fn new(max: usize) -> Self {
        let (half, share) = (max / 2, max / 20);
        Self {
            sockets: Rooms::new(max, max),
            loopback: Rooms::new(half, half),
            handshakes: Rooms::new(max, share),
            known: Rooms::new(max, max),
            strangers: Rooms::new(half, share),
        }
    }

    /// Room for a connection of which no more is known than how it came.
    pub(crate) fn take(&self, accepted: &Accepted) -> Option<Room<IpAddr>> {
        match accepted {
            Accepted::Unix(_) => self.sockets.take(None),
            // All come from one place.
            Accepted::Plain(..) => self.loopback.take(None),
            Accepted::Tls(_, from) => self.handshakes.take(Some(place(from.ip()))),
        }
    }

    /// Room for one that has shaken hands, and has shown a certificate or none.
    pub(crate) fn take_shaken(&self, from: SocketAddr, certificate: Option<&PeerCertificate>) -> Option<Room<IpAddr>> {
        match certificate {
            Some(_) => self.known.take(None),
            None => self.strangers.take(Some(place(from.ip()))),
        }
    }
}

/// Whoever has an IPv6 address has all of its /64.
fn place(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        ip => ip,
    }
}

/// What the transport says about the other side of a connection.
#[derive(Debug, Clone)]
pub(crate) enum Peer {
    /// It may write to a unix socket that only this machine's administrators may write to.
    Socket,
    /// It reached a loopback address without TLS: anybody on this machine.
    Loopback(SocketAddr),
    /// It came over TLS, with a certificate of this cluster or with none.
    Tls(SocketAddr, Option<PeerCertificate>),
}

impl Peer {
    /// Whom to hold a limit against when nobody proved who they are.
    pub(crate) fn place(&self) -> String {
        match self {
            Peer::Socket => "socket".into(),
            Peer::Loopback(address) | Peer::Tls(address, _) => place(address.ip()).to_string(),
        }
    }

    /// Is it another member of the cluster?
    pub(crate) fn is_member(&self) -> bool {
        matches!(self, Peer::Tls(_, Some(found)) if matches!(found.identity, Identity::Member { .. }))
    }
}

/// Held as long as a connection is open.
pub(crate) struct Open {
    pub(crate) connection: Connection,
    _ends: DropGuard,
}

impl Open {
    pub(crate) fn new(peer: Peer) -> Self {
        let ended = CancellationToken::new();
        let _ends = ended.clone().drop_guard();
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        Self { connection: Connection { number, peer, ended }, _ends }
    }
}
