//! Sockets in another network namespace.
//!
//! A socket belongs for good to the namespace that its thread was in when it was made. A short-lived thread enters the
//! namespace, makes the socket and ends; tokio drives it from there. No thread of the runtime ever changes namespace.

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use tokio::net::{TcpSocket, TcpStream};

/// Connects to `to` from inside the namespace.
pub(crate) async fn connect(namespace: &Path, to: SocketAddr) -> io::Result<TcpStream> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let (send, receive) = tokio::sync::oneshot::channel();
    let namespace = namespace.to_owned();
    std::thread::Builder::new().name("netns".into()).stack_size(64 << 10).spawn(move || {
        // Nobody waits any more when the check ran out of time.
        let _ = send.send(socket_in(namespace, family));
    })?;
    let socket = receive.await.map_err(|_| io::Error::other("the thread that entered the namespace died"))??;
    TcpSocket::from_std_stream(socket.into()).connect(to).await
}

fn socket_in(namespace: PathBuf, family: AddressFamily) -> io::Result<OwnedFd> {
    let file = std::fs::File::open(namespace)?;
    setns(file, CloneFlags::CLONE_NEWNET)?;
    Ok(socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?)
}
