//! What a control plane is told when it starts.

use crate::backup::Schedule;
use orlop_client::HostPort;
use orlop_model::NodeName;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// How a control plane runs. [`Config::new`] gives the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the log and the snapshots lie; made if absent.
    pub data_dir: PathBuf,
    /// Where to listen; at least one.
    pub listen: Vec<Listen>,
    /// Listen over TLS too, on all addresses of this machine, when it is known where others reach this member: at the port
    /// that they use.
    pub listen_tls: bool,
    /// The address range that nodes' /24 subnets are cut from. Taken when the cluster is made, ignored later.
    pub cluster_range: ipnet::Ipv4Net,
    /// A node whose agent was gone so long is suspect: it gets nothing new.
    pub suspect_after: Duration,
    /// A node whose agent was gone so long is lost: others take the place of its replicas. Not less than `suspect_after`.
    pub lost_after: Duration,
    /// How long an agent may take to open a session that it was asked for.
    pub session_timeout: Duration,
    /// Makes a cluster when the data directory has none. Else a start without one is refused.
    pub make_cluster: bool,
    /// Where the other members and the nodes reach this member, as `HOST:PORT`. None: nobody does.
    pub advertise: Option<HostPort>,
    /// What this member is called, when it makes a cluster. None: like the machine.
    pub name: Option<NodeName>,
    /// How many calls a second an operator may make; other callers have multiples of it.
    pub calls_per_second: NonZeroU32,
    /// How many connections with a certificate may be open at once, as many on unix sockets, and half as many others.
    pub connections_max: usize,
    /// The backups that the member makes by itself. None: none.
    pub backups: Option<Schedule>,
    /// How many changes are remembered for watchers that come back; one that missed more gets a snapshot.
    pub ring_entities: usize,
    /// How many watches may be open at once; a tenth of them any one operator's.
    pub watchers_max: usize,
    /// How many sessions between operators and nodes may be open at once.
    pub sessions_max: usize,
    /// How long calls may take to end after a stop was asked for.
    pub stop_deadline: Duration,
}

impl Config {
    /// The defaults, with a data directory and addresses of one's own.
    pub fn new(data_dir: impl Into<PathBuf>, listen: Vec<Listen>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen,
            listen_tls: false,
            cluster_range: ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 77, 0, 0), 16),
            suspect_after: Duration::from_secs(5),
            lost_after: Duration::from_secs(30),
            session_timeout: Duration::from_secs(10),
            make_cluster: true,
            advertise: None,
            name: None,
            calls_per_second: NonZeroU32::new(100).unwrap_or(NonZeroU32::MIN),
            connections_max: 10_000,
            backups: None,
            ring_entities: 16_384,
            watchers_max: 10_000,
            sessions_max: 1_000,
            stop_deadline: Duration::from_secs(5),
        }
    }
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Listen {
    /// A unix socket: `unix:/run/orlop/control.sock`.
    Unix(PathBuf),
    /// A loopback address: `http://127.0.0.1:7700`. Anybody on this machine reaches it, so calls need a token. Port 0 is any
    /// free one.
    Loopback(SocketAddr),
    /// An address of this machine, over TLS: `https://0.0.0.0:7700`. Port 0 is any free one.
    Tls(SocketAddr),
}

/// An address that is not listened on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "will not listen on {found:?}: {problem}; give https://ADDRESS:PORT, unix:/path/of/socket or http://127.0.0.1:PORT"
)]
pub struct InvalidListen {
    /// What was given.
    pub found: String,
    /// What is wrong with it.
    pub problem: String,
}

impl FromStr for Listen {
    type Err = InvalidListen;

    fn from_str(text: &str) -> Result<Self, InvalidListen> {
        let invalid =
            |problem: &str| InvalidListen { found: text.chars().take(200).collect(), problem: problem.into() };
        if let Some(path) = text.strip_prefix("unix:") {
            // The kernel's sun_path, less its closing zero.
            return match path.len() {
                0 => Err(invalid("the path is empty")),
                1..=107 => Ok(Listen::Unix(path.into())),
                _ => Err(invalid("the path is longer than the 107 bytes that a unix socket can have")),
            };
        }
        if let Some(authority) = text.strip_prefix("https://") {
            let authority = authority.strip_suffix('/').unwrap_or(authority);
            let socket = authority.parse().map_err(|_| invalid("it is no IP address with a port"))?;
            return Ok(Listen::Tls(socket));
        }
        let authority = text.strip_prefix("http://").unwrap_or(text);
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let socket = match authority.strip_prefix("localhost:") {
            Some(port) => port.parse().map(|port| SocketAddr::from(([127, 0, 0, 1], port))).ok(),
            None => authority.parse().ok(),
        };
        match socket {
            None => Err(invalid("it is neither a unix socket nor a loopback address with a port")),
            Some(socket) if !socket.ip().is_loopback() => {
                Err(invalid("without TLS only loopback addresses are served"))
            }
            Some(socket) => Ok(Listen::Loopback(socket)),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
            Listen::Loopback(socket) => write!(f, "http://{socket}"),
            Listen::Tls(socket) => write!(f, "https://{socket}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tls_only_this_machine_is_listened_to() {
        for (text, printed) in [
            ("unix:/run/orlop/control.sock", "unix:/run/orlop/control.sock"),
            ("http://127.0.0.1:7700", "http://127.0.0.1:7700"),
            ("127.0.0.1:0", "http://127.0.0.1:0"),
            ("localhost:7700", "http://127.0.0.1:7700"),
            ("http://[::1]:7700/", "http://[::1]:7700"),
            ("https://0.0.0.0:7700", "https://0.0.0.0:7700"),
        ] {
            assert_eq!(text.parse::<Listen>().map(|l| l.to_string()), Ok(printed.to_owned()), "{text}");
        }
        for (text, reason) in [
            ("0.0.0.0:7700", "without TLS"),
            ("http://[::]:7700", "without TLS"),
            ("192.0.2.1:7700", "without TLS"),
            ("example.org:7700", "neither"),
            ("https://example.org:7700", "no IP address"),
            ("7700", "neither"),
            ("unix:", "empty"),
            ("", "neither"),
        ] {
            let error = text.parse::<Listen>().map_err(|e| e.to_string());
            assert!(error.as_ref().is_err_and(|e| e.contains(reason)), "{text}: {error:?}");
        }
    }
}
