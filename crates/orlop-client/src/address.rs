//! Where a control plane listens, and the one place that dials it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// The address of a control plane that an operator's machine has by default.
pub const ADDRESS_DEFAULT: &str = "unix:/run/orlop/control.sock";

/// The longest path of a unix socket, in bytes (the kernel's `sun_path`, less its closing zero).
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The largest message that is sent or taken, in bytes: a snapshot of a large cluster's view.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Where a control plane listens. Only this machine can be named: nothing on the wire tells yet who is calling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// `unix:/run/orlop/control.sock`.
    Unix(PathBuf),
    /// `http://127.0.0.1:7700`, `http://localhost:7700`, `http://[::1]:7700`.
    Loopback(SocketAddr),
}

/// What was wrong with an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no address of a control plane: {problem}; write unix:/path/of/socket or http://127.0.0.1:PORT")]
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
        let Some(authority) = text.strip_prefix("http://") else {
            return Err(invalid("it begins with neither unix: nor http://"));
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
            return Err(invalid("calls carry no identity yet, so only this machine is dialled"));
        }
        Ok(Address::Loopback(socket))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Loopback(socket) => write!(f, "http://{socket}"),
        }
    }
}

impl Address {
    /// A channel to the address. It connects when first used, connects again by itself when the connection was lost, and
    /// notices within 30 seconds when the other side is silent. Must be called in a tokio runtime.
    pub fn channel(&self) -> Result<Channel, InvalidAddress> {
        let endpoint = Endpoint::from_shared(self.to_string())
            .map_err(|_| InvalidAddress { found: self.to_string(), problem: "it cannot be dialled" })?;
        Ok(endpoint
            .connect_timeout(Duration::from_secs(5))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true)
            .connect_lazy())
    }
}

/// A channel to the control plane at `unix:/path` or `http://127.0.0.1:PORT`; see [`Address::channel`].
pub fn connect(address: &str) -> Result<Channel, InvalidAddress> {
    address.parse::<Address>()?.channel()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_are_read_and_printed() {
        for (text, printed) in [
            ("unix:/run/orlop/control.sock", "unix:/run/orlop/control.sock"),
            ("unix:///run/a.sock", "unix:/run/a.sock"),
            ("http://127.0.0.1:7700", "http://127.0.0.1:7700"),
            ("http://127.9.0.1:7700/", "http://127.9.0.1:7700"),
            ("http://localhost:7700", "http://127.0.0.1:7700"),
            ("http://[::1]:7700", "http://[::1]:7700"),
        ] {
            assert_eq!(text.parse::<Address>().map(|a| a.to_string()), Ok(printed.to_owned()), "{text}");
        }
    }

    #[test]
    fn other_machines_and_nonsense_are_refused_with_the_reason() {
        let long = format!("unix:/{}", "x".repeat(107));
        for (text, reason) in [
            ("http://192.0.2.1:7700", "no identity"),
            ("http://example.org:7700", "no loopback"),
            ("http://127.0.0.1", "no loopback address with a port"),
            ("http://127.0.0.1:0", "port is 0"),
            ("https://127.0.0.1:7700", "neither"),
            ("/run/orlop/control.sock", "neither"),
            ("unix:", "empty"),
            ("", "neither"),
            (&long, "107 bytes"),
        ] {
            let message = text.parse::<Address>().map_err(|e| e.to_string());
            assert!(message.as_ref().is_err_and(|m| m.contains(reason)), "{text}: {message:?}");
        }
    }
}
