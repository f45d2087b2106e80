//! Where other nodes reach this one, by the way to the control plane.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The address from which this machine sends to another, if others can reach it there. Nothing is sent.
pub(crate) fn address_towards(other: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match other {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    // Connecting a socket of datagrams only looks up the route; the port means nothing.
    socket.connect(SocketAddr::new(other, 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_the_machine_itself_gives_no_address() {
        assert_eq!(address_towards(Ipv4Addr::LOCALHOST.into()), None);
        assert_eq!(address_towards(Ipv6Addr::LOCALHOST.into()), None);
    }
}
