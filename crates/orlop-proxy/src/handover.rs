//! From one proxy to its successor, without a connection refused or lost in between.
//!
//! A proxy keeps a unix socket in its data directory. Another proxy that is started with the same directory asks there
//! first: it is given the listeners themselves, begins to accept beside the first, and says so. Then the first accepts
//! no more, finishes what it has, and ends. As both have the same queues, no connection waits in one that is closed.
//! A successor that dies before it serves changes nothing.

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use parking_lot::Mutex;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, UnixListener, UnixStream};

/// How long a predecessor may take to give its listeners.
const GIVE: Duration = Duration::from_secs(5);
/// How long a successor may take from asking to serving.
const SERVE: Duration = Duration::from_secs(30);
/// The longest message: a kind and an address.
const MESSAGE_BYTES_MAX: usize = 128;
/// The message after the last listener.
const END: &str = "end";

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTTP endpoints.
    Http,
    /// A TCP endpoint.
    Tcp,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Http => "http",
            Kind::Tcp => "tcp",
        })
    }
}

/// The listeners of this proxy, as long as they are open.
#[derive(Debug, Default)]
pub(crate) struct Listeners(Mutex<Vec<(Kind, SocketAddr, Weak<TcpListener>)>>);

impl Listeners {
    pub(crate) fn add(&self, kind: Kind, address: SocketAddr, listener: &Arc<TcpListener>) {
        let mut all = self.0.lock();
        all.retain(|(_, _, listener)| listener.strong_count() > 0);
        all.push((kind, address, Arc::downgrade(listener)));
    }

    fn open(&self) -> Vec<(Kind, SocketAddr, Arc<TcpListener>)> {
        let all = self.0.lock();
        all.iter().filter_map(|(kind, address, listener)| Some((*kind, *address, listener.upgrade()?))).collect()
    }
}

fn socket(data_dir: &Path) -> PathBuf {
    data_dir.join("handover.sock")
}

/// Waits for a successor, gives it the listeners, and comes back when it serves.
pub(crate) async fn to_successor(data_dir: &Path, listeners: &Listeners) {
    let path = socket(data_dir);
    let asked = match bind(&path) {
        Ok(asked) => asked,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a successor cannot take over from this proxy");
            return std::future::pending().await;
        }
    };
    loop {
        let Ok((successor, _)) = asked.accept().await else {
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        let given = tokio::time::timeout(SERVE, give(successor, listeners)).await;
        match given.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "a successor did not take over"),
        }
    }
}

/// In place of the one that a proxy before has left there.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let aside = path.with_extension(format!("sock.{}", std::process::id()));
    let _ = std::fs::remove_file(&aside);
    let listener = UnixListener::bind(&aside)?;
    std::fs::rename(&aside, path)?;
    Ok(listener)
}

async fn give(mut successor: UnixStream, listeners: &Listeners) -> io::Result<()> {
    if successor.peer_cred()?.uid() != nix::unistd::Uid::effective().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is another user's"));
    }
    for (kind, address, listener) in listeners.open() {
        send(&successor, &format!("{kind} {address}"), Some(listener.as_raw_fd())).await?;
    }
    send(&successor, END, None).await?;
    match successor.read(&mut [0]).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// What a predecessor has given.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    listeners: Vec<(Kind, SocketAddr, TcpListener)>,
    predecessor: Option<UnixStream>,
}

impl Inherited {
    /// Asks the proxy that serves with this directory, if there is one.
    pub(crate) async fn ask(data_dir: &Path) -> Self {
        let Ok(predecessor) = UnixStream::connect(socket(data_dir)).await else { return Self::default() };
        let taking = tokio::time::timeout(GIVE, take(&predecessor)).await;
        match taking.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(listeners) => Self { listeners, predecessor: Some(predecessor) },
            Err(error) => {
                tracing::warn!(%error, "the proxy that runs with this data_dir does not hand over");
                Self::default()
            }
        }
    }

    /// The HTTP listener, if it is at the address that is wanted.
    pub(crate) fn http(&mut self, wanted: SocketAddr) -> Option<TcpListener> {
        let fits = |address: &SocketAddr| *address == wanted || (wanted.port() == 0 && address.ip() == wanted.ip());
        self.remove(|kind, address| kind == Kind::Http && fits(address))
    }

    /// The listener of a TCP endpoint.
    pub(crate) fn tcp(&mut self, wanted: SocketAddr) -> Option<TcpListener> {
        self.remove(|kind, address| kind == Kind::Tcp && *address == wanted)
    }

    fn remove(&mut self, which: impl Fn(Kind, &SocketAddr) -> bool) -> Option<TcpListener> {
        let place = self.listeners.iter().position(|(kind, address, _)| which(*kind, address))?;
        Some(self.listeners.swap_remove(place).2)
    }

    /// Is there a proxy that serves until this one does?
    pub(crate) fn has_predecessor(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Closes what was given and not taken.
    pub(crate) fn close(&mut self) {
        self.listeners.clear();
    }

    /// Tells the predecessor that it may end.
    pub(crate) async fn serving(&mut self) {
        if let Some(mut predecessor) = self.predecessor.take() {
            match predecessor.write_all(b"s").await {
                Ok(()) => tracing::info!("took over from the proxy that ran before"),
                Err(error) => tracing::warn!(%error, "the proxy that ran before is gone"),
            }
        }
    }
}

async fn take(predecessor: &UnixStream) -> io::Result<Vec<(Kind, SocketAddr, TcpListener)>> {
    let mut listeners = Vec::new();
    loop {
        let (message, fd) = receive(predecessor).await?;
        if message == END {
            return Ok(listeners);
        }
        let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("it says {message:?}"));
        let (kind, address) = message.split_once(' ').ok_or_else(bad)?;
        let kind = match kind {
            "http" => Kind::Http,
            "tcp" => Kind::Tcp,
            _ => return Err(bad()),
        };
        let address = address.parse().map_err(|_| bad())?;
        let listener = std::net::TcpListener::from(fd.ok_or_else(bad)?);
        listeners.push((kind, address, TcpListener::from_std(listener)?));
    }
}

/// A message is one call at either end: the kernel puts none together that carries a descriptor.
async fn send(stream: &UnixStream, message: &str, fd: Option<RawFd>) -> io::Result<()> {
    let fds: Vec<RawFd> = fd.into_iter().collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let rights = if fds.is_empty() { &[][..] } else { &rights };
    let parts = [IoSlice::new(message.as_bytes())];
    let flags = MsgFlags::MSG_NOSIGNAL;
    let sent = stream
        .async_io(Interest::WRITABLE, || Ok(sendmsg::<()>(stream.as_raw_fd(), &parts, rights, flags, None)?))
        .await?;
    if sent == message.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

async fn receive(stream: &UnixStream) -> io::Result<(String, Option<OwnedFd>)> {
    stream
        .async_io(Interest::READABLE, || {
            let mut bytes = [0; MESSAGE_BYTES_MAX];
            let mut space = cmsg_space!([RawFd; 1]);
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let received = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
            let length = received.bytes;
            let mut fd = None;
            for rights in received.cmsgs()? {
                if let ControlMessageOwned::ScmRights(fds) = rights {
                    for raw in fds {
                        // Safe: the kernel has just made it, for us alone.
                        fd = Some(unsafe { OwnedFd::from_raw_fd(raw) });
                    }
                }
            }
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok((String::from_utf8_lossy(&bytes[..length]).into_owned(), fd))
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn listener() -> (SocketAddr, Arc<TcpListener>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        (listener.local_addr().expect("an address"), Arc::new(listener))
    }

    #[tokio::test]
    async fn a_successor_gets_what_is_open_and_one_that_dies_before_it_serves_changes_nothing() {
        let place = tempfile::tempdir().expect("a directory");
        assert!(Inherited::ask(place.path()).await.predecessor.is_none(), "nobody is there");
        let listeners = Listeners::default();
        let ((http, kept), (closed, gone), (tcp, also)) = (listener().await, listener().await, listener().await);
        listeners.add(Kind::Http, http, &kept);
        listeners.add(Kind::Tcp, closed, &gone);
        drop(gone);
        listeners.add(Kind::Tcp, tcp, &also);
        let mut giving = Box::pin(to_successor(place.path(), &listeners));
        let ask = async || {
            // The socket is there once the other side was polled.
            loop {
                let inherited = Inherited::ask(place.path()).await;
                if inherited.predecessor.is_some() {
                    return inherited;
                }
                tokio::task::yield_now().await;
            }
        };
        for _ in 0..2 {
            let short_lived = tokio::select! {
                () = &mut giving => panic!("nobody serves"),
                inherited = ask() => inherited,
            };
            assert_eq!(short_lived.listeners.len(), 2);
        }
        let mut heir = tokio::select! {
            () = &mut giving => panic!("nobody serves"),
            inherited = ask() => inherited,
        };
        assert!(heir.tcp(closed).is_none() && heir.tcp(http).is_none());
        assert!(heir.http(tcp).is_none());
        let taken = heir.http(SocketAddr::from(([127, 0, 0, 1], 0))).expect("any port will do");
        assert_eq!(taken.local_addr().expect("an address"), http);
        assert_eq!(heir.tcp(tcp).expect("given").local_addr().expect("an address"), tcp);
        // The queue is the same one: what the first does not accept any more, the second does.
        let _client = tokio::net::TcpStream::connect(http).await.expect("connected");
        drop(kept);
        taken.accept().await.expect("it waited");
        tokio::join!(heir.serving(), giving);
    }
}
