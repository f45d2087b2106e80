//! Binding the addresses that are served.

use crate::Error;
use crate::config::Listen;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Something that is bound.
pub(crate) struct Listener {
    listen: Listen,
    socket: Socket,
}

enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// A connection that was accepted, before anything is read from it.
pub(crate) enum Accepted {
    Unix(UnixStream),
    Plain(TcpStream, SocketAddr),
    Tls(TcpStream, SocketAddr),
}

impl Listener {
    pub(crate) async fn bind(listen: &Listen) -> Result<Self, Error> {
        let failed = |remedy: &str, source| Error::Bind { listen: listen.clone(), remedy: remedy.into(), source };
        match listen {
            Listen::Unix(path) => {
                let socket = bind_unix(path).await.map_err(|source| match source.kind() {
                    io::ErrorKind::AddrInUse => failed("another process answers there; stop it first", source),
                    io::ErrorKind::PermissionDenied => failed("run as root, or give a path that is yours", source),
                    _ => failed("is the path right?", source),
                })?;
                Ok(Self { listen: listen.clone(), socket: Socket::Unix(socket) })
            }
            Listen::Loopback(address) | Listen::Tls(address) => {
                let tls = matches!(listen, Listen::Tls(_));
                // Listen's own reading refuses others too; this is for addresses that were put together in code.
                if !tls && !address.ip().is_loopback() {
                    let refused = io::Error::from(io::ErrorKind::PermissionDenied);
                    return Err(failed("only loopback addresses are served without TLS; use https://", refused));
                }
                let bound = TcpListener::bind(address).await;
                let socket = bound.map_err(|source| failed("is something else listening there?", source))?;
                let address = socket.local_addr().map_err(|source| failed("the address is not known", source))?;
                let listen = if tls { Listen::Tls(address) } else { Listen::Loopback(address) };
                Ok(Self { listen, socket: Socket::Tcp(socket) })
            }
        }
    }

    pub(crate) fn listen(&self) -> &Listen {
        &self.listen
    }

    /// The next connection. Cancel-safe.
    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Unix(socket) => Ok(Accepted::Unix(socket.accept().await?.0)),
            Socket::Tcp(socket) => {
                let (stream, from) = socket.accept().await?;
                stream.set_nodelay(true)?;
                Ok(match self.listen {
                    Listen::Tls(_) => Accepted::Tls(stream, from),
                    _ => Accepted::Plain(stream, from),
                })
            }
        }
    }
}

/// Binds a socket in place of one that a dead process left. Who answers there is not disturbed.
async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
            return Err(io::Error::other("something that is no socket is there"));
        }
        Ok(_) => {
            if UnixStream::connect(path).await.is_ok() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            std::fs::remove_file(path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}
