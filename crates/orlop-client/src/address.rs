//! Where a control plane listens.

use crate::identity::IdentityDirectory;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// The address of a control plane that an operator's machine has by default.
pub const ADDRESS_DEFAULT: &str = "unix:/run/orlop/control.sock";

/// The address that a node's programs have by default: the cluster that this machine has joined, or else the control plane
/// on it.
pub const ADDRESS_AUTO: &str = "auto";

/// The port of a member, where an address names none.
pub const PORT_DEFAULT: u16 = 7700;

/// The longest path of a unix socket, in bytes (the kernel's `sun_path`, less its closing zero).
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The largest message that is sent or taken, in bytes: a snapshot of a large cluster's view.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// The most members that one address names.
pub(crate) const MEMBERS_MAX: usize = 16;

/// Where a control plane listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// `unix:/run/orlop/control.sock`: the member on this machine. Who may write to the socket is an administrator.
    Unix(PathBuf),
    /// `http://127.0.0.1:7700`, `http://localhost:7700`, `http://[::1]:7700`: the member on this machine, without TLS.
    Loopback(SocketAddr),
    /// `https://10.0.0.1:7700,https://10.0.0.2:7700`: any of these members, over TLS. At least one.
    Members(Vec<HostPort>),
    /// `joined:/var/lib/orlop/identity`: the members, and the identity, in a directory that `orlopctl join` wrote.
    Joined(PathBuf),
}

/// A host, by name or IP address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// The host's name, or its IP address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; never 0.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

impl FromStr for HostPort {
    type Err = &'static str;

    /// Reads `10.0.0.1:7700`, `one.example`, `[2001:db8::1]:7700`; without a port it is [`PORT_DEFAULT`].
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let authority: http::uri::Authority = text.parse().map_err(|_| "it has no host and port that can be read")?;
        if text.contains('@') || authority.host().is_empty() {
            return Err("it has no host and port that can be read");
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str() == authority.host() => PORT_DEFAULT,
            None => return Err("the port is no number from 1 to 65535"),
        };
        if port == 0 {
            return Err("the port is 0");
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What was wrong with an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is no address of a control plane: {problem}; write https://HOST:PORT (several with commas), \
     unix:/path/of/socket or http://127.0.0.1:PORT"
)]
pub struct InvalidAddress {
    /// What was given.
    pub found: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = |problem| InvalidAddress { found: text.chars().take(200).collect(), problem };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path.len() {
                0 => Err(invalid("the path is empty")),
                1..=SOCKET_PATH_BYTES_MAX if !path.contains('\0') => Ok(Address::Unix(path.into())),
                1..=SOCKET_PATH_BYTES_MAX => Err(invalid("the path has a NUL byte")),
                _ => Err(invalid("the path is longer than the 107 bytes that a unix socket can have")),
            };
        }
        if let Some(path) = text.strip_prefix("joined:") {
            return if path.is_empty() { Err(invalid("the path is empty")) } else { Ok(Address::Joined(path.into())) };
        }
        if text.starts_with("https://") {
            let member = |text: &str| {
                let authority =
                    text.trim().strip_prefix("https://").ok_or("each of several members begins with https://");
                authority.and_then(|a| a.strip_suffix('/').unwrap_or(a).parse())
            };
            let members = text.split(',').map(member).collect::<Result<Vec<HostPort>, _>>().map_err(invalid)?;
            return if members.len() > MEMBERS_MAX {
                Err(invalid("it names more than 16 members"))
            } else {
                Ok(Address::Members(members))
            };
        }
        let Some(authority) = text.strip_prefix("http://") else {
            return Err(invalid("it begins with none of https://, unix:, joined: and http://"));
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let socket = match authority.strip_prefix("localhost:") {
            Some(port) => port.parse().map(|port| SocketAddr::from(([127, 0, 0, 1], port))).ok(),
            None => authority.parse().ok(),
        };
        let socket = socket.ok_or_else(|| invalid("it has no loopback address with a port"))?;
        if socket.port() == 0 {
            return Err(invalid("the port is 0"));
        }
        let loopback = match socket.ip() {
            IpAddr::V4(ip) => ip.is_loopback(),
            IpAddr::V6(ip) => ip.is_loopback(),
        };
        if !loopback {
            return Err(invalid("other machines are dialled over TLS only"));
        }
        Ok(Address::Loopback(socket))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Loopback(socket) => write!(f, "http://{socket}"),
            Address::Joined(path) => write!(f, "joined:{}", path.display()),
            Address::Members(members) => {
                for (at, member) in members.iter().enumerate() {
                    let comma = if at == 0 { "" } else { "," };
                    write!(f, "{comma}https://{member}")?;
                }
                Ok(())
            }
        }
    }
}

impl Address {
    /// An IP address that is dialled; none for a socket of this machine or hosts that are known by name.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Address::Unix(_) => None,
            Address::Joined(directory) => {
                let members = IdentityDirectory::new(directory).members().ok()?;
                members.iter().find_map(|member| member.host().parse().ok())
            }
            Address::Loopback(socket) => Some(socket.ip()),
            Address::Members(members) => members.first()?.host().parse().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_printed() {
        for (text, printed) in [
            ("unix:/run/orlop/control.sock", "unix:/run/orlop/control.sock"),
            ("unix:///run/a.sock", "unix:/run/a.sock"),
            ("http://127.0.0.1:7700", "http://127.0.0.1:7700"),
            ("http://127.9.0.1:7700/", "http://127.9.0.1:7700"),
            ("http://localhost:7700", "http://127.0.0.1:7700"),
            ("http://[::1]:7700", "http://[::1]:7700"),
            ("joined:/var/lib/orlop/identity", "joined:/var/lib/orlop/identity"),
            ("https://10.0.0.1", "https://10.0.0.1:7700"),
            ("https://one.example:70/, https://[2001:db8::1]:7", "https://one.example:70,https://[2001:db8::1]:7"),
        ] {
            assert_eq!(text.parse::<Address>().map(|a| a.to_string()), Ok(printed.to_owned()), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_reason() {
        let long = format!("unix:/{}", "x".repeat(107));
        let many = vec!["https://a"; 17].join(",");
        for (text, reason) in [
            ("http://192.0.2.1:7700", "over TLS only"),
            ("http://example.org:7700", "no loopback"),
            ("http://127.0.0.1", "no loopback address with a port"),
            ("http://127.0.0.1:0", "port is 0"),
            ("https://10.0.0.1:0", "port is 0"),
            ("https://10.0.0.1:70000", "no number"),
            ("https://10.0.0.1:", "no number"),
            ("https://", "no host"),
            ("https://a,b", "each of several"),
            ("https://me@a", "no host"),
            (&many, "more than 16"),
            ("/run/orlop/control.sock", "none of"),
            ("unix:", "empty"),
            ("", "none of"),
            (&long, "107 bytes"),
        ] {
            let message = text.parse::<Address>().map_err(|e| e.to_string());
            assert!(message.as_ref().is_err_and(|m| m.contains(reason)), "{text}: {message:?}");
        }
    }
}
